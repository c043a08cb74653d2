//! From the JSON of a definition to a checked flag.

use crate::flag::{Condition, Flag, Outcome, Prerequisite, Rule, Target, Variant};
use crate::place::{DefinitionError, Place, Result};
use crate::shares::{exclusion, period, rollout, split_outcome};
use serde_json::Value as Json;
use std::collections::HashSet;

const MEMBERS: [&str; 15] = [
    "enabled",
    "salt",
    "variants",
    "default",
    "prerequisites",
    "schedule",
    "targets",
    "rollout",
    "rule",
    "rules",
    "split",
    "holdout",
    "exclusive",
    "exposure",
    "buckets",
];

/// More of anything than a person can have meant, and a definition that stays quick to answer.
const MOST_RULES: usize = 100;
const MOST_VARIANTS: usize = 100;
const MOST_IDS: usize = 100_000;

impl Flag {
    /// Reads a definition. What it says of other flags, segments and traits is not looked at.
    pub fn parse(key: &str, definition: &Json) -> Result<Flag> {
        let root = Place::root(definition);
        root.members("a definition as an object", &MEMBERS)?;
        let mut flag = Flag::off(key);
        if let Some(enabled) = root.get("enabled") {
            flag.is_enabled = enabled.boolean()?;
        }
        if let Some(salt) = root.get("salt") {
            flag.salt = salt.text("a text that people are divided by")?.to_string();
        }
        let variants = variants(&root)?;
        let told: Vec<Option<bool>> = variants.iter().map(|(_, allow)| *allow).collect();
        flag.variants = variants.into_iter().map(|(variant, _)| variant).collect();
        flag.default = match root.get("default") {
            Some(default) => flag.position(&default)?,
            None => flag.named("off").unwrap_or(0),
        };
        // As it is told to; else as the value says, where that is true or false; else all but the default.
        for (position, (variant, told)) in flag.variants.iter_mut().zip(told).enumerate() {
            let is_more = position != flag.default && variant.name != "off";
            variant.allow = told.or(variant.value.as_bool()).unwrap_or(is_more);
        }
        flag.prerequisites = prerequisites(&root, key)?;
        if let Some(schedule) = root.get("schedule") {
            schedule.members("a schedule as an object", &["start", "end"])?;
            flag.start = schedule.get("start").map(|at| at.timestamp()).transpose()?;
            flag.end = schedule.get("end").map(|at| at.timestamp()).transpose()?;
            if flag
                .start
                .zip(flag.end)
                .is_some_and(|(start, end)| end <= start)
            {
                return Err(schedule.error("the end is not after the start"));
            }
        }
        flag.targets = targets(&root, &flag)?;
        flag.rollout = root
            .get("rollout")
            .map(|place| rollout(&place))
            .transpose()?;
        flag.rules = rules(&root, &flag)?;
        flag.holdout = root
            .get("holdout")
            .map(|place| Ok(place.text("the key of a holdout")?.to_string()))
            .transpose()?;
        flag.exclusion = root
            .get("exclusive")
            .map(|place| exclusion(&place))
            .transpose()?;
        if let Some(exposure) = root.get("exposure") {
            exposure.members(
                "what there is to say of exposures, as an object,",
                &["every"],
            )?;
            if let Some(every) = exposure.get("every") {
                flag.exposure_period = period(&every)?;
            }
        }
        Ok(flag)
    }

    pub(crate) fn named(&self, name: &str) -> Option<usize> {
        self.variants
            .iter()
            .position(|variant| variant.name == name)
    }

    /// The variant that a value names; true and false are `on` and `off`.
    fn position(&self, place: &Place) -> Result<usize> {
        let name = match place.value {
            Json::Bool(true) => "on",
            Json::Bool(false) => "off",
            Json::String(name) => name.as_str(),
            _ => return Err(place.expected("the name of a variant")),
        };
        self.named(name)
            .ok_or_else(|| self.unknown_variant(&place.path, name))
    }

    pub(crate) fn unknown_variant(&self, path: &str, name: &str) -> DefinitionError {
        DefinitionError::unknown(
            path,
            "variant",
            name,
            self.variants.iter().map(|v| v.name.as_str()),
        )
    }
}

