//! Making, changing and dropping traits, segments and flags.

use super::catalog::{self, Catalog, Names, Slot};
use super::{backfill, slots};
use crate::decisions::experiments;
use crate::error::{cut, state, unknown_key, Error, Result};
use crate::namespaces::Namespace;
use crate::pg::clock;
use crate::pg::datum::Param;
use crate::pg::guard::warn;
use crate::pg::spi::Spi;
use crate::scoring;
use crate::segments::lists;
use cdp_expr::{Checked, Expr, ExprError, Kind};
use std::rc::Rc;

/// What can be defined by an expression.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Defined {
    Trait,
    Segment,
    Flag,
    Score,
}

impl Defined {
    pub fn as_str(self) -> &'static str {
        match self {
            Defined::Trait => "trait",
            Defined::Segment => "segment",
            Defined::Flag => "flag",
            Defined::Score => "score",
        }
    }

    fn kind(self) -> Kind {
        match self {
            Defined::Trait => Kind::Trait,
            Defined::Segment => Kind::Segment,
            Defined::Flag => Kind::Flag,
            Defined::Score => Kind::Score,
        }
    }
}

/// Keys are what expressions and callers use, so they are plain.
pub fn check_key(what: &str, key: Option<&str>) -> Result<String> {
    let key = key.unwrap_or("").trim();
    let fits =
        !key.is_empty() && key.chars().count() <= 200 && key.chars().all(|c| !c.is_control()) && !key.contains('"');
    if fits {
        return Ok(key.to_string());
    }
    Err(Error::new(state::INVALID_DEFINITION, format!("\"{}\" is no key for a {what}", crate::error::cut(key))).hint(
        "A key has 1 to 200 characters and neither quotation marks nor control characters, for example orders_90d.",
    ))
}

/// An error of an expression, with its position.
pub fn expression_error(error: &ExprError) -> Error {
    let mut raised = Error::new(state::INVALID_EXPRESSION, error.message.clone());
    let mut detail = format!("At character {}.", error.position);
    if !error.expected.is_empty() {
        detail.push_str(&format!(" Expected {}.", error.expected.join(", ")));
    }
    raised = raised.detail(detail);
    raised.hint(error.hint.clone())
}

/// Names of events that were seen in a namespace, for suggestions; definitions are rare enough to ask each time.
pub fn event_names(spi: &Spi, namespace_id: i32) -> Result<Vec<String>> {
    spi.query(
        "SELECT d.name FROM _cdp.namespace_event_names AS s \
         JOIN _cdp.event_names AS d ON d.event_name_id OPERATOR(pg_catalog.=) s.event_name_id \
         WHERE s.namespace_id OPERATOR(pg_catalog.=) $1 ORDER BY s.event_name_id LIMIT 10000",
        &[Param::Int4(namespace_id)],
    )?
    .map(|row| row.text(0))
}

/// All names that an expression may use: of definitions, of events that were seen, and of traits that applications
/// sent for the newest people.
pub fn known_names(spi: &Spi, catalog: &Catalog) -> Result<Names> {
    let mut names = catalog.names(event_names(spi, catalog.namespace_id)?);
    names.profile = spi
        .query(
            "SELECT DISTINCT k.name FROM (SELECT traits FROM _cdp.profile_traits WHERE namespace_id OPERATOR(pg_catalog.=) $1 \
                 ORDER BY profile_id DESC LIMIT 1000) AS t CROSS JOIN LATERAL pg_catalog.jsonb_object_keys(t.traits) AS k (name)",
            &[Param::Int4(catalog.namespace_id)],
        )?
        .map(|row| row.text(0))?;
    Ok(names)
}

/// Parses and checks an expression against what is defined.
pub fn check(
    spi: &Spi,
    catalog: &Catalog,
    what: Defined,
    key: Option<&str>,
    text: &str,
) -> std::result::Result<Checked, ExprOrError> {
    let names = known_names(spi, catalog).map_err(ExprOrError::Error)?;
    cdp_expr::check(text, what.kind(), key, &names).map_err(ExprOrError::Expr)
}

/// As [`check`], for an expression that was not written as text.
pub fn check_expression(
    spi: &Spi,
    catalog: &Catalog,
    what: Defined,
    key: Option<&str>,
    expr: &Expr,
) -> std::result::Result<Checked, ExprOrError> {
    let names = known_names(spi, catalog).map_err(ExprOrError::Error)?;
    cdp_expr::resolve(expr, what.kind(), key, &names).map_err(ExprOrError::Expr)
}

/// An error of the expression, or of the database.
pub enum ExprOrError {
    Expr(ExprError),
    Error(Error),
}

