//! Helpers of the tests.
#![allow(dead_code)]

use cdp_message::{parse_payload, ErrorCode, Item, Limits, Message};

/// The time at which everything arrives: 2026-11-20T07:33:20Z.
pub const NOW: i64 = 1_795_160_000_000_000;

pub fn parse(text: &str) -> Vec<Item> {
    parse_payload(text, NOW, &Limits::default(), false).unwrap()
}

pub fn one(text: &str) -> Message {
    let mut items = parse(text);
    assert_eq!(items.len(), 1, "{text}");
    items.remove(0).unwrap()
}

pub fn refusal(text: &str) -> (ErrorCode, String) {
    let mut items = parse(text);
    assert_eq!(items.len(), 1, "{text}");
    let error = items.remove(0).expect_err(text).error;
    assert!(error.value.chars().count() <= 80);
    assert!(!error.message.is_empty() && !error.message.ends_with('.'));
    assert!(error.hint.ends_with('.'));
    (error.code, error.field.into_owned())
}
