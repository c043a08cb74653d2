//! Random messages, and the three ways in: a call, a payload, a row of `cdp.inbox`.

use super::corpus::{CATEGORIES, EVENTS};
use super::random::Random;

/// A message before it is sent. Times are microseconds since 1970.
#[derive(Debug, Clone, Default)]
pub struct Message {
    pub kind: &'static str,
    pub user: Option<String>,
    pub anonymous: Option<String>,
    pub event: Option<&'static str>,
    pub name: Option<&'static str>,
    pub category: Option<&'static str>,
    /// JSON objects.
    pub properties: Option<String>,
    pub traits: Option<String>,
    pub group: Option<String>,
    pub previous: Option<String>,
    pub at: Option<i64>,
    pub id: Option<String>,
}

/// `2024-03-31T01:59:59.999999Z`, the days counted as H. Hinnant does (chrono-compatible low-level date
/// algorithms).
pub fn iso(at: i64) -> String {
    let day = 86_400_000_000;
    let (days, rest) = (at.div_euclid(day), at.rem_euclid(day));
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let date = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let seconds = rest / 1_000_000;
    format!(
        "{year:04}-{month:02}-{date:02}T{:02}:{:02}:{:02}.{:06}Z",
        seconds / 3_600,
        seconds / 60 % 60,
        seconds % 60,
        rest % 1_000_000
    )
}

pub fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

