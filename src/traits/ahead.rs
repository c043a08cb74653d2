//! The traits of people who are asked for one after the other, as a view asks: once that shows, those who are stored beside
//! one are read with it, because that is how a scan comes by. What was read ahead is of one execution of one statement,
//! so of its snapshot.

use super::backfill;
use super::catalog::Definition;
use super::context::PersonContext;
use super::edges;
use crate::error::Result;
use crate::namespaces::Namespace;
use crate::pg::clock;
use crate::pg::datum::Param;
use crate::pg::spi::Spi;
use crate::segments::lists;
use cdp_value::Timestamp;
use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};

/// Most pages of people that are read together.
const MOST: i64 = 8;
/// After so many people read one by one, those beside them are tried.
const PATIENCE: u32 = 4;
/// Executions that are remembered: a statement may ask at several places in turn.
const EXECUTIONS: usize = 4;

/// A trait that has a value: key, JSON text, and since when.
pub type Row = (String, String, Timestamp);

struct Ahead {
    execution: u64,
    namespace_id: i32,
    /// People still to be read one by one before others are read with them; and how many the next time.
    alone: u32,
    patience: u32,
    /// Pages read together the last time, and the people on them.
    pages: i64,
    people: usize,
    /// Those of them who were not asked for yet.
    rows: HashMap<i64, Vec<Row>>,
}

thread_local! {
    static AHEAD: RefCell<VecDeque<Ahead>> = const { RefCell::new(VecDeque::new()) };
}

/// The traits of a person that have a value, by key, asked for by an execution of a place in a statement.
pub fn rows(spi: &Spi, namespace: &Namespace, execution: u64, profile_id: i64) -> Result<Vec<Row>> {
    let known = AHEAD.with_borrow_mut(|all| {
        let place = all.iter().position(|a| a.execution == execution && a.namespace_id == namespace.id)?;
        all.remove(place)
    });
    let mut ahead = known.unwrap_or_else(|| Ahead {
        execution,
        namespace_id: namespace.id,
        alone: PATIENCE,
        patience: PATIENCE,
        pages: 0,
        people: 0,
        rows: HashMap::new(),
    });
    let rows = match ahead.rows.remove(&profile_id) {
        Some(rows) => rows,
        None => {
            ahead.read_from(spi, namespace, profile_id)?;
            ahead.rows.remove(&profile_id).unwrap_or_default()
        }
    };
    AHEAD.with_borrow_mut(|all| {
        all.truncate(EXECUTIONS - 1);
        all.push_front(ahead);
    });
    Ok(rows)
}

impl Ahead {
    /// Reads somebody, and those who are likely to be asked for next.
    fn read_from(&mut self, spi: &Spi, namespace: &Namespace, profile_id: i64) -> Result<()> {
        if self.rows.len() > self.people / 2 {
            // They come in another order, or few of them: it takes longer to be tried again.
            self.patience = self.patience.saturating_mul(8);
            (self.alone, self.pages) = (self.patience, 0);
        }
        let ids = if self.alone > 0 {
            self.alone -= 1;
            vec![profile_id]
        } else {
            self.pages = (self.pages * 2).clamp(1, MOST);
            beside(spi, namespace, profile_id, self.pages)?
        };
        self.people = if ids.len() > 1 { ids.len() } else { 0 };
        self.rows = of_people(spi, namespace, &ids)?;
        Ok(())
    }
}

/// Somebody, and those who are stored on the same page and the next ones.
fn beside(spi: &Spi, namespace: &Namespace, profile_id: i64, pages: i64) -> Result<Vec<i64>> {
    let page = spi
        .query(
            "SELECT (ctid::pg_catalog.text::pg_catalog.point)[0]::pg_catalog.int8 FROM _cdp.profiles WHERE profile_id OPERATOR(pg_catalog.=) $1",
            &[Param::Int8(profile_id)],
        )?
        .first(|row| row.i64(0))?;
    let Some(page) = page else { return Ok(vec![profile_id]) };
    let (from, to) = (format!("({page},0)"), format!("({},0)", page.saturating_add(pages)));
    let mut ids = spi
        .query(
            "SELECT profile_id FROM _cdp.profiles WHERE namespace_id OPERATOR(pg_catalog.=) $1 AND merged_into IS NULL \
                 AND ctid OPERATOR(pg_catalog.>=) $2::pg_catalog.tid AND ctid OPERATOR(pg_catalog.<) $3::pg_catalog.tid",
            &[Param::Int4(namespace.id), Param::Text(&from), Param::Text(&to)],
        )?
        .map(|row| row.i64(0))?;
    if !ids.contains(&profile_id) {
        ids.push(profile_id);
    }
    Ok(ids)
}

/// The traits of people that have a value, by key.
pub fn of_people(spi: &Spi, namespace: &Namespace, profile_ids: &[i64]) -> Result<HashMap<i64, Vec<Row>>> {
    let (catalog, mut people) = backfill::read_people(spi, namespace, profile_ids)?;
    let definitions = || catalog.traits.iter().map(|t| &t.definition);
    if definitions().any(|definition| definition.needs_lists) {
        lists::load(spi, &catalog, people.iter_mut())?;
    }
    let needed = Definition::aggregates(definitions());
    let (calendar, now) = (catalog.calendar(), clock::now()?);
    let asked = people.iter().map(|person| (person, person.instant(now), needed.as_slice()));
    let edges = edges::read(spi, &catalog, asked)?;
    let mut all = HashMap::with_capacity(people.len());
    for person in &people {
        let context = PersonContext::new(&catalog, person, person.instant(now), &calendar, &edges);
        let mut rows = Vec::new();
        for found in &catalog.traits {
            let value = context.value(&found.definition);
            if value.is_null() {
                continue;
            }
            let text = value.to_json().to_string();
            let updated_at = match person.computed.get(found.id) {
                Some(entry) if entry.json == text => entry.updated_at,
                _ => context.at,
            };
            rows.push((found.key.clone(), text, updated_at));
        }
        context.check()?;
        rows.sort();
        all.insert(person.profile_id, rows);
    }
    Ok(all)
}