/// `{"name": payload}`, or an array of names and of `{"name", "value", "allow"}`. `on` and `off` are always there.
fn variants(root: &Place) -> Result<Vec<(Variant, Option<bool>)>> {
    let mut variants: Vec<(Variant, Option<bool>)> = Vec::new();
    let variant = |name: &str, value: Json| Variant {
        name: name.to_string(),
        value,
        allow: false,
    };
    if let Some(place) = root.get("variants") {
        if place.value.is_object() {
            for (name, payload) in place.entries("")? {
                variants.push((variant(name, payload.value.clone()), None));
            }
        } else {
            for item in
                place.items("variants, as an object of names and payloads or as an array,")?
            {
                let new = if item.value.is_string() {
                    (variant(item.text("a name")?, Json::Null), None)
                } else {
                    item.members("a variant as an object", &["name", "value", "allow"])?;
                    let name = item
                        .get("name")
                        .ok_or_else(|| item.error("a variant needs a name"))?;
                    let allow = item.get("allow").map(|allow| allow.boolean()).transpose()?;
                    let value = item.value.get("value").cloned().unwrap_or(Json::Null);
                    (variant(name.text("a name")?, value), allow)
                };
                if variants.iter().any(|(known, _)| known.name == new.0.name) {
                    return Err(item.error(format!("variant \"{}\" is there twice", new.0.name)));
                }
                variants.push(new);
            }
        }
        if variants.len() > MOST_VARIANTS {
            return Err(place.error(format!("a flag has at most {MOST_VARIANTS} variants")));
        }
        if let Some((bad, _)) = variants
            .iter()
            .find(|(v, _)| v.name.trim().is_empty() || v.name.chars().count() > 200)
        {
            return Err(place.error(format!(
                "\"{}\" is no name for a variant: 1 to 200 characters",
                bad.name
            )));
        }
    }
    for implied in [Variant::on(), Variant::off()] {
        if !variants.iter().any(|(known, _)| known.name == implied.name) {
            variants.push((implied, None));
        }
    }
    Ok(variants)
}

fn prerequisites(root: &Place, key: &str) -> Result<Vec<Prerequisite>> {
    let Some(place) = root.get("prerequisites") else {
        return Ok(Vec::new());
    };
    let mut all = Vec::new();
    for item in place.items("prerequisites as an array")? {
        let prerequisite = if item.value.is_string() {
            Prerequisite {
                flag: item.text("the key of a flag")?.to_string(),
                variants: Vec::new(),
            }
        } else {
            item.members(
                "a prerequisite, as the key of a flag or as an object,",
                &["flag", "variant", "variants"],
            )?;
            let flag = item
                .get("flag")
                .ok_or_else(|| item.error("a prerequisite needs the key of a flag"))?;
            let mut variants = Vec::new();
            if let Some(variant) = item.get("variant") {
                variants.push(variant_name(&variant)?);
            }
            if let Some(several) = item.get("variants") {
                let several = several.items("variants as an array")?;
                if several.is_empty() {
                    return Err(item.error("the list of variants is empty").hint(
                        "Name variants, or leave the list out: then any that is on will do.",
                    ));
                }
                for variant in several {
                    variants.push(variant_name(&variant)?);
                }
            }
            Prerequisite {
                flag: flag.text("the key of a flag")?.to_string(),
                variants,
            }
        };
        if prerequisite.flag == key {
            return Err(item.error(format!("flag \"{key}\" cannot be its own prerequisite")));
        }
        all.push(prerequisite);
    }
    Ok(all)
}

fn variant_name(place: &Place) -> Result<String> {
    Ok(match place.value {
        Json::Bool(true) => "on".to_string(),
        Json::Bool(false) => "off".to_string(),
        _ => place.text("the name of a variant")?.to_string(),
    })
}