impl Message {
    fn texts(&self) -> [(&'static str, Option<&str>); 7] {
        [
            ("user_id", self.user.as_deref()),
            ("anonymous_id", self.anonymous.as_deref()),
            ("event", self.event),
            ("name", self.name),
            ("category", self.category),
            ("group_id", self.group.as_deref()),
            ("previous_id", self.previous.as_deref()),
        ]
    }

    /// `SELECT cdp.track(…)`.
    pub fn call(&self, namespace: &str) -> String {
        let mut arguments: Vec<String> = self
            .texts()
            .iter()
            .filter_map(|(name, value)| value.map(|value| format!("{name} => {}", quoted(value))))
            .collect();
        if self.user.is_none() {
            arguments.push("user_id => NULL".into());
        }
        for (name, json) in [("properties", &self.properties), ("traits", &self.traits)] {
            if let Some(json) = json {
                arguments.push(format!("{name} => {}", quoted(json)));
            }
        }
        if let Some(at) = self.at {
            arguments.push(format!("\"timestamp\" => '{}'", iso(at)));
        }
        if let Some(id) = &self.id {
            arguments.push(format!("message_id => {}", quoted(id)));
        }
        arguments.push(format!("namespace => {}", quoted(namespace)));
        format!("SELECT cdp.\"{}\"({})", self.kind, arguments.join(", "))
    }

    /// One message of a payload, in the spec's camelCase or in snake_case.
    pub fn json(&self, camel_case: bool) -> String {
        let name = |name: &str| {
            if !camel_case {
                return name.to_string();
            }
            let mut parts = name.split('_');
            let first = parts.next().unwrap_or_default().to_string();
            parts.fold(first, |made, part| {
                let (head, tail) = part.split_at(1);
                made + &head.to_uppercase() + tail
            })
        };
        let mut members = vec![format!("\"type\":\"{}\"", self.kind)];
        for (key, value) in self.texts() {
            if let Some(value) = value {
                members.push(format!("\"{}\":\"{value}\"", name(key)));
            }
        }
        for (key, json) in [("properties", &self.properties), ("traits", &self.traits)] {
            if let Some(json) = json {
                members.push(format!("\"{key}\":{json}"));
            }
        }
        if let Some(at) = self.at {
            members.push(format!("\"timestamp\":\"{}\"", iso(at)));
        }
        if let Some(id) = &self.id {
            members.push(format!("\"{}\":\"{id}\"", name("message_id")));
        }
        format!("{{{}}}", members.join(","))
    }

    pub const COLUMNS: &'static str =
        "type, user_id, anonymous_id, event, name, category, group_id, previous_id, \
         properties, traits, \"timestamp\", message_id, namespace";

    /// A line of COPY with [`Message::COLUMNS`].
    pub fn copy_row(&self, namespace: &str) -> String {
        let mut values = vec![self.kind.to_string()];
        let null = || "\\N".to_string();
        values.extend(
            self.texts()
                .iter()
                .map(|(_, value)| value.map_or_else(null, str::to_string)),
        );
        for json in [&self.properties, &self.traits] {
            values.push(json.clone().unwrap_or_else(null));
        }
        values.push(self.at.map_or_else(null, iso));
        values.push(self.id.clone().unwrap_or_else(null));
        values.push(namespace.to_string());
        values.join("\t") + "\n"
    }
}

/// Properties of an event: numbers, texts, both where one would expect the other, null, nothing.
pub fn properties(random: &mut Random) -> String {
    let mut members: Vec<String> = Vec::new();
    let category = *random.pick(&CATEGORIES);
    let total = *random.pick(&[
        "5", "10", "19.99", "10.10", "100", "-3", "0", "\"12\"", "null", "1e2",
    ]);
    let quantity = *random.pick(&["1", "2", "3", "\"2\"", "0.5"]);
    let sku = *random.pick(&["\"a\"", "\"b\"", "\"Z\"", "7", "true", "null", "\"é\""]);
    let gift = *random.pick(&["true", "false"]);
    let price = *random.pick(&["1.25", "3", "7.5", "\"free\""]);
    for (chance, member) in [
        (80, format!("\"category\":\"{category}\"")),
        (80, format!("\"total\":{total}")),
        (70, format!("\"quantity\":{quantity}")),
        (60, format!("\"sku\":{sku}")),
        (40, format!("\"gift\":{gift}")),
        (50, format!("\"item\":{{\"price\":{price}}}")),
    ] {
        if random.percent(chance) {
            members.push(member);
        }
    }
    format!("{{{}}}", members.join(","))
}

/// Traits of a person.
pub fn traits(random: &mut Random) -> String {
    let mut members: Vec<String> = Vec::new();
    let plan = *random.pick(&["\"pro\"", "\"team\"", "\"free\"", "null", "3"]);
    let age = *random.pick(&["20", "41", "\"old\"", "null", "1.5"]);
    let city = *random.pick(&["\"Books\"", "\"Rome\"", "null"]);
    let signup = *random.pick(&[
        "\"2024-03-01\"",
        "\"2024-03-29T10:00:00Z\"",
        "\"2023-11-05 08:30:00\"",
        "null",
    ]);
    for (chance, member) in [
        (60, format!("\"plan\":{plan}")),
        (50, format!("\"age\":{age}")),
        (40, format!("\"address\":{{\"city\":{city}}}")),
        (40, format!("\"signup\":{signup}")),
    ] {
        if random.percent(chance) {
            members.push(member);
        }
    }
    format!("{{{}}}", members.join(","))
}

/// Traits of a group.
pub fn group_traits(random: &mut Random) -> String {
    let seats = *random.pick(&["1", "5", "40", "null"]);
    let plan = *random.pick(&["\"pro\"", "\"free\"", "null"]);
    match random.below(3) {
        0 => format!("{{\"seats\":{seats}}}"),
        1 => format!("{{\"seats\":{seats},\"plan\":{plan}}}"),
        _ => "{}".to_string(),
    }
}

/// An event's call: a track, a page or a screen.
pub fn event(random: &mut Random) -> Message {
    let mut message = Message {
        kind: "track",
        ..Message::default()
    };
    match random.below(10) {
        0 => message.kind = "page",
        1 => message.kind = "screen",
        _ => message.event = Some(EVENTS[random.index(3)]),
    }
    if message.kind != "track" {
        message.name = random.percent(70).then_some("Home");
        message.category = random.percent(50).then_some("Books");
    }
    if random.percent(90) {
        message.properties = Some(properties(random));
    }
    message
}
