//! The rules per kind of identifier.

use crate::blocked::BlockedValues;
use std::cmp::Ordering;
use std::collections::HashMap;

/// The number that stands for a kind of identifier.
pub type KindId = i32;

/// The kind that names an account: one per person, unless somebody says that two are one.
pub const USER_ID: &str = "user_id";
/// The kind that is trusted next to the user id.
pub const EMAIL: &str = "email";

/// How identifiers of one kind are treated.
#[derive(Debug, Clone)]
pub struct KindRule {
    pub kind_id: KindId,
    pub name: String,
    /// 1 is the most trusted. Kinds without a priority come after all others, in alphabetical
    /// order.
    pub priority: Option<u32>,
    /// Most values of the kind that one person may have; 0 means that the kind identifies nobody.
    pub limit: u32,
    /// Length in microseconds of the window within which the limit counts values, by the time
    /// they were linked; None counts all of them.
    pub limit_window: Option<i64>,
    pub blocked: BlockedValues,
}

impl KindRule {
    /// The rule of a kind that has no settings: user ids are trusted most and are one per person,
    /// emails come next, every kind but the user id may have five values.
    pub fn standard(kind_id: KindId, name: &str) -> KindRule {
        KindRule {
            kind_id,
            name: name.to_owned(),
            priority: match name {
                USER_ID => Some(1),
                EMAIL => Some(2),
                _ => None,
            },
            limit: if name == USER_ID { 1 } else { 5 },
            limit_window: None,
            blocked: BlockedValues::new(&BlockedValues::standard()).unwrap_or_default(),
        }
    }
}

/// The rules of all kinds of a namespace.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    kinds: HashMap<KindId, RankedRule>,
}

#[derive(Debug, Clone)]
pub(crate) struct RankedRule {
    pub rule: KindRule,
    /// Place in the order of trust: 0 is the most trusted.
    pub rank: usize,
    /// Whether a message may name only one value of the kind.
    pub is_user_id: bool,
}

impl Rules {
    /// Puts the kinds in their order of trust. Of several rules for one kind the last one counts.
    pub fn new(kinds: impl IntoIterator<Item = KindRule>) -> Rules {
        let by_id: HashMap<KindId, KindRule> =
            kinds.into_iter().map(|rule| (rule.kind_id, rule)).collect();
        let mut ordered: Vec<KindRule> = by_id.into_values().collect();
        ordered.sort_by(trust_order);
        let kinds = ordered.into_iter().enumerate().map(|(rank, rule)| {
            let is_user_id = rule.name == USER_ID;
            let ranked = RankedRule {
                rank,
                is_user_id,
                rule,
            };
            (ranked.rule.kind_id, ranked)
        });
        Rules {
            kinds: kinds.collect(),
        }
    }

    /// The rule of a kind.
    pub fn get(&self, kind: KindId) -> Option<&KindRule> {
        self.kinds.get(&kind).map(|ranked| &ranked.rule)
    }

    pub(crate) fn ranked(&self, kind: KindId) -> Option<&RankedRule> {
        self.kinds.get(&kind)
    }
}

fn trust_order(a: &KindRule, b: &KindRule) -> Ordering {
    let key = |rule: &KindRule| rule.priority.unwrap_or(u32::MAX);
    key(a)
        .cmp(&key(b))
        .then_with(|| a.name.cmp(&b.name))
        .then_with(|| a.kind_id.cmp(&b.kind_id))
}
