//! Traits and segments are defined, defined anew and dropped.

use super::World;
use crate::oracle::corpus::Corpus;
use crate::oracle::expression::Definition;
use crate::oracle::message::quoted;

/// Definitions whose oracle would be longer than this are made again.
const LONGEST_ORACLE: usize = 20_000;

impl World<'_> {
    pub(super) fn define(&mut self) {
        let position = self.random.index(self.keys.len());
        let key = self.keys[position].clone();
        let is_segment = key.starts_with('s');
        let below = self.keys[..position].to_vec();
        let node = loop {
            let mut corpus = Corpus {
                random: &mut self.random,
                definitions: &self.definitions,
                keys: &below,
            };
            let node = if is_segment {
                corpus.rule()
            } else {
                corpus.any()
            };
            if node.sql(&self.definitions).len() < LONGEST_ORACLE {
                break node;
            }
        };
        let text = quoted(&node.text(&self.definitions));
        let what = if is_segment { "segment" } else { "trait" };
        let sql = format!(
            "SELECT cdp.define_{what}('{key}', {text}, namespace => '{}')",
            self.namespace
        );
        if self.act(false, "define", &sql) {
            self.definitions
                .insert(key, Definition { is_segment, node });
            self.settled = false;
            let too_long = self
                .definitions
                .values()
                .any(|found| found.node.sql(&self.definitions).len() > 3 * LONGEST_ORACLE);
            if too_long {
                self.drop_all();
            }
        }
    }

    /// References can make definitions grow without end.
    fn drop_all(&mut self) {
        for key in self.keys.clone().into_iter().rev() {
            if self.definitions.contains_key(&key) {
                self.drop_definition(&key);
            }
        }
    }

    pub(super) fn drop_one(&mut self) {
        let keys: Vec<String> = self.definitions.keys().cloned().collect();
        if keys.len() > 4 {
            let key = self.random.pick(&keys).clone();
            self.drop_definition(&key);
        }
    }

    fn drop_definition(&mut self, key: &str) {
        let used = self
            .definitions
            .values()
            .any(|found| found.node.references().contains(&key));
        let what = if key.starts_with('s') {
            "segment"
        } else {
            "trait"
        };
        let sql = format!("SELECT cdp.drop_{what}('{key}', '{}')", self.namespace);
        if !used {
            if self.act(false, "drop", &sql) {
                self.definitions.remove(key);
                self.settled = false;
            }
            return;
        }
        self.note(format!("first: {sql} -- in use"));
        match self.first.simple_query(&sql) {
            Ok(_) => self.fail("a definition was dropped that others use"),
            Err(error) if error.to_string().contains("closed") => {
                self.fail("the connection is gone")
            }
            Err(_) => {}
        }
    }
}
