//! What happens to people: messages by every way they can come, on two connections, and what an operator does.

use std::io::Write as _;

use cdp_tests::cluster::describe;

use super::World;
use crate::oracle::message::{self, quoted, Message};

const PEOPLE: u64 = 6;

impl World<'_> {
    pub(super) fn user(&mut self) -> String {
        format!("u{}", self.random.below(PEOPLE))
    }

    fn anonymous(&mut self) -> String {
        format!("a{}", self.random.below(PEOPLE))
    }

    fn event(&mut self) -> Message {
        let mut message = message::event(&mut self.random);
        match self.random.below(10) {
            0..=6 => message.user = Some(self.user()),
            7..=8 => message.anonymous = Some(self.anonymous()),
            _ => {
                message.user = Some(self.user());
                message.anonymous = Some(self.anonymous());
            }
        }
        message.at = self.event_time();
        message
    }

    fn message(&mut self) -> Message {
        let mut message = match self.random.below(100) {
            0..=74 => self.event(),
            75..=86 => Message {
                kind: "identify",
                user: Some(self.user()),
                anonymous: self.random.percent(30).then(|| self.anonymous()),
                traits: Some(message::traits(&mut self.random)),
                at: self.own_time(),
                ..Message::default()
            },
            87..=95 => Message {
                kind: "group",
                user: Some(self.user()),
                group: Some(format!("g{}", self.random.below(3))),
                traits: Some(message::group_traits(&mut self.random)),
                at: self.own_time(),
                ..Message::default()
            },
            _ => Message {
                kind: "alias",
                user: Some(self.user()),
                previous: Some(self.anonymous()),
                at: self.own_time(),
                ..Message::default()
            },
        };
        self.seen.messages += 1;
        if self.random.percent(10) && !self.message_ids.is_empty() {
            message.id = Some(self.random.pick(&self.message_ids).clone());
        } else if self.random.percent(50) {
            let id = format!("m{}", self.random.next());
            self.message_ids.push(id.clone());
            message.id = Some(id);
        }
        message
    }

    fn batch(&mut self) -> Vec<Message> {
        let count = 1 + self.random.below(10);
        let mut batch: Vec<Message> = (0..count).map(|_| self.message()).collect();
        if self.random.percent(20) {
            // The same instant twice.
            let again = self.random.pick(&batch).clone();
            if again.kind == "track" {
                batch.push(Message { id: None, ..again });
            }
        }
        batch
    }

    pub(super) fn send(&mut self, on_second: bool) {
        self.settled = false;
        match self.random.below(10) {
            0..=5 => {
                let message = self.message();
                let sql = message.call(self.namespace);
                self.act(on_second, message.kind, &sql);
            }
            6..=7 => {
                let batch = self.batch();
                let camel_case = self.random.percent(50);
                let items: Vec<String> = batch.iter().map(|m| m.json(camel_case)).collect();
                let payload = match self.random.below(3) {
                    0 => format!("{}::text", quoted(&items.join("\n"))),
                    1 => format!("{}::jsonb", quoted(&format!("[{}]", items.join(",")))),
                    _ => format!(
                        "{}::jsonb",
                        quoted(&format!("{{\"batch\":[{}]}}", items.join(",")))
                    ),
                };
                let sql = format!("SELECT * FROM cdp.ingest({payload}, '{}')", self.namespace);
                self.act(on_second, "ingest", &sql);
            }
            _ => self.copy(on_second),
        }
    }

    fn copy(&mut self, on_second: bool) {
        let batch = self.batch();
        let namespace = self.namespace;
        let text: String = batch.iter().map(|m| m.copy_row(namespace)).collect();
        let connection = if on_second { "second" } else { "first" };
        self.note(format!(
            "{connection}: COPY cdp.inbox ({})\n{text}",
            Message::COLUMNS
        ));
        let client = if on_second {
            &mut self.second
        } else {
            &mut self.first
        };
        let sql = format!("COPY cdp.inbox ({}) FROM STDIN", Message::COLUMNS);
        let copied = client.copy_in(&sql).and_then(|mut copy| {
            let _ = copy.write_all(text.as_bytes());
            copy.finish()
        });
        match copied {
            Ok(_) => {}
            Err(error)
                if error
                    .code()
                    .is_some_and(|code| matches!(code.code(), "55P03" | "40001")) =>
            {
                *self.seen.waited.entry("copy").or_default() += 1;
                self.note("        … would wait".to_string());
                if on_second {
                    self.end_second(false);
                }
            }
            Err(error) => {
                let text = describe(&error);
                self.fail(&text);
            }
        }
    }

    fn begin_second(&mut self) {
        let level = match self.random.below(10) {
            0 => "REPEATABLE READ",
            _ => "READ COMMITTED",
        };
        let begin = format!("BEGIN ISOLATION LEVEL {level}");
        self.note(format!("second: {begin}"));
        self.run(true, &begin);
        self.second_is_open = true;
        if self.random.percent(50) {
            self.send(true);
        }
    }

    /// In a transaction with one snapshot what others did meanwhile is a reason to fail, and to try again.
    pub(super) fn send_on_second(&mut self) {
        if self.second_is_open {
            self.send(true);
        } else {
            self.begin_second();
        }
    }

    pub(super) fn rebuild(&mut self, user: Option<String>) {
        let id = match user {
            Some(user) => {
                let known = format!("SELECT cdp.resolve('{user}', NULL, '{}')", self.namespace);
                match self
                    .must(&known)
                    .first()
                    .and_then(|row| row.first().cloned().flatten())
                {
                    Some(id) => quoted(&id),
                    None => return,
                }
            }
            None => "NULL".to_string(),
        };
        let before = self.stored_state(&id);
        let sql = format!("SELECT cdp.rebuild({id}, '{}')", self.namespace);
        if self.act(false, "rebuild", &sql) && self.settled && !self.second_is_open {
            let after = self.stored_state(&id);
            if let Some((before, after)) = before
                .iter()
                .zip(&after)
                .find(|(before, after)| before != after)
            {
                let text =
                    format!("rebuilding changed values\nbefore: {before:?}\nafter:  {after:?}");
                self.fail(&text);
            }
        }
    }

    pub(super) fn unmerge(&mut self) {
        if !self.has_unmerge {
            return;
        }
        let identifiers = self.must(&format!(
            "SELECT i.profile_id, i.value, i.kind FROM cdp.identifiers AS i \
             JOIN _cdp.profile_merges AS m ON m.survivor_id = i.profile_id WHERE i.namespace = '{}' ORDER BY 1, 2",
            self.namespace
        ));
        if identifiers.is_empty() {
            return;
        }
        let chosen = self.random.pick(&identifiers).clone();
        let [Some(profile), Some(value), Some(kind)] = chosen.as_slice() else {
            return;
        };
        let sql = format!(
            "SELECT cdp.unmerge('{profile}', '{value}', '{kind}', '{}')",
            self.namespace
        );
        self.settled = false;
        self.note(format!("first: {sql}"));
        // Not every identifier came by a merge.
        match self.first.simple_query(&sql) {
            Ok(_) => {}
            Err(error) => self.note(format!("        … {}", describe(&error))),
        }
    }
}
