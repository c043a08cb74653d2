//! The identifiers that a message carries, for identity resolution.

use crate::document::{elements, members, Document};
use crate::fields::text_of;
use crate::limits::Limits;
use crate::message::{Message, NamedId};
use crate::message_type::MessageType;
use crate::scan::{Raw, RawKind};
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::fmt::Write;

/// An identifier found in a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identifier {
    /// `user_id`, `anonymous_id`, `email`, `email_hash`, `phone`, `device_id`, `idfa`,
    /// `push_token`, `ga_client_id`, `external_id`, or a custom kind.
    pub kind: Cow<'static, str>,
    /// Normalised as [`normalize_identifier`] says.
    pub value: String,
    /// Where it was found.
    pub source: IdentifierSource,
    /// True for an earlier id of the person, named by `previousId`: the message asks for the two
    /// to be one. Such an id may be a user id or an anonymous id, so it is listed as both.
    pub previous: bool,
}

/// Where in a message an identifier was found; shown by explanations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IdentifierSource {
    /// A field of the message, by its snake_case name.
    Field(Cow<'static, str>),
    /// `context.externalIds`.
    ExternalIds,
    /// `context.device`.
    Device,
    /// The settings of a destination: `context.integrations` or `integrations`.
    Integrations,
    /// A trait, by its path.
    Trait(String),
    /// A trait in `context.traits`, by its path.
    ContextTrait(String),
    /// A property, by its path.
    Property(String),
    /// The hash of an email address of the same message.
    Derived,
}

impl IdentifierSource {
    /// The place as a path: `user_id`, `context.externalIds`, `traits.email`.
    pub fn path(&self) -> Cow<'_, str> {
        match self {
            IdentifierSource::Field(name) => Cow::Borrowed(name),
            IdentifierSource::ExternalIds => Cow::Borrowed("context.externalIds"),
            IdentifierSource::Device => Cow::Borrowed("context.device"),
            IdentifierSource::Integrations => Cow::Borrowed("integrations"),
            IdentifierSource::Trait(path) => Cow::Owned(format!("traits.{path}")),
            IdentifierSource::ContextTrait(path) => Cow::Owned(format!("context.traits.{path}")),
            IdentifierSource::Property(path) => Cow::Owned(format!("properties.{path}")),
            IdentifierSource::Derived => Cow::Borrowed("email"),
        }
    }
}

/// A trait or property that holds identifiers of a kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRule {
    pub kind: Cow<'static, str>,
    /// Path in the person's traits (`traits` and `context.traits`).
    pub trait_path: Option<String>,
    /// Path in the properties of track, page and screen calls.
    pub property_path: Option<String>,
}

/// Which identifiers are taken from a message besides those of the spec's own fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExtractionRules {
    /// Traits and properties that hold identifiers. A value may be a text, a number, or an array
    /// of those.
    pub keys: Vec<KeyRule>,
    /// Whether `context.device` identifies a person.
    pub device: bool,
    /// Longer values, in characters, are no identifiers.
    pub id_chars: usize,
}

impl Default for ExtractionRules {
    fn default() -> ExtractionRules {
        let from_trait = |kind: &'static str| KeyRule {
            kind: Cow::Borrowed(kind),
            trait_path: Some(kind.to_owned()),
            property_path: None,
        };
        ExtractionRules {
            keys: vec![
                from_trait("email"),
                from_trait("email_hash"),
                from_trait("phone"),
            ],
            device: true,
            id_chars: Limits::default().id_chars,
        }
    }
}