impl From<ExprOrError> for Error {
    fn from(error: ExprOrError) -> Error {
        match error {
            ExprOrError::Expr(error) => expression_error(&error),
            ExprOrError::Error(error) => error,
        }
    }
}

/// The latest definitions, with changes of the namespace queued behind this transaction.
pub fn lock(spi: &Spi, namespace: &Namespace) -> Result<Rc<Catalog>> {
    spi.query("SELECT pg_catalog.pg_advisory_xact_lock(4344914, $1)", &[Param::Int4(namespace.id)])?;
    catalog::current(spi, namespace)
}

/// Has everybody looked at when a route has come to want changes of traits, so that those by time alone are noticed:
/// `before` says whether one did already.
pub fn notice_routes(spi: &Spi, namespace: &Namespace, before: bool) -> Result<()> {
    if before || !catalog::current(spi, namespace)?.routes.announces_traits() {
        return Ok(());
    }
    lock(spi, namespace)?;
    let version = catalog::next_version(spi, namespace)?;
    // Each trait is another one as far as people are concerned: it has to be known when it changes next.
    spi.execute(
        "UPDATE _cdp.traits SET version = $2 WHERE namespace_id OPERATOR(pg_catalog.=) $1",
        &[Param::Int4(namespace.id), Param::Int4(version)],
    )?;
    catalog::invalidate(spi)?;
    backfill::start(spi, namespace, version)
}

/// Days of another time zone are other days: whatever counts them is computed again. The caller has stored the zone.
pub fn change_timezone(spi: &Spi, namespace: &Namespace) -> Result<()> {
    lock(spi, namespace)?;
    let version = catalog::next_version(spi, namespace)?;
    spi.execute(
        "UPDATE _cdp.slots SET version = $2 WHERE namespace_id OPERATOR(pg_catalog.=) $1 AND EXISTS ( \
             SELECT FROM pg_catalog.unnest(aggregates) AS a WHERE a OPERATOR(pg_catalog.~~) '%unique_days%' OR a OPERATOR(pg_catalog.~~) '%unique_hours%' \
                 OR a OPERATOR(pg_catalog.~~) '%limited_count%' OR a OPERATOR(pg_catalog.~~) '%decayed_count%')",
        &[Param::Int4(namespace.id), Param::Int4(version)],
    )?;
    catalog::invalidate(spi)?;
    backfill::start(spi, namespace, version)
}

/// A definition about to be stored.
pub struct New<'a> {
    pub what: Defined,
    pub key: &'a str,
    /// One; none for a static segment; any number for a flag.
    pub expressions: &'a [Expr],
}

/// Stores what a changed set of definitions needs: slots, version, and the work of bringing people up to
/// it. `store` writes the definition's own row with the version it is given.
pub fn change(
    spi: &Spi,
    namespace: &Namespace,
    catalog: &Catalog,
    new: Option<New>,
    dropped: Option<(Defined, &str)>,
    store: impl FnOnce(i32) -> Result<()>,
) -> Result<()> {
    let mut names = catalog.names(Vec::new());
    let mut rules: Vec<Expr> = Vec::new();
    if let Some(new) = &new {
        let expression = new.expressions.first().cloned();
        match new.what {
            Defined::Trait => names.traits.extend(expression.map(|expression| (new.key.to_string(), expression))),
            Defined::Segment => {
                names.segments.insert(new.key.to_string(), expression);
            }
            Defined::Flag => rules.extend(new.expressions.iter().cloned()),
            Defined::Score => names.scores.extend(expression.map(|inputs| (new.key.to_string(), inputs))),
        }
    }
    match dropped {
        Some((Defined::Trait, key)) => {
            names.traits.remove(key);
        }
        Some((Defined::Segment, key)) => {
            names.segments.remove(key);
        }
        Some((Defined::Score, key)) => {
            names.scores.remove(key);
        }
        _ => {}
    }
    let replaced = |flag: &str| {
        new.as_ref().is_some_and(|n| n.what == Defined::Flag && n.key == flag) || dropped == Some((Defined::Flag, flag))
    };
    let kept = catalog.flags.conditions().filter(|(flag, _)| !replaced(flag)).map(|(_, condition)| condition);
    rules.extend(catalog.routes.iter().filter_map(|r| r.filter.clone()));
    // Nothing refers to a flag: what the others read stays as it is when one changes.
    let concerns_flag = changes_only_flags(&new, dropped);
    let mut unchanged: Vec<&Expr> = Vec::new();
    if concerns_flag {
        unchanged.extend(catalog.stored_definitions().chain(kept).map(|definition| &definition.inlined));
    } else {
        rules.extend(kept.map(|condition| condition.written.clone()));
        rules.extend(names.traits.values().cloned());
        rules.extend(names.segments.values().flatten().cloned());
        rules.extend(names.scores.values().cloned());
    }
    let inlined: Vec<Expr> = rules.iter().map(|rule| rule.inline(&names)).collect();

    let version = catalog::next_version(spi, namespace)?;
    // The slots of the score that comes with cdp go with it.
    let changed = new.as_ref().map(|n| (n.what, n.key)).or(dropped);
    let replaces_lead = changed == Some((Defined::Score, scoring::load::LEAD_KEY));
    let stays = |slot: &&Slot| !(replaces_lead && scoring::load::is_built_in_slot(slot.spec.id()));
    let made = slots::store(
        spi,
        namespace,
        catalog.slots.iter().filter(stays),
        unchanged.into_iter().chain(&inlined),
        version,
    )?;
    store(version)?;
    catalog::invalidate(spi)?;
    // Flags and routes are answered when somebody asks: people only need what is new in their state.
    // So are lists: whoever is put on one is looked at then.
    let is_stored = |what: Defined| what != Defined::Flag;
    let changes =
        |new: &New| is_stored(new.what) && (!new.expressions.is_empty() || catalog.segment_by_key(new.key).is_some());
    let changes_values = new.as_ref().is_some_and(changes) || dropped.is_some_and(|d| is_stored(d.0));
    if changes_values || made {
        backfill::start(spi, namespace, version)?;
    }
    Ok(())
}

