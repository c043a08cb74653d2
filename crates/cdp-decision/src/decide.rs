//! Which variant a person gets, and why.

use crate::bucket::{bucket, Purpose, BUCKETS};
use crate::flag::{Flag, Outcome, Prerequisite, Rollout, Variant};
use cdp_value::Timestamp;
use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::fmt;

/// What is known of the person who is asked about, and of the other flags.
pub trait Situation {
    fn now(&self) -> Timestamp;
    /// What people are divided by; None for somebody unknown.
    fn key(&self) -> Option<&str>;
    /// The one of these ids that is the person's.
    fn listed<'i>(&self, ids: &'i HashSet<String>) -> Option<&'i str>;
    /// The variant that the person was given by hand.
    fn override_of(&self, flag: &Flag) -> Option<&str>;
    /// Whether the condition of a rule holds.
    fn holds(&self, flag: &Flag, rule: usize) -> bool;
    fn flag(&self, key: &str) -> Option<&Flag>;
    /// How many people a holdout takes out, in millionths.
    fn holdout(&self, key: &str) -> Option<u32>;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    Override,
    Disabled,
    NotStarted,
    Ended,
    UnknownPerson,
    PrerequisiteFailed,
    TargetMatched,
    HeldOut,
    Excluded,
    OutsideRollout,
    RuleMatched,
    NoRuleMatched,
}

impl Reason {
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::Override => "override",
            Reason::Disabled => "disabled",
            Reason::NotStarted => "not_started",
            Reason::Ended => "ended",
            Reason::UnknownPerson => "unknown_person",
            Reason::PrerequisiteFailed => "prerequisite_failed",
            Reason::TargetMatched => "target_matched",
            Reason::HeldOut => "held_out",
            Reason::Excluded => "excluded",
            Reason::OutsideRollout => "outside_rollout",
            Reason::RuleMatched => "rule_matched",
            Reason::NoRuleMatched => "no_rule_matched",
        }
    }
}

/// What was looked at on the way to an answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    Override {
        variant: String,
        exists: bool,
    },
    Disabled,
    NotStarted {
        start: Timestamp,
    },
    Ended {
        end: Timestamp,
    },
    UnknownPerson,
    Prerequisite {
        flag: String,
        variant: String,
        met: bool,
    },
    Target {
        id: String,
    },
    Holdout {
        key: String,
        bucket: u32,
        share: u32,
        held: bool,
    },
    Group {
        name: String,
        bucket: u32,
        has: bool,
    },
    /// A condition of a rule, by its position.
    Condition {
        rule: usize,
        title: String,
        holds: bool,
    },
    /// `admitted` is when the person comes in, if time alone does it.
    Rollout {
        title: Option<String>,
        bucket: u32,
        share: u32,
        inside: bool,
        admitted: Option<Timestamp>,
    },
    Split {
        bucket: u32,
        variant: String,
    },
}

fn percent(share: u32) -> f64 {
    f64::from(share) / 10_000.0
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Override {
                variant,
                exists: true,
            } => write!(f, "\"{variant}\" was set for this person by hand"),
            Step::Override {
                variant,
                exists: false,
            } => {
                write!(
                    f,
                    "\"{variant}\" was set for this person by hand, but is no variant any more"
                )
            }
            Step::Disabled => f.write_str("the flag is not enabled"),
            Step::NotStarted { .. } => f.write_str("the flag has not started"),
            Step::Ended { .. } => f.write_str("the flag has ended"),
            Step::UnknownPerson => f.write_str("nobody is known by this id: the default applies"),
            Step::Prerequisite { flag, variant, met } => {
                write!(
                    f,
                    "prerequisite \"{flag}\" is \"{variant}\"{}",
                    if *met { "" } else { ", which does not do" }
                )
            }
            Step::Target { id } => write!(f, "\"{id}\" is listed"),
            Step::Holdout {
                key,
                bucket,
                share,
                held,
            } => write!(
                f,
                "bucket {bucket} is {} the {} % that \"{key}\" holds out",
                if *held { "in" } else { "outside of" },
                percent(*share)
            ),
            Step::Group { name, bucket, has } => write!(
                f,
                "bucket {bucket} of group \"{name}\" {}",
                if *has {
                    "is this flag's"
                } else {
                    "is not this flag's"
                }
            ),
            Step::Condition { title, holds, .. } => {
                write!(
                    f,
                    "{title} {}",
                    if *holds { "matched" } else { "did not match" }
                )
            }
            Step::Rollout {
                title,
                bucket,
                share,
                inside,
                ..
            } => {
                if let Some(title) = title {
                    write!(f, "{title}: ")?;
                }
                let side = if *inside { "in" } else { "outside of" };
                write!(
                    f,
                    "bucket {bucket} of {BUCKETS} is {side} the rollout to {} %",
                    percent(*share)
                )
            }
            Step::Split { bucket, variant } => {
                write!(f, "bucket {bucket} of {BUCKETS} gives \"{variant}\"")
            }
        }
    }
}