/// The identifiers of a message, each once, in a fixed order: the spec's fields, external ids,
/// device, destinations, configured traits and properties, derived hashes, earlier ids.
pub fn identifiers(message: &Message, rules: &ExtractionRules) -> Vec<Identifier> {
    let mut found = Collector {
        list: Vec::with_capacity(4),
        id_chars: rules.id_chars,
    };
    let field = |name: &'static str| IdentifierSource::Field(Cow::Borrowed(name));
    if let Some(id) = &message.user_id {
        found.add("user_id", id, || field("user_id"));
    }
    if let Some(id) = &message.anonymous_id {
        found.add("anonymous_id", id, || field("anonymous_id"));
    }
    for id in &message.other_ids {
        found.add(id.kind.clone(), &id.value, || {
            IdentifierSource::Field(id.kind.clone())
        });
    }
    let context = Context::of(message);
    for id in context.external_ids() {
        found.add(id.kind, &id.value, || IdentifierSource::ExternalIds);
    }
    if rules.device {
        if let Some(device) = context.device {
            add_device(&mut found, device);
        }
    }
    let destinations = message
        .integrations
        .as_ref()
        .map(|d| Raw { text: d.text() });
    for integrations in [context.integrations, destinations].into_iter().flatten() {
        add_google_analytics(&mut found, integrations);
    }
    add_keys(&mut found, message, context.traits, rules);
    found.derive_hashes();
    for id in &message.previous_ids {
        for kind in ["user_id", "anonymous_id", "email"] {
            found.add_previous(kind, id);
        }
    }
    found.list
}

/// The form in which identifiers are kept and compared: emails and their hashes are trimmed and
/// lower-cased, phone numbers lose their separators, everything else is kept as it is. None when
/// the value cannot be an identifier of the kind: blank, or an email without an `@` inside.
pub fn normalize_identifier<'a>(kind: &str, value: &'a str) -> Option<Cow<'a, str>> {
    let trimmed = value.trim();
    if trimmed.is_empty() || value.contains('\0') {
        return None;
    }
    match kind {
        "email" => {
            let (name, domain) = trimmed.rsplit_once('@')?;
            (!name.is_empty() && !domain.is_empty()).then(|| lower(trimmed))
        }
        "email_hash" => Some(lower(trimmed)),
        "phone" => Some(phone(trimmed)),
        _ => Some(Cow::Borrowed(value)),
    }
}

fn lower(text: &str) -> Cow<'_, str> {
    if text.chars().any(char::is_uppercase) {
        Cow::Owned(text.to_lowercase())
    } else {
        Cow::Borrowed(text)
    }
}

/// A phone number without spaces, dots, dashes and brackets. Text with anything else in it, such
/// as an extension, is kept.
fn phone(text: &str) -> Cow<'_, str> {
    let separator = |c: char| matches!(c, ' ' | '.' | '-' | '(' | ')' | '/');
    let digits = text.strip_prefix('+').unwrap_or(text);
    if !digits.chars().any(separator) || !digits.chars().all(|c| c.is_ascii_digit() || separator(c))
    {
        return Cow::Borrowed(text);
    }
    let compact: String = text.chars().filter(|c| !separator(*c)).collect();
    if compact.bytes().any(|byte| byte.is_ascii_digit()) {
        Cow::Owned(compact)
    } else {
        Cow::Borrowed(text)
    }
}

/// The identifier of kind `email_hash` that goes with an email: the SHA-256 of the address, which has to be
/// normalised, in lower-case hexadecimal.
pub fn email_hash(email: &str) -> String {
    let digest = Sha256::digest(email.as_bytes());
    let mut hash = String::with_capacity(64);
    for byte in digest {
        // Writing to a string cannot fail.
        let _ = write!(hash, "{byte:02x}");
    }
    hash
}

/// Gathers identifiers, each once.
struct Collector {
    list: Vec<Identifier>,
    id_chars: usize,
}

impl Collector {
    fn add(
        &mut self,
        kind: impl Into<Cow<'static, str>>,
        value: &str,
        source: impl FnOnce() -> IdentifierSource,
    ) {
        let kind = kind.into();
        let Some(value) = normalize_identifier(&kind, value) else {
            return;
        };
        let known = self
            .list
            .iter()
            .any(|known| known.kind == kind && known.value == value);
        if known || (value.len() > self.id_chars && value.chars().count() > self.id_chars) {
            return;
        }
        self.list.push(Identifier {
            kind,
            value: value.into_owned(),
            source: source(),
            previous: false,
        });
    }