fn changes_only_flags(new: &Option<New>, dropped: Option<(Defined, &str)>) -> bool {
    let concerned = new.as_ref().map(|new| new.what).or(dropped.map(|(what, _)| what));
    concerned == Some(Defined::Flag)
}

/// Tells what a check noticed without refusing it.
pub fn tell_warnings(checked: &Checked) {
    for warning in &checked.warnings {
        warn(warning, None);
    }
}

/// Refuses to drop what others refer to, and says who does.
pub fn refuse_if_used(spi: &Spi, namespace: &Namespace, catalog: &Catalog, what: Defined, key: &str) -> Result<()> {
    let mut users: Vec<String> = catalog
        .definitions()
        // A static segment is its own expression.
        .filter(|(kind, user, _)| (*kind, *user) != (what.as_str(), key))
        .filter(|(_, _, definition)| match what {
            Defined::Trait => definition.expression.trait_references().contains(&key),
            Defined::Segment => definition.expression.segment_references().contains(&key),
            Defined::Score => definition.expression.score_references().contains(&key),
            Defined::Flag => false,
        })
        .map(|(kind, user, _)| format!("{kind} \"{user}\""))
        .collect();
    if what == Defined::Flag {
        users.extend(catalog.flags.waiting_for(key).map(|user| format!("flag \"{user}\" as a prerequisite")));
    }
    users.extend(experiments::define::users(spi, namespace, catalog, what, key)?);
    // A flag may say it in several conditions.
    users.dedup();
    users.extend(
        catalog
            .routes
            .iter()
            .filter(|route| {
                route.filter.as_ref().is_some_and(|filter| match what {
                    Defined::Trait => filter.trait_references().contains(&key),
                    Defined::Segment => filter.segment_references().contains(&key),
                    Defined::Score => filter.score_references().contains(&key),
                    Defined::Flag => false,
                })
            })
            .map(|route| format!("a route to \"{}\"", route.destination)),
    );
    if users.is_empty() {
        return Ok(());
    }
    Err(Error::new(state::IN_USE, format!("cannot drop {} \"{key}\" because others use it", what.as_str()))
        .detail(format!("Used by {}.", users.join(", ")))
        .hint("Change or drop those first."))
}

/// Stores a trait.
pub fn define_trait(spi: &Spi, namespace: &Namespace, key: &str, text: &str, description: Option<&str>) -> Result<()> {
    let catalog = lock(spi, namespace)?;
    let checked = check(spi, &catalog, Defined::Trait, Some(key), text)?;
    tell_warnings(&checked);
    let expression = cdp_expr::print(&checked.expr);
    let result_type = checked.result_type.to_string();
    let now = clock::real();
    let write = |version: i32| {
        spi.execute(
            "INSERT INTO _cdp.traits (namespace_id, key, expression, result_type, description, version, created_at, updated_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $7) \
             ON CONFLICT (namespace_id, key) DO UPDATE SET expression = EXCLUDED.expression, result_type = EXCLUDED.result_type, \
                 description = EXCLUDED.description, version = EXCLUDED.version, updated_at = EXCLUDED.updated_at",
            &[
                Param::Int4(namespace.id),
                Param::Text(key),
                Param::Text(&expression),
                Param::Text(&result_type),
                Param::OptionalText(description),
                Param::Int4(version),
                Param::Timestamp(now),
            ],
        )
        .map(|_| ())
    };
    match catalog.trait_by_key(key) {
        Some(found) if found.definition.written == checked.expr => write(found.definition.version),
        found => {
            if found.is_none() {
                tell_readers(&catalog, key);
            }
            change(
                spi,
                namespace,
                &catalog,
                Some(New { what: Defined::Trait, key, expressions: std::slice::from_ref(&checked.expr) }),
                None,
                write,
            )
        }
    }
}

