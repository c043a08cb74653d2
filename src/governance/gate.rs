//! Whether messages may go out: asked when they are made, and again when they are sent.

use super::consent::Known;
use super::suppression;
use crate::error::Result;
use crate::pg::spi::Spi;
use cdp_consent::{Requirement, Standing, Unknown};
use cdp_delivery::config::Config;
use cdp_value::Timestamp;
use serde_json::Value;
use std::collections::{BTreeSet, HashMap, HashSet};

/// What a destination requires, from its configuration.
pub fn requirement(kind: &str, config: &Value) -> Requirement {
    let Some(destination) = cdp_delivery::destination(kind) else { return Requirement::default() };
    of_config(&destination.catalogue().config(config))
}

/// What a destination requires, from its configuration.
pub fn of_config(config: &Config) -> Requirement {
    Requirement {
        categories: config.list("consent").unwrap_or_default(),
        unknown: match config.text("without_consent").as_deref() {
            Some("send") => Unknown::Send,
            _ => Unknown::Withhold,
        },
    }
}

/// What is known of the people that some messages are about.
#[derive(Default)]
pub struct Gate {
    suppressed: HashSet<i64>,
    standings: HashMap<i64, Standing>,
}

impl Gate {
    /// Looks people up; what they agreed to only if something requires it.
    pub fn open(spi: &Spi, namespace_id: i32, profile_ids: &BTreeSet<i64>, requires: bool) -> Result<Gate> {
        let profile_ids: Vec<i64> = profile_ids.iter().copied().collect();
        let suppressed = suppression::of_people(spi, namespace_id, &profile_ids)?;
        let standings = if requires {
            let known = Known::read(spi, &profile_ids)?;
            profile_ids.iter().map(|id| (*id, known.standing(*id, Timestamp::MAX))).collect()
        } else {
            HashMap::new()
        };
        Ok(Gate { suppressed, standings })
    }

    /// Why a message may not go; None when it may.
    pub fn refuses(&self, profile_id: i64, requirement: &Requirement, message: &Value) -> Option<String> {
        if self.suppressed.contains(&profile_id) {
            return Some("the person is suppressed".to_string());
        }
        if requirement.is_empty() {
            return None;
        }
        let own = message.get("context").map(cdp_consent::of_context).unwrap_or_default();
        requirement.refuses(self.standings.get(&profile_id), &own).map(|refusal| refusal.to_string())
    }
}