    /// Adds an earlier id of the person, unless the message carries it as a present one too.
    fn add_previous(&mut self, kind: &'static str, value: &str) {
        let before = self.list.len();
        self.add(kind, value, || {
            IdentifierSource::Field(Cow::Borrowed("previous_id"))
        });
        for added in self.list.iter_mut().skip(before) {
            added.previous = true;
        }
    }

    fn derive_hashes(&mut self) {
        let hashes: Vec<String> = self
            .list
            .iter()
            .filter(|identifier| identifier.kind == "email")
            .map(|identifier| email_hash(&identifier.value))
            .collect();
        for hash in hashes {
            self.add("email_hash", &hash, || IdentifierSource::Derived);
        }
    }

    /// Adds a text, a number, or each of an array of those.
    fn add_raw(
        &mut self,
        kind: impl Into<Cow<'static, str>>,
        raw: Raw<'_>,
        source: &IdentifierSource,
    ) {
        let kind = kind.into();
        if raw.kind() == RawKind::Array {
            for element in elements(raw) {
                if let Some(text) = text_of(element, true) {
                    self.add(kind.clone(), &text, || source.clone());
                }
            }
        } else if let Some(text) = text_of(raw, true) {
            self.add(kind, &text, || source.clone());
        }
    }
}

/// The parts of `context` that hold identifiers.
#[derive(Default)]
struct Context<'a> {
    traits: Option<Raw<'a>>,
    device: Option<Raw<'a>>,
    integrations: Option<Raw<'a>>,
    external_ids: [Option<Raw<'a>>; 2],
}

impl<'a> Context<'a> {
    fn of(message: &'a Message) -> Context<'a> {
        let mut context = Context::default();
        for (key, value) in message.context.iter().flat_map(Document::members) {
            match key.as_ref() {
                "traits" => context.traits = Some(value),
                "device" => context.device = Some(value),
                "integrations" => context.integrations = Some(value),
                "externalIds" => context.external_ids[0] = Some(value),
                "external_ids" => context.external_ids[1] = Some(value),
                _ => {}
            }
        }
        context
    }

    /// The entries of `externalIds` that identify a person. Entries of other collections, with an
    /// encoding, or without an id or a type identify nobody.
    fn external_ids(&self) -> impl Iterator<Item = NamedId> + 'a {
        self.external_ids
            .into_iter()
            .flatten()
            .flat_map(elements)
            .filter_map(external_id)
    }
}

/// Whether a message has a field that is there to say whom it is about, whatever its value is worth.
pub fn names_somebody(message: &Message) -> bool {
    message.user_id.is_some()
        || message.anonymous_id.is_some()
        || !message.other_ids.is_empty()
        || Context::of(message).external_ids().next().is_some()
}

/// Whether something in a message may identify a person. Which traits and properties do, the
/// rules of its namespace say: any may.
pub(crate) fn may_identify(message: &Message) -> bool {
    names_somebody(message)
        || message
            .traits
            .as_ref()
            .is_some_and(|traits| !traits.is_empty())
        || message
            .properties
            .as_ref()
            .is_some_and(|properties| !properties.is_empty())
        || Context::of(message).traits.is_some()
        || !identifiers(message, &ExtractionRules::default()).is_empty()
}