/// Names the definitions that read what applications send by this name, and from now on the new computed trait.
fn tell_readers(catalog: &Catalog, key: &str) {
    let reads =
        |definition: &&(&str, &str, &catalog::Definition)| definition.2.written.attribute_references().contains(&key);
    let definitions = catalog.definitions().filter(|d| reads(&d)).map(|(what, user, _)| format!("{what} \"{user}\""));
    let routes = catalog.routes.iter().filter(|route| route.attributes.iter().any(|name| name == key));
    let mut readers: Vec<String> =
        definitions.chain(routes.map(|route| format!("a route to \"{}\"", route.destination))).collect();
    readers.dedup();
    if !readers.is_empty() {
        warn(
            &format!(
                "\"{key}\" is the computed trait from now on for those who read a trait of that name: {}",
                readers.join(", ")
            ),
            Some(&format!("Where what applications send is meant, write profile.{key} in the rule.")),
        );
    }
}

/// The rule of a segment: as text, or as made from JSON criteria.
pub enum SegmentRule<'a> {
    Text(&'a str),
    Criteria(&'a Expr),
}

/// A segment as it was asked for.
pub struct SegmentRequest<'a> {
    pub key: &'a str,
    pub name: Option<&'a str>,
    pub rule: SegmentRule<'a>,
    pub criteria: Option<&'a str>,
    pub description: Option<&'a str>,
    pub sync_to: &'a [String],
}

/// Stores a segment.
pub fn define_segment(spi: &Spi, namespace: &Namespace, request: &SegmentRequest) -> Result<()> {
    let catalog = lock(spi, namespace)?;
    let checked = match request.rule {
        SegmentRule::Text(text) => check(spi, &catalog, Defined::Segment, Some(request.key), text)?,
        SegmentRule::Criteria(expr) => check_expression(spi, &catalog, Defined::Segment, Some(request.key), expr)?,
    };
    tell_warnings(&checked);
    crate::delivery::routing::routes::check_destinations(spi, namespace, request.sync_to)?;
    let rule = cdp_expr::print(&checked.expr);
    let sync_to: Vec<&str> = request.sync_to.iter().map(String::as_str).collect();
    let now = clock::real();
    let write = |version: i32| {
        spi.execute(
            "INSERT INTO _cdp.segments (namespace_id, key, name, rule, criteria, description, sync_to, version, created_at, updated_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $9) \
             ON CONFLICT (namespace_id, key) DO UPDATE SET name = EXCLUDED.name, rule = EXCLUDED.rule, criteria = EXCLUDED.criteria, \
                 description = EXCLUDED.description, sync_to = EXCLUDED.sync_to, version = EXCLUDED.version, updated_at = EXCLUDED.updated_at",
            &[
                Param::Int4(namespace.id),
                Param::Text(request.key),
                Param::OptionalText(request.name),
                Param::Text(&rule),
                Param::OptionalJsonb(request.criteria),
                Param::OptionalText(request.description),
                Param::TextArray(&sync_to),
                Param::Int4(version),
                Param::Timestamp(now),
            ],
        )
        .map(|_| ())
    };
    match catalog.segment_by_key(request.key) {
        Some(found) if found.definition.written == checked.expr => {
            write(found.definition.version)?;
            catalog::invalidate(spi)
        }
        found => change(
            spi,
            namespace,
            &catalog,
            Some(New { what: Defined::Segment, key: request.key, expressions: std::slice::from_ref(&checked.expr) }),
            None,
            |version| {
                if let Some(found) = found.filter(|found| found.is_static) {
                    let listed = lists::clear(spi, found.id)?;
                    if listed > 0 {
                        warn(
                            &format!("segment \"{}\" was a list, which is gone (entries: {listed})", request.key),
                            Some("From now on its rule decides. To have both, give one of them another key."),
                        );
                    }
                }
                write(version)
            },
        ),
    }
}

