//! Payloads as clients send them.

use cdp_message::{
    identifiers, parse_payload, ErrorCode, ExtractionRules, Item, Limits, Message, MessageType,
};

const NOW: i64 = 1_795_160_000_000_000;

fn parse(text: &str) -> Vec<Item> {
    parse_payload(text, NOW, &Limits::default(), false).unwrap()
}

fn one(text: &str) -> Message {
    let mut items = parse(text);
    assert_eq!(items.len(), 1);
    items.remove(0).unwrap()
}

fn refusal(text: &str) -> (ErrorCode, String) {
    let mut items = parse(text);
    assert_eq!(items.len(), 1);
    let error = items.remove(0).unwrap_err().error;
    (error.code, error.field.into_owned())
}

#[test]
fn a_track_call_in_camel_and_in_snake_case() {
    let camel = one(
        r#"{"type":"track","userId":"user123","event":"Product Viewed","messageId":"m1",
            "properties":{"productId":"P123","price":99.990,"category":"Electronics"}}"#,
    );
    let snake = one(
        r#"{"type":"TRACK","user_id":"user123","event":"Product Viewed","message_id":"m1",
            "properties":{"productId":"P123","price":99.990,"category":"Electronics"}}"#,
    );
    assert_eq!(camel, snake);
    assert_eq!(camel.kind, MessageType::Track);
    assert_eq!(camel.timestamp, NOW);
    let properties = camel.properties.unwrap();
    assert_eq!(
        properties.text(),
        r#"{"productId":"P123","price":99.990,"category":"Electronics"}"#
    );
    assert_eq!(properties.get("price").unwrap().to_string(), "99.990");
}

#[test]
fn a_batch_gives_its_context_to_its_messages() {
    let items = parse(
        r#"{"batch":[
             {"type":"track","userId":"a","event":"x","context":{"locale":"de","ip":"1.1.1.1"}},
             {"type":"track","event":"x"},
             7],
            "context":{"locale":"en","timezone":"UTC"},"integrations":{"All":true},
            "sentAt":"2026-11-20T07:30:25.557Z"}"#,
    );
    assert_eq!(items.len(), 3);
    let first = items[0].as_ref().unwrap();
    assert_eq!(
        first.context.as_ref().unwrap().text(),
        r#"{"timezone":"UTC","locale":"de","ip":"1.1.1.1"}"#
    );
    assert_eq!(
        first.integrations.as_ref().unwrap().text(),
        r#"{"All":true}"#
    );
    let second = items[1].as_ref().unwrap_err();
    assert_eq!(second.error.code, ErrorCode::MissingIdentifier);
    assert_eq!(
        second.original,
        r#"{"type":"track","event":"x","context":{"locale":"en","timezone":"UTC"},"integrations":{"All":true},"sentAt":"2026-11-20T07:30:25.557Z"}"#
    );
    assert_eq!(
        items[2].as_ref().unwrap_err().error.code,
        ErrorCode::WrongType
    );
}

#[test]
fn a_track_call_needs_an_event() {
    let expected = (ErrorCode::MissingEvent, "event".to_owned());
    assert_eq!(
        refusal(r#"{"type":"track","userId":"a","event":" "}"#),
        expected
    );
    assert_eq!(refusal(r#"{"type":"track","userId":"a"}"#), expected);
}

#[test]
fn an_email_is_an_identifier_and_so_is_its_hash() {
    let message = one(r#"{"type":"identify","userId":7,"traits":{"email":" Jane@Example.com "}}"#);
    let found = identifiers(&message, &ExtractionRules::default());
    let listed: Vec<_> = found
        .iter()
        .map(|i| (i.kind.as_ref(), i.value.as_str()))
        .collect();
    assert_eq!(
        listed,
        [
            ("user_id", "7"),
            ("email", "jane@example.com"),
            (
                "email_hash",
                "8c87b489ce35cf2e2f39f80e282cb2e804932a56a213983eeeb428407d43b52d"
            ),
        ]
    );
}
