//! From text to messages and their identifiers.

use super::Path;
use crate::definitions::NOW;
use crate::random::Random;
use cdp_message::{identifiers, parse_payload, ExtractionRules, Limits, Message};
use std::hint::black_box;

const MESSAGES: u64 = 100;

pub fn paths() -> Vec<Path> {
    vec![
        Path {
            name: "parse_messages",
            operation: "message of a payload of a hundred lines, as the benchmarks send them",
            operations: MESSAGES,
            prepare: || {
                let payload = plain(MESSAGES);
                Box::new(move || drop(black_box(parse(black_box(&payload)))))
            },
        },
        Path {
            name: "parse_browser_messages",
            operation: "message of a batch as a browser's library sends it, with its context",
            operations: MESSAGES,
            prepare: || {
                let payload = browser(MESSAGES);
                Box::new(move || drop(black_box(parse(black_box(&payload)))))
            },
        },
        Path {
            name: "find_identifiers",
            operation: "message whose identifiers are found and normalised",
            operations: MESSAGES,
            prepare: || {
                let messages = parse(&browser(MESSAGES));
                let rules = ExtractionRules::default();
                Box::new(move || {
                    for message in &messages {
                        drop(black_box(identifiers(black_box(message), &rules)));
                    }
                })
            },
        },
    ]
}

fn parse(payload: &str) -> Vec<Message> {
    let items = parse_payload(payload, NOW, &Limits::default(), true).expect("a payload");
    items
        .into_iter()
        .map(|item| item.expect("a message"))
        .collect()
}

/// Lines as `bench/harness/data.py` makes them.
pub fn plain(count: u64) -> String {
    let mut random = Random::new(1);
    let lines: Vec<String> = (0..count)
        .map(|number| {
            format!(
                r#"{{"type": "track", "userId": "user_{}", "event": "{}", "properties": {{"sku": "{:032x}", "path": "/p/{}", "total": {}.{:02}}}, "timestamp": "2026-03-{:02}T{:02}:15:30.123456Z", "messageId": "{:032x}"}}"#,
                random.below(10_000),
                random.choose(&["view", "click", "login", "order", "other"]),
                random.next(),
                random.below(50),
                random.below(1_000),
                random.below(100),
                1 + random.below(28),
                random.below(24),
                random.next().wrapping_add(number),
            )
        })
        .collect();
    lines.join("\n")
}

fn browser(count: u64) -> String {
    let mut random = Random::new(2);
    let messages: Vec<String> = (0..count)
        .map(|number| {
            format!(
                r#"{{"type":"track","event":"Product Added","userId":"u-{0}","anonymousId":"8f4d-{1:016x}","messageId":"ajs-next-{1:032x}-{number}",
"timestamp":"2026-03-{2:02}T10:15:30.123Z","originalTimestamp":"2026-03-{2:02}T10:15:30.100Z",
"properties":{{"cart_id":"c{0}","product_id":"p-{3}","sku":"SKU {3}","name":"Walking boots \u00fc","price":{3}.90,"quantity":{4},"currency":"EUR","tags":["outdoor","sale"],"url":"https://shop.example.com/p/{3}?ref=\"mail\""}},
"context":{{"ip":"192.0.2.7","userAgent":"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36","locale":"de-DE","timezone":"Europe/Berlin",
"page":{{"path":"/p/{3}","referrer":"https://www.example.com/","search":"","title":"Boots","url":"https://shop.example.com/p/{3}"}},
"library":{{"name":"analytics.js","version":"next-1.60.0"}},"campaign":{{"source":"mail","medium":"newsletter","name":"spring"}},
"device":{{"id":"d-{1:016x}","type":"ios"}},"traits":{{"email":" Person{0}@Example.com ","phone":"+49 30 {0}"}}}},
"integrations":{{"All":true,"Mixpanel":false}}}}"#,
                random.below(10_000),
                random.next(),
                1 + random.below(28),
                random.below(500),
                1 + random.below(5),
            )
        })
        .collect();
    format!(
        r#"{{"batch":[{}],"sentAt":"2026-03-28T10:15:31.000Z"}}"#,
        messages.join(",")
    )
}