/// Stores a segment whose members are listed; the list of one that is there stays.
pub fn define_static_segment(
    spi: &Spi,
    namespace: &Namespace,
    key: &str,
    description: Option<&str>,
    sync_to: &[String],
) -> Result<()> {
    let catalog = lock(spi, namespace)?;
    crate::delivery::routing::routes::check_destinations(spi, namespace, sync_to)?;
    let sync_to: Vec<&str> = sync_to.iter().map(String::as_str).collect();
    let now = clock::real();
    let write = |version: i32| {
        spi.execute(
            "INSERT INTO _cdp.segments (namespace_id, key, description, sync_to, version, created_at, updated_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $6) \
             ON CONFLICT (namespace_id, key) DO UPDATE SET name = NULL, rule = NULL, criteria = NULL, description = EXCLUDED.description, \
                 sync_to = EXCLUDED.sync_to, version = EXCLUDED.version, updated_at = EXCLUDED.updated_at",
            &[
                Param::Int4(namespace.id),
                Param::Text(key),
                Param::OptionalText(description),
                Param::TextArray(&sync_to),
                Param::Int4(version),
                Param::Timestamp(now),
            ],
        )
        .map(|_| ())
    };
    match catalog.segment_by_key(key) {
        Some(found) if found.is_static => {
            write(found.definition.version)?;
            catalog::invalidate(spi)
        }
        found => {
            if let Some(found) = found {
                let rule = cut(&cdp_expr::print(&found.definition.written));
                warn(
                    &format!("segment \"{key}\" had the rule {rule}: the rule is gone"),
                    Some("From now on its list decides. To have both, give one of them another key."),
                );
            }
            change(spi, namespace, &catalog, Some(New { what: Defined::Segment, key, expressions: &[] }), None, write)
        }
    }
}

/// Drops a trait, segment, flag or score that nobody uses.
pub fn drop(spi: &Spi, namespace: &Namespace, what: Defined, key: &str) -> Result<()> {
    let catalog = lock(spi, namespace)?;
    let keys: Vec<&str> = match what {
        Defined::Trait => catalog.traits.iter().map(|t| t.key.as_str()).collect(),
        Defined::Segment => catalog.segments.iter().map(|s| s.key.as_str()).collect(),
        Defined::Flag => catalog.flags.keys().collect(),
        Defined::Score => catalog.scores.iter().map(|s| s.key.as_str()).collect(),
    };
    if !keys.contains(&key) {
        return Err(unknown_key(what.as_str(), key, keys.into_iter()));
    }
    refuse_if_used(spi, namespace, &catalog, what, key)?;
    let parameters = [Param::Int4(namespace.id), Param::Text(key), Param::Timestamp(clock::now()?)];
    change(spi, namespace, &catalog, None, Some((what, key)), |_| {
        match what {
            Defined::Trait => spi.execute(
                "DELETE FROM _cdp.traits WHERE namespace_id OPERATOR(pg_catalog.=) $1 AND key OPERATOR(pg_catalog.=) $2",
                &parameters[..2],
            )?,
            Defined::Flag => spi.execute(
                "WITH gone AS (DELETE FROM _cdp.flags WHERE namespace_id OPERATOR(pg_catalog.=) $1 AND key OPERATOR(pg_catalog.=) $2 \
                     RETURNING flag_id) \
                 DELETE FROM _cdp.flag_overrides AS o USING gone WHERE o.flag_id OPERATOR(pg_catalog.=) gone.flag_id",
                &parameters[..2],
            )?,
            Defined::Score => scoring::define::delete(spi, namespace, key)?,
            // Everybody leaves it.
            Defined::Segment => spi.execute(
                "WITH gone AS (DELETE FROM _cdp.segments WHERE namespace_id OPERATOR(pg_catalog.=) $1 AND key OPERATOR(pg_catalog.=) $2 \
                     RETURNING segment_id), \
                 lists AS (DELETE FROM _cdp.segment_lists AS l USING gone WHERE l.segment_id OPERATOR(pg_catalog.=) gone.segment_id), \
                 left_behind AS (DELETE FROM _cdp.segment_members AS m USING gone WHERE m.segment_id OPERATOR(pg_catalog.=) gone.segment_id \
                     RETURNING m.profile_id) \
                 INSERT INTO _cdp.history (namespace_id, profile_id, at, what, key, old, new, cause) \
                 SELECT $1, l.profile_id, $3, 'segment', $2, 'true', 'false', 'definition' FROM left_behind AS l",
                &parameters,
            )?,
        };
        Ok(())
    })
}
