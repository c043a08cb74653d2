//! Payloads as clients send them: single messages, arrays, batches, lines.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use cdp_message::{parse_payload, ErrorCode, Limits, MessageType};
use common::{one, parse, NOW};

fn call_error(text: &str) -> ErrorCode {
    parse_payload(text, NOW, &Limits::default(), false)
        .expect_err(text)
        .code
}

#[test]
fn a_track_call_in_camel_and_in_snake_case() {
    let camel = one(
        r#"{"type":"track","userId":"user123","event":"Product Viewed","messageId":"m1",
            "anonymousId":"x","sentAt":"2026-11-20T07:30:01Z","originalTimestamp":"2026-11-20T07:30Z",
            "properties":{"productId":"P123","price":99.990,"category":"Electronics"}}"#,
    );
    let snake = one(
        r#"{"type":" TRACK ","user_id":"user123","event":"Product Viewed","message_id":"m1",
            "anonymous_id":"x","sent_at":"2026-11-20T07:30:01Z","original_timestamp":"2026-11-20T07:30Z",
            "properties":{"productId":"P123","price":99.990,"category":"Electronics"}}"#,
    );
    assert_eq!(camel, snake);
    assert_eq!(camel.kind, MessageType::Track);
    let properties = camel.properties.unwrap();
    assert_eq!(
        properties.text(),
        r#"{"productId":"P123","price":99.990,"category":"Electronics"}"#
    );
    assert_eq!(properties.get("price").unwrap().to_string(), "99.990");
}

#[test]
fn what_the_node_client_sends() {
    let items = parse(
        r#"{"batch":[{"timestamp":"2026-11-20T07:30:25.547Z","integrations":{},"type":"identify","userId":"u1","traits":{"email":"a@b.c"},"context":{"library":{"name":"@segment/analytics-node","version":"3.1.0"}},"messageId":"node-next-1795159825547-4e48e487-d247-43bc-9a1c-28ab4e04ad4e","_metadata":{"nodeVersion":"v20.20.2","jsRuntime":"node"}}],"writeKey":"wk_test","sentAt":"2026-11-20T07:30:25.557Z"}"#,
    );
    let message = items.into_iter().next().unwrap().unwrap();
    assert_eq!(message.kind, MessageType::Identify);
    // Ten milliseconds passed between the call and the sending.
    assert_eq!(message.timestamp, NOW - 10_000);
    assert_eq!(message.original_timestamp, Some(1_795_159_825_547_000));
    assert_eq!(message.sent_at, Some(1_795_159_825_557_000));
}

