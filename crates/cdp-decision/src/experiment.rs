//! An experiment as it was defined: which flag, what is measured, what is expected.

use crate::flag::{Condition, Flag, Outcome};
use crate::place::{DefinitionError, Place, Result};
use cdp_value::Timestamp;
use serde_json::Value as Json;
use std::collections::BTreeMap;

#[derive(Debug, Clone, PartialEq)]
pub struct Experiment {
    pub flag: String,
    /// What the others are compared with.
    pub control: String,
    /// All variants compared, the control first.
    pub variants: Vec<String>,
    /// The share of people that each variant should get, in the order of `variants`.
    pub allocation: Vec<f64>,
    /// The primary metric first, then the guardrails.
    pub metrics: Vec<Metric>,
    /// What is known of people from before, for taking it away.
    pub covariate: Option<Condition>,
    /// Exposures before it do not count.
    pub start: Option<Timestamp>,
    /// Neither exposures nor events from it on count.
    pub end: Option<Timestamp>,
    /// How often an interval may miss.
    pub alpha: f64,
    /// The number of people for which sequential intervals are narrowest.
    pub tuned_for: f64,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Metric {
    pub name: String,
    pub expression: Condition,
    pub is_lower_better: bool,
    /// People without a value are left out; otherwise they count as 0.
    pub skips_missing: bool,
    /// Place of the expression in the document.
    pub path: String,
}

const MOST_GUARDRAILS: usize = 20;

impl Experiment {
    /// Reads a definition; `flags` are the flags there are.
    pub fn parse<'f>(
        definition: &Json,
        flags: impl Fn(&str) -> Option<&'f Flag>,
        keys: &[&str],
    ) -> Result<Experiment> {
        let root = Place::root(definition);
        root.members(
            "an experiment as an object",
            &[
                "flag",
                "control",
                "variants",
                "allocation",
                "primary",
                "guardrails",
                "covariate",
                "start",
                "end",
                "confidence",
                "tuned_for",
            ],
        )?;
        let place = root
            .get("flag")
            .ok_or_else(|| root.error("an experiment needs a flag"))?;
        let key = place.text("the key of a flag")?;
        let flag = flags(key).ok_or_else(|| {
            DefinitionError::unknown(place.path.clone(), "flag", key, keys.iter().copied())
        })?;
        let split = flag.rules.iter().find_map(|rule| match &rule.outcome {
            Outcome::Split(ranges) => Some(crate::allocation::sizes(ranges)),
            Outcome::Variant(_) => None,
        });
        let mut variants: Vec<String> = match root.get("variants") {
            Some(place) => place
                .items("variants as an array")?
                .iter()
                .map(|item| variant(item, flag))
                .collect::<Result<Vec<String>>>()?,
            None => split
                .iter()
                .flatten()
                .filter(|(_, size)| **size > 0)
                .map(|(name, _)| (*name).to_string())
                .collect(),
        };
        let control = match root.get("control") {
            Some(place) => variant(&place, flag)?,
            None => ["control", "off"]
                .into_iter()
                .find(|name| variants.iter().any(|variant| variant == name))
                .map(str::to_string)
                .ok_or_else(|| {
                    root.error(
                        "an experiment needs a control: the variant that others are compared with",
                    )
                })?,
        };
        let mut seen = std::collections::BTreeSet::from([control.clone()]);
        variants.retain(|name| seen.insert(name.clone()));
        if variants.is_empty() {
            return Err(root
                .error(format!("there is nothing to compare \"{control}\" with"))
                .hint("Give the flag a split, or name the variants."));
        }
        variants.insert(0, control.clone());
        let allocation = match (root.get("allocation"), &split) {
            (Some(place), _) => allocation(&place, &variants, flag)?,
            (None, Some(split))
                if variants
                    .iter()
                    .all(|name| split.contains_key(name.as_str())) =>
            {
                variants
                    .iter()
                    .map(|name| f64::from(split.get(name.as_str()).copied().unwrap_or(0)))
                    .collect()
            }
            (None, _) => vec![1.0; variants.len()],
        };

        let primary = root
            .get("primary")
            .ok_or_else(|| root.error("an experiment needs a primary metric"))?;
        let mut metrics = vec![metric(&primary)?];
        if let Some(place) = root.get("guardrails") {
            let guardrails = place.items("guardrails as an array")?;
            if guardrails.len() > MOST_GUARDRAILS {
                return Err(place.error(format!(
                    "an experiment has at most {MOST_GUARDRAILS} guardrails"
                )));
            }
            for item in &guardrails {
                let new = metric(item)?;
                if metrics.iter().any(|known| known.name == new.name) {
                    return Err(item.error(format!("metric \"{}\" is there twice", new.name)));
                }
                metrics.push(new);
            }
        }
        let covariate = root
            .get("covariate")
            .map(|place| Ok(Condition::Text(expression(&place)?)))
            .transpose()?;
        let start = root.get("start").map(|at| at.timestamp()).transpose()?;
        let end = root.get("end").map(|at| at.timestamp()).transpose()?;
        if start.zip(end).is_some_and(|(start, end)| end <= start) {
            return Err(root.error("the end is not after the start"));
        }
        let number =
            |key: &str, default: f64, allowed: std::ops::RangeInclusive<f64>| match root.get(key) {
                None => Ok(default),
                Some(place) => place.number().and_then(|number| {
                    let text = format!("a number from {} to {}", allowed.start(), allowed.end());
                    if allowed.contains(&number) {
                        Ok(number)
                    } else {
                        Err(place.expected(&text))
                    }
                }),
            };
        Ok(Experiment {
            flag: key.to_string(),
            control,
            variants,
            allocation,
            metrics,
            covariate,
            start,
            end,
            alpha: 1.0 - number("confidence", 0.95, 0.5..=0.9999)?,
            tuned_for: number("tuned_for", 5_000.0, 10.0..=1e12)?,
        })
    }

