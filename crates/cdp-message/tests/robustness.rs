//! Whatever is sent, nothing panics, and what is accepted is whole.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use cdp_message::{
    from_fields, identifiers, parse_payload, ExtractionRules, Fields, Item, Limits, Message,
};
use common::NOW;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use serde_json::{json, Value};

fn config(cases: u32, seed: u64) -> ProptestConfig {
    ProptestConfig {
        cases,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(seed),
        ..ProptestConfig::default()
    }
}

/// What must hold of every message that was accepted.
fn check(message: &Message) {
    assert!(message.timestamp <= NOW);
    assert_eq!(message.received_at, NOW);
    let texts = [
        &message.message_id,
        &message.user_id,
        &message.anonymous_id,
        &message.group_id,
        &message.event,
        &message.name,
        &message.category,
    ];
    for text in texts.into_iter().flatten() {
        assert!(!text.trim().is_empty() && !text.contains('\0'));
    }
    let documents = [
        &message.properties,
        &message.traits,
        &message.context,
        &message.integrations,
    ];
    for document in documents.into_iter().flatten() {
        let tree: Value = serde_json::from_str(document.text()).unwrap();
        assert_eq!(document.value(), &tree);
        assert!(!tree.to_string().contains("\\u0000"));
    }
    for identifier in identifiers(message, &ExtractionRules::default()) {
        assert!(!identifier.value.trim().is_empty());
        assert!(identifier.value.chars().count() <= 500);
    }
}

fn check_all(text: &str) -> Option<Vec<Item>> {
    let items = parse_payload(text, NOW, &Limits::default(), false).ok()?;
    for item in &items {
        match item {
            Ok(message) => check(message),
            Err(bad) => {
                assert!(bad.error.value.chars().count() <= 80);
                assert!(!bad.original.is_empty());
            }
        }
    }
    Some(items)
}

/// A value for a field: often of the right type.
fn field_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        4 => "[a-z]{1,5}".prop_map(Value::from),
        1 => any::<String>().prop_map(Value::from),
        1 => prop::sample::select(vec![
            json!(null), json!(7), json!(-0.5), json!(true), json!([]), json!({}), json!(""),
            json!("2024-05-01T10:00:00Z"), json!(1_700_000_000), json!("track"), json!("alias"),
            json!({"email": "a@b.c", "x": [1, {"y": null}]}), json!(["p", 7, null]),
            json!({"externalIds": [{"id": "1", "type": "t"}], "device": {"id": "d"}}),
            json!("\u{0}"), json!("😀"),
        ]),
    ]
}

fn message() -> impl Strategy<Value = Value> {
    let keys = prop::sample::select(vec![
        "type",
        "userId",
        "user_id",
        "anonymousId",
        "anonymous_id",
        "event",
        "event",
        "name",
        "category",
        "properties",
        "traits",
        "context",
        "integrations",
        "messageId",
        "groupId",
        "previousId",
        "previousIds",
        "timestamp",
        "originalTimestamp",
        "sentAt",
        "receivedAt",
        "email",
        "deviceId",
        "ts",
        "props",
        "writeKey",
        "other",
    ]);
    prop::collection::vec((keys, field_value()), 0..10).prop_map(|members| {
        Value::Object(
            members
                .into_iter()
                .map(|(k, v)| (k.to_owned(), v))
                .collect(),
        )
    })
}

fn payload() -> impl Strategy<Value = String> {
    let messages = prop::collection::vec(message(), 0..5);
    (messages, message(), 0..4).prop_map(|(messages, around, form)| match form {
        0 => Value::Array(messages).to_string(),
        1 => messages.iter().map(|m| format!("{m}\n")).collect(),
        2 => around.to_string(),
        _ => {
            let mut around = around;
            around["batch"] = Value::Array(messages);
            around.to_string()
        }
    })
}

proptest! {
    #![proptest_config(config(2000, 21))]

    #[test]
    fn any_text(text in any::<String>()) {
        check_all(&text);
    }

    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        check_all(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn damaged_payloads(
        text in payload(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<char>()), 0..3),
    ) {
        let mut characters: Vec<char> = text.chars().collect();
        for (at, character) in damage {
            if !characters.is_empty() {
                let at = at.index(characters.len());
                characters[at] = character;
            }
        }
        check_all(&characters.into_iter().collect::<String>());
    }

    #[test]
    fn every_message_of_an_array_is_an_item(messages in prop::collection::vec(message(), 0..6)) {
        let array = check_all(&Value::Array(messages.clone()).to_string()).unwrap();
        prop_assert_eq!(array.len(), messages.len());
        for (item, message) in array.iter().zip(&messages) {
            // Alone, in an array, in a batch and on a line a message is the same.
            let alone = check_all(&message.to_string()).unwrap();
            prop_assert_eq!(&alone, std::slice::from_ref(item));
            let batch = check_all(&json!({ "batch": [message] }).to_string()).unwrap();
            prop_assert_eq!(&batch, std::slice::from_ref(item));
            let lines = check_all(&format!("{message}\n{message}\n{{}}")).unwrap();
            prop_assert_eq!(lines.len(), 3);
            prop_assert_eq!(&lines[1], item);
        }
    }

    #[test]
    fn fields(
        kind in prop::option::of(any::<String>()), user_id in prop::option::of(any::<String>()),
        event in prop::option::of(any::<String>()), properties in prop::option::of(any::<String>()),
        context in prop::option::of(message()), timestamp in prop::option::of(any::<i64>()),
        sent_at in prop::option::of(any::<i64>()),
    ) {
        let context = context.map(|context| context.to_string());
        let fields = Fields {
            kind: kind.as_deref(),
            user_id: user_id.as_deref(),
            event: event.as_deref(),
            properties: properties.as_deref(),
            context: context.as_deref(),
            timestamp,
            sent_at,
            ..Fields::default()
        };
        if let Ok(message) = from_fields(&fields, NOW, &Limits::default()) {
            check(&message);
        }
    }
}