#[test]
fn what_a_client_without_types_sends() {
    let track = one(r#"{"userId":"a","event":"x","properties":{}}"#);
    assert_eq!(track.kind, MessageType::Track);
    let identify = one(r#"{"userId":"a","traits":{"plan":"pro"}}"#);
    assert_eq!(identify.kind, MessageType::Identify);
    let group = one(r#"{"userId":"a","groupId":"g","traits":{"plan":"pro"}}"#);
    assert_eq!(group.kind, MessageType::Group);
    let alias = one(r#"{"userId":"a","previousId":"b"}"#);
    assert_eq!(alias.kind, MessageType::Alias);
    let record = one(
        r#"{"anonymousId":"anon_123","userId":"user_456","previousIds":["temp_789",7,""," "],
            "traits":{"email":"e@x.y","devices":["mobile_abc","desktop_def"]}}"#,
    );
    assert_eq!(record.kind, MessageType::Identify);
    assert_eq!(record.previous_ids, ["temp_789", "7"]);
    let older =
        one(r#"{"user_email":"a@b.c","event":"Feature Used","props":{"n":1},"ts":"2026-01-01"}"#);
    assert_eq!(older.other_ids[0].kind, "email");
    assert_eq!(older.properties.unwrap().text(), r#"{"n":1}"#);
    assert_eq!(older.timestamp, 1_767_225_600_000_000);
    let device = one(r#"{"type":"identify","deviceId":"d","externalId":"e","emailHash":"h"}"#);
    let kinds: Vec<_> = device.other_ids.iter().map(|id| id.kind.as_ref()).collect();
    assert_eq!(kinds, ["email_hash", "device_id", "external_id"]);
}

#[test]
fn a_batch_gives_its_context_to_its_messages() {
    let items = parse(
        r#"{"batch":[
             {"type":"track","userId":"a","event":"x","context":{"locale":"de","ip":"1.1.1.1"}},
             {"type":"track","event":"x"},
             7,
             {"type":"track","event":"x","context":{"locale":"fr"},"sentAt":"2020-01-01","integrations":[]},
             {"type":"track","userId":"b","event":"x","context":null,"integrations":{"All":false}}],
            "context":{"locale":"en","timezone":"UTC"},"integrations":{"All":true,"A":1},
            "sentAt":"2026-11-20T07:30:25.557Z"}"#,
    );
    assert_eq!(items.len(), 5);
    let first = items[0].as_ref().unwrap();
    assert_eq!(
        first.context.as_ref().unwrap().text(),
        r#"{"timezone":"UTC","locale":"de","ip":"1.1.1.1"}"#
    );
    assert_eq!(
        first.integrations.as_ref().unwrap().text(),
        r#"{"All":true,"A":1}"#
    );
    let second = items[1].as_ref().unwrap_err();
    assert_eq!(second.error.code, ErrorCode::MissingIdentifier);
    assert_eq!(
        second.original,
        r#"{"type":"track","event":"x","context":{"locale":"en","timezone":"UTC"},"integrations":{"All":true,"A":1},"sentAt":"2026-11-20T07:30:25.557Z"}"#
    );
    let third = items[2].as_ref().unwrap_err();
    assert_eq!(third.error.code, ErrorCode::WrongType);
    assert_eq!(third.original, "7");
    let fourth = items[3].as_ref().unwrap_err();
    assert_eq!(
        fourth.original,
        r#"{"type":"track","event":"x","context":{"timezone":"UTC","locale":"fr"},"integrations":[],"sentAt":"2020-01-01"}"#
    );
    let fifth = items[4].as_ref().unwrap();
    assert_eq!(
        fifth.context.as_ref().unwrap().text(),
        r#"{"locale":"en","timezone":"UTC"}"#
    );
    assert_eq!(
        fifth.integrations.as_ref().unwrap().text(),
        r#"{"A":1,"All":false}"#
    );
}

#[test]
fn the_original_of_a_bad_message_means_the_same_by_itself() {
    let batch = r#"{"batch":[{"type":"track","userId":"a","timestamp":"2026-11-20T07:00:00Z","context":{"ip":"1.1.1.1"}}],
        "context":{"locale":"en"},"sentAt":"2026-11-20T07:00:05Z"}"#;
    let bad = parse(batch).remove(0).unwrap_err();
    assert_eq!(bad.error.code, ErrorCode::MissingEvent);
    let fixed = bad.original.replacen('{', r#"{"event":"x","#, 1);
    let message = one(&fixed);
    let whole = parse(&batch.replacen(r#""userId""#, r#""event":"x","userId""#, 1))
        .remove(0)
        .unwrap();
    assert_eq!(message, whole);
    assert_eq!(message.timestamp, NOW - 5_000_000);
}

#[test]
fn a_bad_message_never_sinks_the_others() {
    let items = parse(
        r#"[{"type":"track","userId":"a","event":"1"},
            {"type":"track","userId":"a","event":"2","properties":{"x":"\u0000"}},
            {"type":"track","userId":"a","event":"3","properties":{"x":"\ud83d"}},
            {"type":"track","userId":"a","event":"4","properties":{"x":1e999999}},
            {"type":"track","userId":"a","event":"5","properties":"x"},
            {"type":"dance","userId":"a","event":"6"},
            null, "text", [], true,
            {"type":"track","userId":"a","event":"7"}]"#,
    );
    let codes: Vec<_> = items
        .iter()
        .map(|item| {
            item.as_ref()
                .err()
                .map(|bad| (bad.error.code, bad.error.field.as_ref()))
        })
        .collect();
    assert_eq!(
        codes,
        [
            None,
            Some((ErrorCode::NulCharacter, "properties")),
            Some((ErrorCode::InvalidUnicode, "properties")),
            Some((ErrorCode::NumberOutOfRange, "properties")),
            Some((ErrorCode::WrongType, "properties")),
            Some((ErrorCode::UnknownType, "type")),
            Some((ErrorCode::WrongType, "")),
            Some((ErrorCode::WrongType, "")),
            Some((ErrorCode::WrongType, "")),
            Some((ErrorCode::WrongType, "")),
            None,
        ]
    );
}

#[test]
fn problems_inside_a_batch_belong_to_the_message_that_has_them() {
    let items = parse(
        r#"{"batch":[{"event":"1","userId":"a"},{"event":"2","userId":"a\u0000"},{"event":"3","userId":"a"}]}"#,
    );
    assert!(items[0].is_ok() && items[2].is_ok());
    let bad = items[1].as_ref().unwrap_err();
    assert_eq!(
        (bad.error.code, bad.error.field.as_ref()),
        (ErrorCode::NulCharacter, "user_id")
    );
}

#[test]
fn lines_are_messages() {
    let items = parse(
        "{\"event\":\"1\",\"userId\":\"a\"}\r\n\n  {\"event\":\"2\",\"userId\":\"a\"}\n\
         {\"event\":\"3\",\"userId\"\nnot json\n{\"event\":\"4\",\"userId\":\"a\"} {}\n\
         [{\"event\":\"5\",\"userId\":\"a\"},{\"event\":\"6\",\"userId\":\"a\"}]\n\
         {\"batch\":[{\"event\":\"7\",\"userId\":\"a\"}],\"context\":{\"a\":1}}\n\
         {\"batch\":7}\n",
    );
    let events: Vec<_> = items
        .iter()
        .map(|item| match item {
            Ok(message) => message.event.clone().unwrap(),
            Err(bad) => format!("{} {}", bad.error.code.name(), bad.original),
        })
        .collect();
    assert_eq!(
        events,
        [
            "1",
            "2",
            "invalid_json {\"event\":\"3\",\"userId\"",
            "invalid_json not json",
            "invalid_json {\"event\":\"4\",\"userId\":\"a\"} {}",
            "5",
            "6",
            "7",
            "wrong_type {\"batch\":7}",
        ]
    );
}

#[test]
fn a_bad_first_line_does_not_hide_that_these_are_lines() {
    let items = parse("{\"event\":\"1\",\"userId\n{\"event\":\"2\",\"userId\":\"a\"}");
    assert!(items[0].is_err() && items[1].is_ok());
    let items = parse("{\"batch\":7}\n{\"event\":\"2\",\"userId\":\"a\"}");
    assert!(items[0].is_err() && items[1].is_ok());
    let items = parse("oops\n{\"event\":\"2\",\"userId\":\"a\"}");
    assert!(items[0].is_err() && items[1].is_ok());
}

#[test]
fn text_that_is_not_json_is_an_error_of_the_call() {
    for text in [
        "",
        " \n ",
        "{",
        "nonsense",
        "[{\"event\":\"1\",\"userId\":\"a\"}",
        "[\n{\"event\":\"1\",\"userId\":\"a\"},\n{\"event\":\"1\",\"userId\":\"a\"}\n",
        "[\n{\"event\":\"1\",\"userId\":\"a\"}\n{\"event\":\"1\",\"userId\":\"a\"}\n]",
        "{\n\"batch\": [\n{\"event\":\"1\",\"userId\":\"a\"}\n{}\n]}",
        "{\"batch\":[\n{\"event\":\"1\",\"userId\":\"a\"}\n{}\n]}",
        "{\"event\":\"1\",\n{}\n}",
        "{\"event\":\"1\",\"userId\":\"a\"",
        "{\"event\":\"1\" \"userId\":\"a\"}\n",
        "{\"batch\":[{\"event\":\"1\",\"userId\":\"a\"}",
        "[1,]",
        "{\"a\":1,}",
        "{'a':1}",
    ] {
        assert_eq!(call_error(text), ErrorCode::InvalidJson, "{text}");
    }
    let error = parse_payload("{\"a\":1,\n  \"b\":x}", NOW, &Limits::default(), false).unwrap_err();
    assert_eq!(
        error.message,
        "invalid JSON at line 2, column 7: expected a value"
    );
    assert_eq!(error.value, "{\"a\":1,\n  \"b\":x}");
}

#[test]
fn a_batch_that_is_wrong_as_a_whole_is_an_error_of_the_call() {
    assert_eq!(call_error(r#"{"batch":{}}"#), ErrorCode::WrongType);
    assert_eq!(
        call_error(r#"{"batch":[],"context":7}"#),
        ErrorCode::WrongType
    );
    assert_eq!(
        call_error(r#"{"batch":[],"context":{"a":"\u0000"}}"#),
        ErrorCode::NulCharacter
    );
    assert_eq!(
        call_error(r#"{"batch":[],"sentAt":"yesterday"}"#),
        ErrorCode::InvalidTimestamp
    );
}

#[test]
fn empty_batches_hold_nothing() {
    assert_eq!(parse("[]"), []);
    assert_eq!(parse(r#"{"batch":[]}"#), []);
    assert_eq!(parse("\u{feff}[ ]"), []);
}

#[test]
fn limits_of_a_batch_apply_where_they_are_asked_for() {
    let limits = Limits {
        batch_bytes: 200,
        batch_messages: 3,
        ..Limits::default()
    };
    let message = r#"{"event":"1","userId":"a"}"#;
    let array = |count: usize| format!("[{}]", vec![message; count].join(","));
    let read =
        |text: &str, apply| parse_payload(text, NOW, &limits, apply).map(|items| items.len());
    assert_eq!(read(&array(3), true), Ok(3));
    assert_eq!(
        read(&array(4), true).unwrap_err().code,
        ErrorCode::TooManyMessages
    );
    assert_eq!(
        read(&array(9), true).unwrap_err().code,
        ErrorCode::BatchTooLarge
    );
    assert_eq!(read(&array(9), false), Ok(9));
    let lines = [message; 4].join("\n");
    assert_eq!(
        read(&lines, true).unwrap_err().code,
        ErrorCode::TooManyMessages
    );
}

#[test]
fn a_message_that_is_too_large_is_refused_by_itself() {
    let large = format!(
        r#"[{{"event":"1","userId":"a","properties":{{"x":"{}"}}}},{{"event":"2","userId":"a"}}]"#,
        "y".repeat(32 * 1024)
    );
    let items = parse(&large);
    assert_eq!(
        items[0].as_ref().unwrap_err().error.code,
        ErrorCode::EventTooLarge
    );
    assert!(items[1].is_ok());
}
