//! The destinations that take messages now, as the worker needs them.

use super::secrets::{self, Place};
use crate::error::{internal, Error, Result};
use crate::governance::gate;
use crate::pg::datum::Param;
use crate::pg::spi::Spi;
use cdp_consent::Requirement;
use cdp_delivery::config::Limits;
use cdp_delivery::retry::Policy;
use cdp_delivery::{now_millis, Context, Destination, Secrets};
use cdp_value::Timestamp;
use serde_json::{Map, Value};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often destinations that lack a secret are looked at: a file of secrets changes without notice.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// A destination that can be sent to.
pub struct Target {
    pub id: i32,
    pub key: String,
    /// Changes with the definition.
    pub generation: Timestamp,
    pub destination: &'static dyn Destination,
    pub config: Arc<Value>,
    pub secrets: Arc<Secrets>,
    pub limits: Limits,
    pub policy: Policy,
    pub namespace_id: i32,
    /// What people have to have agreed to.
    pub requirement: Requirement,
}

impl Target {
    /// What the driver calls the destination: keys are unique within a namespace only.
    pub fn lane(&self) -> String {
        self.id.to_string()
    }
}

/// A definition as stored.
pub struct Definition {
    pub id: i32,
    pub namespace_id: i32,
    pub key: String,
    pub kind: String,
    pub config: Value,
    pub secrets: Map<String, Value>,
    pub generation: Timestamp,
}

impl Target {
    /// What a request is made with; nothing is remembered of it.
    pub fn context<'a>(&'a self, memory: &'a HashMap<String, String>) -> Context<'a> {
        Context {
            config: self.destination.catalogue().config(&self.config),
            secrets: &self.secrets,
            now: now_millis(),
            memory,
        }
    }
}

/// The destinations that are enabled and not paused.
#[derive(Default)]
pub struct Targets {
    known: HashMap<i32, Rc<Target>>,
    /// Oid of `_cdp.destinations`, for locks.
    relation: u32,
    /// When those that lack something were looked at last.
    looked_at: Option<Instant>,
}

impl Targets {
    /// Forgets all, so that secrets are read again.
    pub fn forget(&mut self) {
        self.known.clear();
        self.looked_at = None;
    }

    pub fn relation(&self) -> u32 {
        self.relation
    }

    pub fn all(&self) -> Vec<Rc<Target>> {
        let mut all: Vec<_> = self.known.values().cloned().collect();
        all.sort_by_key(|target| target.id);
        all
    }

    /// Reads what changed and returns whose definition did. One that cannot be sent to is paused, with the
    /// reason.
    pub fn refresh(&mut self, spi: &Spi) -> Result<Vec<i32>> {
        if self.looked_at.is_none_or(|at| at.elapsed() >= LOOK_AGAIN) {
            self.looked_at = Some(Instant::now());
            resume_complete(spi)?;
        }
        let open = spi
            .query(
                "SELECT destination_id, updated_at, '_cdp.destinations'::pg_catalog.regclass::pg_catalog.oid::pg_catalog.int8
                 FROM _cdp.destinations WHERE enabled AND paused_at IS NULL",
                &[],
            )?
            .map(|row| Ok((row.i32(0)?, row.timestamp(1)?, row.i64(2)?)))?;
        if let Some((_, _, relation)) = open.first() {
            self.relation = u32::try_from(*relation).unwrap_or(0);
        }
        let current: HashMap<i32, Timestamp> = open.iter().map(|(id, generation, _)| (*id, *generation)).collect();
        self.known.retain(|id, target| current.get(id) == Some(&target.generation));
        let changed: Vec<i32> = current.keys().copied().filter(|id| !self.known.contains_key(id)).collect();
        if changed.is_empty() {
            return Ok(changed);
        }
        for definition in definitions(spi, &changed)? {
            match target(&definition) {
                Ok(target) => {
                    self.known.insert(definition.id, Rc::new(target));
                }
                Err(error) => {
                    let detail = error.detail.map(|detail| format!(": {detail}")).unwrap_or_default();
                    pause(spi, definition.id, &format!("{}{detail}", error.message), true)?;
                    pgrx::warning!("cdp: destination \"{}\" is paused: {}{detail}", definition.key, error.message);
                }
            }
        }
        Ok(changed)
    }
}