    /// The definition with expressions in their canonical form: those of `metrics`, and the covariate's.
    pub fn canonical(
        &self,
        definition: &Json,
        metrics: &[String],
        covariate: Option<&str>,
    ) -> Json {
        let mut kept = definition.clone();
        let mut put = |key: &str, index: Option<usize>, text: &str| {
            let place = kept.get_mut(key);
            let place = match index {
                Some(index) => place.and_then(|list| list.get_mut(index)),
                None => place,
            };
            match place {
                Some(Json::Object(members)) => {
                    members.insert("expression".to_string(), Json::from(text));
                }
                Some(other) => *other = Json::from(text),
                None => {}
            }
        };
        for (index, text) in metrics.iter().enumerate() {
            match index.checked_sub(1) {
                None => put("primary", None, text),
                Some(guardrail) => put("guardrails", Some(guardrail), text),
            }
        }
        if let Some(text) = covariate {
            put("covariate", None, text);
        }
        kept
    }
}

fn variant(place: &Place, flag: &Flag) -> Result<String> {
    let name = place.text("the name of a variant")?;
    match flag.variant(name) {
        Some(_) => Ok(name.to_string()),
        None => {
            let known = flag.variants.iter().map(|variant| variant.name.as_str());
            let mut error = DefinitionError::unknown(place.path.clone(), "variant", name, known);
            error.message = format!("flag \"{}\" has no variant \"{name}\"", flag.key);
            Err(error)
        }
    }
}

fn allocation(place: &Place, variants: &[String], flag: &Flag) -> Result<Vec<f64>> {
    let mut weights: BTreeMap<&str, f64> = BTreeMap::new();
    for (name, weight) in place.entries("weights by variant, as an object,")? {
        if !variants.iter().any(|variant| variant == name) {
            let known = variants.iter().map(String::as_str);
            return Err(DefinitionError::unknown(
                weight.path.clone(),
                "variant",
                name,
                known,
            ));
        }
        let number = weight.number()?;
        if number < 0.0 {
            return Err(weight.expected("a weight of 0 or more"));
        }
        weights.insert(name, number);
    }
    let total: f64 = weights.values().sum();
    if (total - 100.0).abs() > 1e-6 && (total - 1.0).abs() > 1e-9 {
        return Err(place
            .error(format!("the weights are {total} together, not 100"))
            .hint(format!(
                "Give weights in percent, or leave them out: those of flag \"{}\" are expected.",
                flag.key
            )));
    }
    Ok(variants
        .iter()
        .map(|name| weights.get(name.as_str()).copied().unwrap_or(0.0))
        .collect())
}

/// A text, or `{"name", "expression", "better": "lower", "missing": "skip"}`.
fn metric(place: &Place) -> Result<Metric> {
    if place.value.is_string() {
        let text = expression(place)?;
        return Ok(Metric {
            name: text.clone(),
            expression: Condition::Text(text),
            is_lower_better: false,
            skips_missing: false,
            path: place.path.clone(),
        });
    }
    place.members(
        "a metric, as an expression or as an object,",
        &["name", "expression", "better", "missing"],
    )?;
    let written = place
        .get("expression")
        .ok_or_else(|| place.error("a metric needs an expression"))?;
    let text = expression(&written)?;
    let one_of = |key: &str, words: [&str; 2]| match place.get(key) {
        None => Ok(false),
        Some(word) => match word.value.as_str() {
            Some(text) if text == words[0] => Ok(false),
            Some(text) if text == words[1] => Ok(true),
            _ => Err(word.expected(&format!("\"{}\" or \"{}\"", words[0], words[1]))),
        },
    };
    let name = match place.get("name") {
        Some(name) => name.text("the name of a metric")?.to_string(),
        None => text.clone(),
    };
    Ok(Metric {
        name,
        expression: Condition::Text(text),
        is_lower_better: one_of("better", ["higher", "lower"])?,
        skips_missing: one_of("missing", ["zero", "skip"])?,
        path: written.path,
    })
}

fn expression(place: &Place) -> Result<String> {
    match place.value.as_str() {
        Some(text) if !text.trim().is_empty() => Ok(text.to_string()),
        _ => Err(place.expected("an expression, as text,")),
    }
}