/// The answer of a flag.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision<'f> {
    pub variant: &'f Variant,
    pub reason: Reason,
    /// Position of the rule that decided.
    pub rule: Option<usize>,
    pub steps: Vec<Step>,
}

/// Answers flags for one person; what a flag answered is not asked twice.
pub struct Decider<'s, S: Situation> {
    situation: &'s S,
    known: RefCell<HashMap<&'s str, (&'s str, bool)>>,
}

/// No longer chain of prerequisites is followed; definitions have no circles.
const DEEPEST: usize = 64;

impl<'s, S: Situation> Decider<'s, S> {
    pub fn new(situation: &'s S) -> Decider<'s, S> {
        Decider {
            situation,
            known: RefCell::default(),
        }
    }

    pub fn decide(&self, flag: &'s Flag) -> Option<Decision<'s>> {
        self.at_depth(flag, 0)
    }

    fn at_depth(&self, flag: &'s Flag, depth: usize) -> Option<Decision<'s>> {
        let mut steps = Vec::new();
        let (variant, reason, rule) = self.choose(flag, depth, &mut steps);
        let variant = flag
            .variants
            .get(variant)
            .or_else(|| flag.variants.first())?;
        if depth > 0 || !flag.prerequisites.is_empty() {
            self.known
                .borrow_mut()
                .insert(&flag.key, (&variant.name, variant.allow));
        }
        Some(Decision {
            variant,
            reason,
            rule,
            steps,
        })
    }

    fn choose(
        &self,
        flag: &'s Flag,
        depth: usize,
        steps: &mut Vec<Step>,
    ) -> (usize, Reason, Option<usize>) {
        let (situation, default) = (self.situation, flag.default);
        if let Some(name) = situation.override_of(flag) {
            let position = flag
                .variants
                .iter()
                .position(|variant| variant.name == name);
            steps.push(Step::Override {
                variant: name.to_string(),
                exists: position.is_some(),
            });
            if let Some(position) = position {
                return (position, Reason::Override, None);
            }
        }
        if !flag.is_enabled {
            steps.push(Step::Disabled);
            return (default, Reason::Disabled, None);
        }
        let now = situation.now();
        if let Some(start) = flag.start.filter(|start| now < *start) {
            steps.push(Step::NotStarted { start });
            return (default, Reason::NotStarted, None);
        }
        if let Some(end) = flag.end.filter(|end| *end <= now) {
            steps.push(Step::Ended { end });
            return (default, Reason::Ended, None);
        }
        let listed = || {
            flag.targets.iter().find_map(|t| {
                situation
                    .listed(&t.ids)
                    .map(|id| (t.variant, id.to_string()))
            })
        };
        let Some(key) = situation.key() else {
            steps.push(Step::UnknownPerson);
            return match listed().filter(|_| flag.prerequisites.is_empty()) {
                Some((variant, id)) => {
                    steps.push(Step::Target { id });
                    (variant, Reason::TargetMatched, None)
                }
                None => (default, Reason::UnknownPerson, None),
            };
        };
        for prerequisite in &flag.prerequisites {
            if !self.is_met(prerequisite, depth, steps) {
                return (default, Reason::PrerequisiteFailed, None);
            }
        }
        if let Some((variant, id)) = listed() {
            steps.push(Step::Target { id });
            return (variant, Reason::TargetMatched, None);
        }
        if let Some((holdout, share)) = flag
            .holdout
            .as_ref()
            .and_then(|h| Some((h, situation.holdout(h)?)))
        {
            let bucket = bucket(Purpose::Holdout, holdout, key);
            let held = bucket < share;
            steps.push(Step::Holdout {
                key: holdout.clone(),
                bucket,
                share,
                held,
            });
            if held {
                return (default, Reason::HeldOut, None);
            }
        }
        if let Some(exclusion) = &flag.exclusion {
            let bucket = bucket(Purpose::Group, &exclusion.group, key);
            let has = exclusion.ranges.iter().any(|range| range.contains(bucket));
            steps.push(Step::Group {
                name: exclusion.group.clone(),
                bucket,
                has,
            });
            if !has {
                return (default, Reason::Excluded, None);
            }
        }
        if flag
            .rollout
            .as_ref()
            .is_some_and(|rollout| !self.is_in(flag, rollout, None, key, steps))
        {
            return (default, Reason::OutsideRollout, None);
        }
        for (index, rule) in flag.rules.iter().enumerate() {
            let title = || flag.rule_title(index);
            let holds = rule.condition.is_none() || situation.holds(flag, index);
            steps.push(Step::Condition {
                rule: index,
                title: title(),
                holds,
            });
            if !holds
                || rule
                    .rollout
                    .as_ref()
                    .is_some_and(|r| !self.is_in(flag, r, Some(title()), key, steps))
            {
                continue;
            }
            let variant = match &rule.outcome {
                Outcome::Variant(position) => Some(*position),
                Outcome::Split(ranges) => {
                    let bucket = bucket(Purpose::Split, &flag.salt, key);
                    let owner = ranges
                        .iter()
                        .find(|range| range.contains(bucket))
                        .map(|range| range.owner.as_str());
                    owner.and_then(|name| {
                        steps.push(Step::Split {
                            bucket,
                            variant: name.to_string(),
                        });
                        flag.variants
                            .iter()
                            .position(|variant| variant.name == name)
                    })
                }
            };
            if let Some(variant) = variant {
                return (variant, Reason::RuleMatched, Some(index));
            }
        }
        (default, Reason::NoRuleMatched, None)
    }

    fn is_in(
        &self,
        flag: &Flag,
        rollout: &Rollout,
        title: Option<String>,
        key: &str,
        steps: &mut Vec<Step>,
    ) -> bool {
        let now = self.situation.now();
        let bucket = bucket(Purpose::Rollout, &flag.salt, key);
        let share = rollout.share_at(now);
        let inside = bucket < share;
        let admitted = rollout.admits_at(bucket, now);
        steps.push(Step::Rollout {
            title,
            bucket,
            share,
            inside,
            admitted,
        });
        inside
    }

    fn is_met(&self, prerequisite: &'s Prerequisite, depth: usize, steps: &mut Vec<Step>) -> bool {
        let known = self.known.borrow().get(prerequisite.flag.as_str()).copied();
        let answer = known.or_else(|| {
            let flag = self
                .situation
                .flag(&prerequisite.flag)
                .filter(|_| depth < DEEPEST)?;
            self.at_depth(flag, depth + 1)
                .map(|decision| (decision.variant.name.as_str(), decision.variant.allow))
        });
        // A prerequisite cannot be dropped; without one the safe answer is no.
        let Some((variant, allow)) = answer else {
            return false;
        };
        let met = match prerequisite.variants.as_slice() {
            [] => allow,
            named => named.iter().any(|name| name == variant),
        };
        steps.push(Step::Prerequisite {
            flag: prerequisite.flag.clone(),
            variant: variant.to_string(),
            met,
        });
        met
    }
}
