//! Scoring people again from what is known of them, many at a time: for jobs.

use crate::error::{unknown_key, Result};
use crate::namespaces::Namespace;
use crate::pg::clock;
use crate::pg::spi::Spi;
use crate::traits::catalog::{self, Scope, Touched};
use crate::traits::engine;
use crate::traits::evaluate::{self, Cause, Task};
use crate::traits::person::{self, Person};
use crate::traits::settle::{self, Look};
use std::collections::HashSet;
use std::rc::Rc;

/// Scores up to `limit` people of a namespace anew, beginning after a profile. Returns the last one; None when there
/// was nobody left.
pub fn chunk(spi: &Spi, namespace: &Namespace, key: &str, after: i64, limit: i64) -> Result<Option<i64>> {
    let known = catalog::current(spi, namespace)?;
    if known.score_by_key(key).is_none() {
        return Err(unknown_key("score", key, known.scores.iter().map(|s| s.key.as_str())));
    }
    let ids = person::next_ids(spi, namespace.id, after, limit.clamp(1, 10_000))?;
    let Some(last) = ids.last() else { return Ok(None) };
    let now = clock::now()?;
    let people = person::lock(spi, &ids)?;
    let known = catalog::covering(spi, namespace, &people)?;
    let is_due = |person: &Person| person.version != known.version || person.due.is_some_and(|due| due <= now);
    let (due, mut others): (Vec<Person>, Vec<Person>) = people.into_iter().partition(is_due);
    settle::refresh(spi, namespace, due, Look::Everything, &Cause::Definition, now)?;

    // Of all others only the score is looked at, and only what is another one is written.
    let rules = known.scores.iter().enumerate().filter(|(_, score)| score.key == key);
    let rules = rules.flat_map(|(position, score)| (0..score.rules.len()).map(move |rule| (position, rule))).collect();
    let touched = Touched { rules, ..Touched::default() };
    evaluate::load_needed(spi, &known, &mut others, known.touched_definitions(&touched), false)?;
    let scope = Rc::new(Scope::of(&known, &touched));
    let task = |person: &Person| Task { scope: scope.clone(), at: person.instant(now), cause: Cause::Definition };
    let tasks: Vec<Task> = others.iter().map(task).collect();
    let mut held: Vec<&mut Person> = others.iter_mut().collect();
    let changes = evaluate::evaluate(spi, &known, &known.calendar(), &mut held, &tasks)?;
    let changed: HashSet<i64> = changes.iter().map(|change| change.profile_id).collect();
    others.retain(|person| changed.contains(&person.profile_id));
    engine::finish(spi, &known, namespace, &mut others, &changes, now)?;
    Ok(Some(*last))
}