/// `{"variant": ["id", …]}`.
fn targets(root: &Place, flag: &Flag) -> Result<Vec<Target>> {
    let Some(place) = root.get("targets") else {
        return Ok(Vec::new());
    };
    let mut targets: Vec<Target> = Vec::new();
    let mut count = 0;
    for (name, list) in place.entries("lists of ids by variant, as an object,")? {
        let variant = flag
            .named(name)
            .ok_or_else(|| flag.unknown_variant(&list.path, name))?;
        let mut ids = HashSet::new();
        for id in list.items("ids as an array")? {
            let text = id.text("the id of a person, as text,")?;
            if targets.iter().any(|other| other.ids.contains(text)) {
                return Err(id.error(format!("\"{text}\" is in the list of another variant too")));
            }
            ids.insert(text.to_string());
        }
        count += ids.len();
        targets.push(Target { variant, ids });
    }
    if count > MOST_IDS {
        return Err(place
            .error(format!("a flag lists at most {MOST_IDS} people"))
            .hint("Make a segment of them and use it in a rule."));
    }
    Ok(targets)
}

fn rules(root: &Place, flag: &Flag) -> Result<Vec<Rule>> {
    let mut rules = Vec::new();
    if let Some(rule) = root.get("rule") {
        if let Some(others) = root.get("rules") {
            return Err(others.error("a flag has one rule or several, not both"));
        }
        let outcome = match (root.get("split"), flag.named("on")) {
            (Some(split), _) => split_outcome(&split, root.get("buckets"), flag)?,
            (None, Some(on)) => Outcome::Variant(on),
            (None, None) => return Err(rule.error("this rule does not say which variant it gives")),
        };
        rules.push(Rule {
            name: None,
            condition: Some(condition(&rule)?),
            rollout: None,
            outcome,
        });
        return Ok(rules);
    }
    if let Some(place) = root.get("rules") {
        for item in place.items("rules as an array")? {
            rules.push(self::rule(&item, flag)?);
        }
        if rules.len() > MOST_RULES {
            return Err(place.error(format!("a flag has at most {MOST_RULES} rules")));
        }
    }
    // A split or a rollout beside the rules, or alone, is for everybody whom no rule takes.
    if let Some(split) = root.get("split") {
        let outcome = split_outcome(&split, root.get("buckets"), flag)?;
        rules.push(Rule {
            name: None,
            condition: None,
            rollout: None,
            outcome,
        });
    } else if let Some(buckets) = root.get("buckets") {
        return Err(buckets.error("buckets go with a split"));
    } else if rules.is_empty() && flag.rollout.is_some() {
        let on = flag.named("on").unwrap_or(0);
        rules.push(Rule {
            name: None,
            condition: None,
            rollout: None,
            outcome: Outcome::Variant(on),
        });
    }
    Ok(rules)
}

fn rule(place: &Place, flag: &Flag) -> Result<Rule> {
    place.members(
        "a rule as an object",
        &[
            "name",
            "condition",
            "rollout",
            "variant",
            "split",
            "buckets",
        ],
    )?;
    let name = place
        .get("name")
        .map(|name| Ok(name.text("the name of a rule")?.to_string()))
        .transpose()?;
    let condition = place
        .get("condition")
        .map(|place| condition(&place))
        .transpose()?;
    let rollout = place
        .get("rollout")
        .map(|place| rollout(&place))
        .transpose()?;
    let outcome = match (place.get("variant"), place.get("split")) {
        (Some(_), Some(split)) => {
            return Err(split.error("a rule gives a variant or splits, not both"))
        }
        (Some(variant), None) => Outcome::Variant(flag.position(&variant)?),
        (None, Some(split)) => split_outcome(&split, place.get("buckets"), flag)?,
        (None, None) => Outcome::Variant(flag.named("on").unwrap_or(0)),
    };
    Ok(Rule {
        name,
        condition,
        rollout,
        outcome,
    })
}

/// A text of the expression language, or JSON criteria.
fn condition(place: &Place) -> Result<Condition> {
    match place.value {
        Json::String(text) if !text.trim().is_empty() => Ok(Condition::Text(text.clone())),
        Json::Object(_) => cdp_expr::criteria(place.value)
            .map(Condition::Criteria)
            .map_err(|error| {
                let path = match error.path.as_str() {
                    "" => place.path.clone(),
                    inner if inner.starts_with('[') => format!("{}{inner}", place.path),
                    inner => format!("{}.{inner}", place.path),
                };
                DefinitionError {
                    path,
                    message: error.message,
                    hint: Some(error.hint),
                }
            }),
        _ => Err(place.expected("a condition, as text or as criteria,")),
    }
}
