//! What each call needs, and the types and limits of its fields.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use cdp_message::{from_fields, validate, ErrorCode, Fields, Limits, MessageType};
use common::{one, refusal, NOW};

fn field_refusal(fields: Fields<'_>) -> (ErrorCode, String) {
    let error = from_fields(&fields, NOW, &Limits::default()).unwrap_err();
    (error.code, error.field.into_owned())
}

#[test]
fn what_each_call_needs() {
    use ErrorCode::{MissingEvent, MissingField, MissingIdentifier, MissingType, UnknownType};
    for (text, code, field) in [
        (
            r#"{"type":"track","userId":"a","event":" "}"#,
            MissingEvent,
            "event",
        ),
        (r#"{"type":"track","userId":"a"}"#, MissingEvent, "event"),
        (
            r#"{"type":"track","userId":"a","event":null}"#,
            MissingEvent,
            "event",
        ),
        (r#"{"type":"group","userId":"a"}"#, MissingField, "group_id"),
        (
            r#"{"type":"group","userId":"a","groupId":""}"#,
            MissingField,
            "group_id",
        ),
        (
            r#"{"type":"alias","userId":"a"}"#,
            MissingField,
            "previous_id",
        ),
        (
            r#"{"type":"alias","previousId":"a"}"#,
            MissingField,
            "user_id",
        ),
        (
            r#"{"type":"track","event":"x"}"#,
            MissingIdentifier,
            "user_id",
        ),
        (
            r#"{"type":"track","event":"x","userId":"","anonymousId":" "}"#,
            MissingIdentifier,
            "user_id",
        ),
        (
            r#"{"type":"track","event":"x","context":{"externalIds":[]}}"#,
            MissingIdentifier,
            "user_id",
        ),
        (
            r#"{"type":"track","event":"x","context":{"externalIds":[{"id":"1","type":"app","collection":"accounts"}]}}"#,
            MissingIdentifier,
            "user_id",
        ),
        (r#"{"userId":"a"}"#, MissingType, "type"),
        (r#"{"userId":"a","type":""}"#, MissingType, "type"),
        (r#"{"userId":"a","type":"tracks"}"#, UnknownType, "type"),
    ] {
        assert_eq!(refusal(text), (code, field.to_owned()), "{text}");
    }
    for text in [
        r#"{"type":"page","anonymousId":"a"}"#,
        r#"{"type":"screen","anonymousId":"a","name":"Home","category":"c"}"#,
        r#"{"type":"identify","userId":"a"}"#,
        r#"{"type":"group","anonymousId":"a","groupId":7}"#,
        r#"{"type":"alias","userId":"a","previousId":7}"#,
        r#"{"type":"track","event":"x","context":{"externalIds":[{"id":1,"type":"app"}]}}"#,
        r#"{"type":"track","event":"x","context":{"external_ids":[{"id":"1","type":"app","collection":"users","encoding":"none"}]}}"#,
        r#"{"type":"track","event":"x","email":"a@b.c"}"#,
    ] {
        one(text);
    }
}

#[test]
fn fields_have_types() {
    for (text, field) in [
        (r#"{"type":"track","userId":true,"event":"x"}"#, "user_id"),
        (r#"{"type":"track","userId":{},"event":"x"}"#, "user_id"),
        (
            r#"{"type":"track","userId":"a","anonymousId":[],"event":"x"}"#,
            "anonymous_id",
        ),
        (r#"{"type":"track","userId":"a","event":7}"#, "event"),
        (r#"{"type":7,"userId":"a","event":"x"}"#, "type"),
        (r#"{"type":"page","userId":"a","name":{}}"#, "name"),
        (r#"{"type":"page","userId":"a","category":1}"#, "category"),
        (
            r#"{"type":"track","userId":"a","event":"x","properties":[1]}"#,
            "properties",
        ),
        (
            r#"{"type":"identify","userId":"a","traits":"{}"}"#,
            "traits",
        ),
        (
            r#"{"type":"track","userId":"a","event":"x","context":1}"#,
            "context",
        ),
        (
            r#"{"type":"track","userId":"a","event":"x","integrations":true}"#,
            "integrations",
        ),
        (
            r#"{"type":"track","userId":"a","event":"x","timestamp":{}}"#,
            "timestamp",
        ),
        (
            r#"{"type":"track","userId":"a","event":"x","sentAt":false}"#,
            "sent_at",
        ),
        (
            r#"{"type":"track","userId":"a","event":"x","messageId":[]}"#,
            "message_id",
        ),
        (
            r#"{"type":"identify","userId":"a","previousIds":"b"}"#,
            "previous_ids",
        ),
        (
            r#"{"type":"identify","userId":"a","previousIds":[{}]}"#,
            "previous_ids",
        ),
    ] {
        assert_eq!(
            refusal(text),
            (ErrorCode::WrongType, field.to_owned()),
            "{text}"
        );
    }
}

#[test]
fn numbers_as_ids_become_text() {
    let message = one(
        r#"{"type":"group","userId":12345678901234567890,"anonymousId":-1.50,"groupId":7,"messageId":42}"#,
    );
    assert_eq!(message.user_id.as_deref(), Some("12345678901234567890"));
    assert_eq!(message.anonymous_id.as_deref(), Some("-1.50"));
    assert_eq!(message.group_id.as_deref(), Some("7"));
    assert_eq!(message.message_id.as_deref(), Some("42"));
}

#[test]
fn empty_objects_from_php_and_nulls_are_absent() {
    let message = one(
        r#"{"type":"track","event":"x","userId":"a","properties":[],"context":null,"traits":[ ],"name":null}"#,
    );
    assert_eq!(message.properties, None);
    assert_eq!(message.context, None);
    assert_eq!(message.traits, None);
}

#[test]
fn one_field_under_two_names_must_have_one_value() {
    let same = one(r#"{"event":"x","userId":"a","user_id":"a"}"#);
    assert_eq!(same.user_id.as_deref(), Some("a"));
    let half = one(r#"{"event":"x","userId":null,"user_id":"a"}"#);
    assert_eq!(half.user_id.as_deref(), Some("a"));
    let half = one(r#"{"event":"x","user_id":"a","userId":null}"#);
    assert_eq!(half.user_id.as_deref(), Some("a"));
    let duplicate = one(r#"{"event":"x","userId":"a","userId":"b"}"#);
    assert_eq!(duplicate.user_id.as_deref(), Some("b"));
    let escaped = one(r#"{"event":"x","us\u0065rId":"a"}"#);
    assert_eq!(escaped.user_id.as_deref(), Some("a"));
    assert_eq!(
        refusal(r#"{"event":"x","userId":"a","user_id":"b"}"#),
        (ErrorCode::ConflictingFields, "user_id".to_owned())
    );
}

#[test]
fn names_and_ids_have_lengths() {
    let text = |field: &str, length: usize| {
        format!(
            r#"{{"type":"page","userId":"a","previousIds":["p"],"{field}":"{}"}}"#,
            "é".repeat(length)
        )
    };
    for (field, name, limit) in [
        ("name", "name", 255),
        ("category", "category", 255),
        ("event", "event", 255),
        ("anonymousId", "anonymous_id", 500),
        ("groupId", "group_id", 500),
        ("previousId", "previous_id", 500),
        ("messageId", "message_id", 100),
        ("deviceId", "device_id", 500),
    ] {
        one(&text(field, limit));
        assert_eq!(
            refusal(&text(field, limit + 1)),
            (ErrorCode::TooLong, name.to_owned())
        );
    }
}

#[test]
fn errors_show_the_value_cut() {
    let error = common::parse(&format!(r#"{{"type":"{}"}}"#, "y".repeat(500)))
        .remove(0)
        .unwrap_err()
        .error;
    assert_eq!(error.value.chars().count(), 80);
    assert!(error.value.ends_with('…'));
    assert_eq!(error.code.sqlstate(), "CD004");
}

#[test]
fn sqlstates_and_names_are_distinct_and_of_our_class() {
    let mut states: Vec<_> = ErrorCode::ALL.iter().map(|code| code.sqlstate()).collect();
    assert!(states
        .iter()
        .all(|state| state.len() == 5 && state.starts_with("CD")));
    states.sort_unstable();
    states.dedup();
    assert_eq!(states.len(), ErrorCode::ALL.len());
    let mut names: Vec<_> = ErrorCode::ALL.iter().map(|code| code.name()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), ErrorCode::ALL.len());
}

#[test]
fn fields_and_json_make_the_same_message() {
    let fields = Fields {
        kind: Some("track"),
        user_id: Some("a"),
        anonymous_id: Some(""),
        event: Some("Order Completed"),
        properties: Some(r#"{"total": 42}"#),
        traits: Some("null"),
        context: Some("{}"),
        message_id: Some("m"),
        timestamp: Some(NOW - 5),
        ..Fields::default()
    };
    let message = from_fields(&fields, NOW, &Limits::default()).unwrap();
    let json = one(
        r#"{"type":"track","userId":"a","event":"Order Completed","properties":{"total": 42},
            "context":{},"messageId":"m","timestamp":1795159999.999995}"#,
    );
    assert_eq!(message, json);
}

#[test]
fn fields_are_checked_like_json() {
    let base = Fields {
        kind: Some("track"),
        user_id: Some("a"),
        event: Some("x"),
        ..Fields::default()
    };
    for (fields, code, field) in [
        (
            Fields {
                kind: Some("dance"),
                ..base
            },
            ErrorCode::UnknownType,
            "type",
        ),
        (
            Fields {
                event: Some(" "),
                ..base
            },
            ErrorCode::MissingEvent,
            "event",
        ),
        (
            Fields {
                user_id: None,
                ..base
            },
            ErrorCode::MissingIdentifier,
            "user_id",
        ),
        (
            Fields {
                kind: Some("group"),
                ..base
            },
            ErrorCode::MissingField,
            "group_id",
        ),
        (
            Fields {
                properties: Some("[1]"),
                ..base
            },
            ErrorCode::WrongType,
            "properties",
        ),
        (
            Fields {
                traits: Some("{"),
                ..base
            },
            ErrorCode::InvalidJson,
            "traits",
        ),
        (
            Fields {
                context: Some(r#"{"a":"\u0000"}"#),
                ..base
            },
            ErrorCode::NulCharacter,
            "context",
        ),
        (
            Fields {
                event: Some("a\0b"),
                ..base
            },
            ErrorCode::NulCharacter,
            "event",
        ),
        (
            Fields {
                timestamp: Some(i64::MAX),
                ..base
            },
            ErrorCode::TimestampOutOfRange,
            "timestamp",
        ),
        (
            Fields {
                sent_at: Some(i64::MIN),
                ..base
            },
            ErrorCode::TimestampOutOfRange,
            "sent_at",
        ),
    ] {
        assert_eq!(field_refusal(fields), (code, field.to_owned()));
    }
    let untyped = Fields {
        kind: None,
        event: None,
        ..base
    };
    assert_eq!(field_refusal(untyped).0, ErrorCode::MissingType);
    let large = format!(r#"{{"a":"{}"}}"#, "x".repeat(40_000));
    let fields = Fields {
        properties: Some(&large),
        ..base
    };
    assert_eq!(field_refusal(fields).0, ErrorCode::EventTooLarge);
}

#[test]
fn a_changed_message_can_be_validated_again() {
    let mut message = one(r#"{"type":"track","userId":"a","event":"x"}"#);
    message.event = Some("  ".to_owned());
    let error = validate(&mut message, &Limits::default()).unwrap_err();
    assert_eq!(error.code, ErrorCode::MissingEvent);
    assert_eq!(message.event, None);
}

#[test]
fn pages_and_screens_are_events_too() {
    let name = |text| one(text).event_name().map(str::to_owned);
    assert_eq!(
        name(r#"{"type":"page","userId":"a","name":"Home"}"#).as_deref(),
        Some("Page Viewed")
    );
    assert_eq!(
        name(r#"{"type":"screen","userId":"a"}"#).as_deref(),
        Some("Screen Viewed")
    );
    assert_eq!(name(r#"{"userId":"a","event":"x"}"#).as_deref(), Some("x"));
    assert_eq!(name(r#"{"userId":"a","traits":{}}"#), None);
    assert_eq!(MessageType::parse(" Page "), Some(MessageType::Page));
}
