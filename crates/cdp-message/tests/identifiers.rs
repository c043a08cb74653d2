//! The identifiers that messages carry.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use cdp_message::{identifiers, normalize_identifier, ExtractionRules, Identifier, KeyRule};
use common::one;
use std::borrow::Cow;

fn found(text: &str, rules: &ExtractionRules) -> Vec<Identifier> {
    identifiers(&one(text), rules)
}

/// `kind=value@source`, hashes of emails left out.
fn listed(text: &str) -> Vec<String> {
    found(text, &ExtractionRules::default())
        .iter()
        .filter(|i| i.source.path() != "email" || i.kind != "email_hash")
        .map(|i| {
            let previous = if i.previous { "?" } else { "" };
            format!("{}={}@{}{previous}", i.kind, i.value, i.source.path())
        })
        .collect()
}

#[test]
fn the_specs_own_fields() {
    assert_eq!(
        listed(r#"{"event":"x","userId":"a","anonymousId":"b"}"#),
        ["user_id=a@user_id", "anonymous_id=b@anonymous_id"]
    );
}

#[test]
fn an_email_is_an_identifier_and_so_is_its_hash() {
    let list = found(
        r#"{"type":"identify","userId":7,"traits":{"email":" Jane@Example.com "}}"#,
        &ExtractionRules::default(),
    );
    let listed: Vec<_> = list
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

#[test]
fn emails_are_found_in_all_their_places() {
    assert_eq!(
        listed(
            r#"{"event":"x","user_email":"A@b.c","context":{"traits":{"email":"d@e.f"}},"traits":{"email":"a@B.c"}}"#
        ),
        ["email=a@b.c@email", "email=d@e.f@context.traits.email"]
    );
    assert_eq!(
        listed(r#"{"userId":"u","groupId":"g","traits":{"email":"info@group.example"}}"#),
        ["user_id=u@user_id"]
    );
    assert_eq!(
        listed(r#"{"userId":"u","groupId":"g","context":{"traits":{"email":"a@b.c"}}}"#),
        ["user_id=u@user_id", "email=a@b.c@context.traits.email"]
    );
    for email in ["none", "@", "a@", "@b", "", " "] {
        let text = format!(r#"{{"userId":"u","traits":{{"email":"{email}"}}}}"#);
        assert_eq!(listed(&text), ["user_id=u@user_id"], "{email}");
    }
    assert_eq!(
        listed(r#"{"userId":"u","traits":{"email":null}}"#),
        ["user_id=u@user_id"]
    );
}

#[test]
fn external_ids() {
    assert_eq!(
        listed(
            r#"{"event":"x","userId":"u","context":{
                "externalIds":[
                    {"id":"1","type":"crm_id","collection":"users","encoding":"none"},
                    {"id":2,"type":"crm_id"},
                    {"id":"1","type":"crm_id","collection":"users"},
                    {"id":"3","type":"crm_id","collection":"accounts","encoding":"none"},
                    {"id":"4","type":"crm_id","encoding":"sha1"},
                    {"id":"","type":"crm_id"},{"id":"5"},{"type":"crm_id"},7,
                    {"id":"U@x.y","type":"email"},{"id":"d","type":"ios.id"},
                    {"id":"ABC","type":"emailHash"},
                    {"id":null,"type":"crm_id"}],
                "external_ids":[{"id":"6","type":"crm_id"}]}}"#
        ),
        [
            "user_id=u@user_id",
            "crm_id=1@context.externalIds",
            "crm_id=2@context.externalIds",
            "email=u@x.y@context.externalIds",
            "device_id=d@context.externalIds",
            "email_hash=abc@context.externalIds",
            "crm_id=6@context.externalIds",
        ]
    );
    assert_eq!(
        listed(r#"{"event":"x","userId":"u","context":{"externalIds":{"id":"1","type":"t"}}}"#),
        ["user_id=u@user_id"]
    );
}

#[test]
fn devices() {
    let device = |rest: &str| {
        format!(
            r#"{{"event":"x","userId":"u","context":{{"device":{{"id":"d","advertisingId":"ad","token":"t"{rest}}}}}}}"#
        )
    };
    let base = [
        "user_id=u@user_id",
        "device_id=d@context.device",
        "push_token=t@context.device",
    ];
    assert_eq!(listed(&device("")), base);
    assert_eq!(listed(&device(r#","adTrackingEnabled":false"#)), base);
    assert_eq!(
        listed(&device(r#","adTrackingEnabled":true"#)),
        [base.as_slice(), &["idfa=ad@context.device"]].concat()
    );
    let rules = ExtractionRules {
        device: false,
        ..ExtractionRules::default()
    };
    assert_eq!(found(&device(""), &rules).len(), 1);
}

#[test]
fn the_client_id_of_google_analytics() {
    assert_eq!(
        listed(
            r#"{"event":"x","userId":"u","integrations":{"Google Analytics":{"clientId":"1.2"}},
                "context":{"integrations":{"Google Analytics":{"clientId":1.3}}}}"#
        ),
        [
            "user_id=u@user_id",
            "ga_client_id=1.3@integrations",
            "ga_client_id=1.2@integrations"
        ]
    );
}

#[test]
fn phones_lose_their_separators() {
    assert_eq!(
        listed(r#"{"userId":"u","traits":{"phone":"+1 (555) 010-99.88"}}"#),
        ["user_id=u@user_id", "phone=+15550109988@traits.phone"]
    );
    for (given, kept) in [
        ("5550109988", "5550109988"),
        ("555-0109 ext. 7", "555-0109 ext. 7"),
        ("- - -", "- - -"),
    ] {
        assert_eq!(normalize_identifier("phone", given).as_deref(), Some(kept));
    }
}

#[test]
fn earlier_ids_may_be_of_several_kinds() {
    assert_eq!(
        listed(r#"{"type":"alias","userId":"u","previousId":"p"}"#),
        [
            "user_id=u@user_id",
            "user_id=p@previous_id?",
            "anonymous_id=p@previous_id?"
        ]
    );
    assert_eq!(
        listed(r#"{"type":"identify","userId":"u","anonymousId":"x","previousIds":["x","u"]}"#),
        [
            "user_id=u@user_id",
            "anonymous_id=x@anonymous_id",
            "user_id=x@previous_id?",
            "anonymous_id=u@previous_id?"
        ]
    );
    assert_eq!(
        listed(r#"{"type":"alias","userId":"u","previousId":"P@x.com"}"#),
        [
            "user_id=u@user_id",
            "user_id=P@x.com@previous_id?",
            "anonymous_id=P@x.com@previous_id?",
            "email=p@x.com@previous_id?"
        ]
    );
}

#[test]
fn traits_and_properties_that_the_rules_name() {
    let rule = |kind: &'static str, in_traits: Option<&str>, in_properties: Option<&str>| KeyRule {
        kind: Cow::Borrowed(kind),
        trait_path: in_traits.map(str::to_owned),
        property_path: in_properties.map(str::to_owned),
    };
    let rules = ExtractionRules {
        keys: vec![
            rule("crm_id", Some("crm.id"), None),
            rule("order_device", None, Some("device")),
            rule("device_id", Some("devices"), Some("devices")),
        ],
        ..ExtractionRules::default()
    };
    let listed = |text: &str| -> Vec<_> {
        let list = found(text, &rules).into_iter();
        list.skip(1)
            .map(|i| format!("{}={}@{}", i.kind, i.value, i.source.path()))
            .collect()
    };
    assert_eq!(
        listed(
            r#"{"userId":"u","traits":{"crm":{"id":7},"devices":["m","d",{},"m"],"email":"a@b.c"}}"#
        ),
        [
            "crm_id=7@traits.crm.id",
            "device_id=m@traits.devices",
            "device_id=d@traits.devices"
        ]
    );
    assert_eq!(
        listed(
            r#"{"userId":"u","event":"x","context":{"traits":{"crm":{"id":"c"}}},
                "properties":{"device":"pos-1","devices":null}}"#
        ),
        [
            "crm_id=c@context.traits.crm.id",
            "order_device=pos-1@properties.device"
        ]
    );
}

#[test]
fn values_that_are_too_long_are_no_identifiers() {
    let text = |length| {
        format!(
            r#"{{"userId":"u","traits":{{"email":"a@{}"}}}}"#,
            "b".repeat(length)
        )
    };
    assert_eq!(listed(&text(498)).len(), 2);
    assert_eq!(listed(&text(499)).len(), 1);
}

#[test]
fn other_kinds_are_kept_as_they_are() {
    assert_eq!(
        normalize_identifier("user_id", " A ").as_deref(),
        Some(" A ")
    );
    assert_eq!(normalize_identifier("user_id", "  "), None);
    assert_eq!(
        normalize_identifier("email", " Ä@B.C").as_deref(),
        Some("ä@b.c")
    );
}