/// Reads definitions by id.
pub fn definitions(spi: &Spi, ids: &[i32]) -> Result<Vec<Definition>> {
    spi.query(
        "SELECT destination_id, namespace_id, key, kind, config, secrets, updated_at
         FROM _cdp.destinations WHERE destination_id OPERATOR(pg_catalog.=) ANY ($1)",
        &[Param::Int4Array(ids)],
    )?
    .map(|row| {
        let json = |column| serde_json::from_str::<Value>(&row.optional_jsonb(column).unwrap_or_default()).ok();
        let secrets = match json(5) {
            Some(Value::Object(object)) => object,
            _ => Map::new(),
        };
        Ok(Definition {
            id: row.i32(0)?,
            namespace_id: row.i32(1)?,
            key: row.text(2)?,
            kind: row.text(3)?,
            config: json(4).ok_or_else(|| internal("the configuration of a destination is not JSON"))?,
            secrets,
            generation: row.timestamp(6)?,
        })
    })
}

/// Opens the secrets of a definition and finds its code.
pub fn target(definition: &Definition) -> Result<Target> {
    let destination = cdp_delivery::destination(&definition.kind).ok_or_else(|| {
        Error::new(
            crate::error::state::INVALID_DEFINITION,
            format!("this version of cdp has no destination of kind \"{}\"", definition.kind),
        )
    })?;
    let place = Place { namespace_id: definition.namespace_id, destination: &definition.key };
    let secrets = secrets::open(&place, &definition.secrets)?;
    let config = destination.catalogue().config(&definition.config);
    Ok(Target {
        id: definition.id,
        key: definition.key.clone(),
        generation: definition.generation,
        destination,
        limits: destination.limits(&definition.config),
        policy: Policy::configured(&config),
        namespace_id: definition.namespace_id,
        requirement: gate::of_config(&config),
        config: Arc::new(definition.config.clone()),
        secrets: Arc::new(secrets),
    })
}

/// Sends again to destinations that were paused for want of a secret, a key or their code, and have it now.
fn resume_complete(spi: &Spi) -> Result<()> {
    let waiting = spi
        .query(
            "SELECT destination_id FROM _cdp.destinations WHERE enabled AND lacks IS NOT NULL AND paused_by IS NULL",
            &[],
        )?
        .map(|row| row.i32(0))?;
    if waiting.is_empty() {
        return Ok(());
    }
    for definition in definitions(spi, &waiting)? {
        if target(&definition).is_err() {
            continue;
        }
        let resumed = spi.execute(
            "UPDATE _cdp.destinations AS d SET paused_at = NULL, paused_reason = NULL, lacks = NULL, updated_at = pg_catalog.clock_timestamp() \
             FROM (SELECT destination_id FROM _cdp.destinations WHERE destination_id OPERATOR(pg_catalog.=) $1 \
                   AND lacks IS NOT NULL AND paused_by IS NULL FOR UPDATE SKIP LOCKED) AS free \
             WHERE d.destination_id OPERATOR(pg_catalog.=) free.destination_id",
            &[Param::Int4(definition.id)],
        )?;
        if resumed > 0 {
            pgrx::log!("cdp: destination \"{}\" has what it lacked and is sent to again", definition.key);
        }
    }
    Ok(())
}

/// Stops sending to a destination; `lacks` says that the server has to be given something first. Does not wait for somebody who is changing it: then the next failure
/// pauses it.
pub fn pause(spi: &Spi, destination_id: i32, reason: &str, lacks: bool) -> Result<bool> {
    let paused = spi.execute(
        "UPDATE _cdp.destinations AS d SET paused_at = pg_catalog.clock_timestamp(), paused_reason = $2, lacks = CASE WHEN $3 THEN $2 END
         FROM (SELECT destination_id FROM _cdp.destinations
               WHERE destination_id OPERATOR(pg_catalog.=) $1 AND paused_at IS NULL FOR UPDATE SKIP LOCKED) AS free
         WHERE d.destination_id OPERATOR(pg_catalog.=) free.destination_id",
        &[Param::Int4(destination_id), Param::Text(reason), Param::Bool(lacks)],
    )?;
    Ok(paused > 0)
}