fn external_id(entry: Raw<'_>) -> Option<NamedId> {
    let mut id = None;
    let mut kind = None;
    let mut of_person = true;
    for (key, value) in members(entry) {
        match key.as_ref() {
            "id" => id = text_of(value, true),
            "type" => kind = text_of(value, false),
            "collection" => of_person &= is_text_or_null(value, "users"),
            "encoding" => of_person &= is_text_or_null(value, "none"),
            _ => {}
        }
    }
    let id = id.filter(|id| of_person && !id.trim().is_empty())?;
    let kind = kind_name(kind?.trim())?;
    Some(NamedId {
        kind,
        value: id.into_owned(),
    })
}

fn is_text_or_null(raw: Raw<'_>, expected: &str) -> bool {
    raw.kind() == RawKind::Null || text_of(raw, false).is_some_and(|text| text == expected)
}

/// The kind that the type of an external id names: our own kinds in camelCase too, any other
/// name as it is.
fn kind_name(name: &str) -> Option<Cow<'static, str>> {
    let known = match name {
        "" => return None,
        "user_id" | "userId" => "user_id",
        "anonymous_id" | "anonymousId" => "anonymous_id",
        "email" => "email",
        "email_hash" | "emailHash" => "email_hash",
        "phone" => "phone",
        "device_id" | "deviceId" | "android.id" | "ios.id" => "device_id",
        "idfa" | "android.idfa" | "ios.idfa" => "idfa",
        "push_token" | "android.push_token" | "ios.push_token" => "push_token",
        "ga_client_id" => "ga_client_id",
        "external_id" | "externalId" => "external_id",
        other if other.chars().count() <= 63 => return Some(Cow::Owned(other.to_owned())),
        _ => return None,
    };
    Some(Cow::Borrowed(known))
}

/// `context.device`: its id, its advertising id where tracking is allowed, its push token.
fn add_device(found: &mut Collector, device: Raw<'_>) {
    let mut advertising_id = None;
    let mut tracking = false;
    for (key, value) in members(device) {
        let source = IdentifierSource::Device;
        match key.as_ref() {
            "id" => found.add_raw("device_id", value, &source),
            "token" => found.add_raw("push_token", value, &source),
            "advertisingId" | "advertising_id" => advertising_id = Some(value),
            "adTrackingEnabled" | "ad_tracking_enabled" => tracking = value.text == "true",
            _ => {}
        }
    }
    if let Some(value) = advertising_id.filter(|_| tracking) {
        found.add_raw("idfa", value, &IdentifierSource::Device);
    }
}

fn add_google_analytics(found: &mut Collector, integrations: Raw<'_>) {
    for (_, settings) in members(integrations).filter(|(key, _)| key == "Google Analytics") {
        for (key, value) in members(settings) {
            if key == "clientId" || key == "client_id" {
                found.add_raw("ga_client_id", value, &IdentifierSource::Integrations);
            }
        }
    }
}

/// Traits and properties that the rules name.
fn add_keys(
    found: &mut Collector,
    message: &Message,
    context_traits: Option<Raw<'_>>,
    rules: &ExtractionRules,
) {
    // The traits of a group call are the group's.
    let traits = message
        .traits
        .as_ref()
        .filter(|_| message.kind != MessageType::Group);
    let context_traits = context_traits.filter(|raw| raw.kind() == RawKind::Object);
    for rule in &rules.keys {
        if let Some(path) = &rule.trait_path {
            if let Some(raw) = traits.and_then(|traits| traits.raw(path)) {
                found.add_raw(
                    rule.kind.clone(),
                    raw,
                    &IdentifierSource::Trait(path.clone()),
                );
            }
            if let Some(raw) =
                context_traits.and_then(|traits| crate::document::raw_in(traits, path))
            {
                let source = IdentifierSource::ContextTrait(path.clone());
                found.add_raw(rule.kind.clone(), raw, &source);
            }
        }
        if let (Some(path), Some(properties)) = (&rule.property_path, &message.properties) {
            if let Some(raw) = properties.raw(path) {
                found.add_raw(
                    rule.kind.clone(),
                    raw,
                    &IdentifierSource::Property(path.clone()),
                );
            }
        }
    }
}
