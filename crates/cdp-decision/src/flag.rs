//! A flag as it was defined: everything that decides it, checked.

use crate::allocation::Range;
use cdp_expr::Expr;
use cdp_value::Timestamp;
use serde_json::Value as Json;
use std::collections::HashSet;

#[derive(Debug, Clone, PartialEq)]
pub struct Flag {
    pub key: String,
    pub is_enabled: bool,
    /// What people are divided by; the key unless the definition says otherwise.
    pub salt: String,
    pub variants: Vec<Variant>,
    /// Position in `variants` of what whoever matches nothing gets.
    pub default: usize,
    pub prerequisites: Vec<Prerequisite>,
    /// Before it everybody gets the default.
    pub start: Option<Timestamp>,
    /// From it on everybody gets the default.
    pub end: Option<Timestamp>,
    pub targets: Vec<Target>,
    /// Of everybody whom the rules are asked about; None: all.
    pub rollout: Option<Rollout>,
    pub rules: Vec<Rule>,
    /// Key of the holdout whose people get the default.
    pub holdout: Option<String>,
    pub exclusion: Option<Exclusion>,
    /// An exposure is recorded once per person, variant and period; microseconds.
    pub exposure_period: i64,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Variant {
    pub name: String,
    /// What the application gets with it.
    pub value: Json,
    pub allow: bool,
}

/// Another flag has to give one of these variants, or, if none is named, to allow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prerequisite {
    pub flag: String,
    pub variants: Vec<String>,
}

/// People who get a variant by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pub variant: usize,
    /// Identifiers of people, of any kind.
    pub ids: HashSet<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    pub name: Option<String>,
    /// None: everybody.
    pub condition: Option<Condition>,
    pub rollout: Option<Rollout>,
    pub outcome: Outcome,
}

/// A condition as it was written; its names are resolved by whoever knows the definitions.
#[derive(Debug, Clone, PartialEq)]
pub enum Condition {
    Text(String),
    /// Made from JSON criteria.
    Criteria(Expr),
}

#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    Variant(usize),
    /// Ranges of buckets by the names of variants, all buckets together.
    Split(Vec<Range>),
}

/// A share of all people, in millionths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rollout {
    Fixed(u32),
    /// Rises evenly; `from` before `start`, `to` after `end`.
    Rising {
        from: u32,
        to: u32,
        start: Timestamp,
        end: Timestamp,
    },
}

impl Rollout {
    /// The share at an instant: whose bucket is lower is in.
    pub fn share_at(&self, at: Timestamp) -> u32 {
        match *self {
            Rollout::Fixed(share) => share,
            Rollout::Rising {
                from,
                to,
                start,
                end,
            } => {
                if at <= start {
                    return from;
                }
                if at >= end {
                    return to;
                }
                let (passed, length) = (
                    i128::from(at) - i128::from(start),
                    i128::from(end) - i128::from(start),
                );
                let risen = i128::from(to.saturating_sub(from)) * passed / length;
                from.saturating_add(u32::try_from(risen).unwrap_or(0))
            }
        }
    }

    /// When a bucket comes in, if it is not in at `at` and ever will be.
    pub fn admits_at(&self, bucket: u32, at: Timestamp) -> Option<Timestamp> {
        match *self {
            Rollout::Rising {
                from,
                to,
                start,
                end,
            } if self.share_at(at) <= bucket && bucket < to => {
                let needed = i128::from(bucket.saturating_add(1).saturating_sub(from));
                let length = i128::from(end) - i128::from(start);
                let rise = i128::from(to.saturating_sub(from)).max(1);
                // The first microsecond at which the share, rounded down, is beyond the bucket.
                let passed = (needed * length + rise - 1) / rise;
                i64::try_from(i128::from(start) + passed).ok()
            }
            _ => None,
        }
    }
}

/// Flags of one group never meet: each has its own part of the people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exclusion {
    pub group: String,
    /// In millionths.
    pub share: u32,
    /// The buckets of the group that are this flag's; the group gives them out.
    pub ranges: Vec<Range>,
}

impl Flag {
    /// A flag that is one rule: `on` for whom it holds.
    pub fn of_rule(key: &str, rule: &str) -> Flag {
        let mut flag = Flag::off(key);
        flag.rules.push(Rule {
            name: None,
            condition: Some(Condition::Text(rule.to_string())),
            rollout: None,
            outcome: Outcome::Variant(0),
        });
        flag
    }

    /// A flag that is off for everybody.
    pub(crate) fn off(key: &str) -> Flag {
        Flag {
            key: key.to_string(),
            is_enabled: true,
            salt: key.to_string(),
            variants: vec![Variant::on(), Variant::off()],
            default: 1,
            prerequisites: Vec::new(),
            start: None,
            end: None,
            targets: Vec::new(),
            rollout: None,
            rules: Vec::new(),
            holdout: None,
            exclusion: None,
            exposure_period: cdp_value::DAY,
        }
    }

    pub fn variant(&self, name: &str) -> Option<&Variant> {
        self.variants.iter().find(|variant| variant.name == name)
    }

    /// How a rule is spoken of: by its number, from 1, and its name.
    pub fn rule_title(&self, rule: usize) -> String {
        match self.rules.get(rule).and_then(|rule| rule.name.as_ref()) {
            Some(name) => format!("rule {} \"{name}\"", rule + 1),
            None => format!("rule {}", rule + 1),
        }
    }
}

impl Variant {
    pub(crate) fn on() -> Variant {
        Variant {
            name: "on".to_string(),
            value: Json::Bool(true),
            allow: true,
        }
    }

    pub(crate) fn off() -> Variant {
        Variant {
            name: "off".to_string(),
            value: Json::Bool(false),
            allow: false,
        }
    }
}
