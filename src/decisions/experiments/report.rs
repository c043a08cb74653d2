//! What an experiment says so far.

use super::define::{self, Stored};
use super::measure::{measure, Stretch};
use crate::decisions::exposure;
use crate::error::Result;
use crate::namespaces::Namespace;
use crate::pg::clock;
use crate::pg::datum::Param;
use crate::pg::spi::Spi;
use crate::traits::catalog::{self, Catalog};
use cdp_experiment::{adjusted, compare, covariate_center, sample_ratio, slope, Comparison, Sample, Settings};
use cdp_value::{Timestamp, Value};
use std::collections::{BTreeMap, BTreeSet};

/// People measured together.
const CHUNK: usize = 1_000;

/// Below this a division of people is not the planned one: as strict as the field is, since it is looked at often.
const BROKEN_RATIO: f64 = 0.001;

/// One metric of one variant.
pub struct Line {
    pub metric: String,
    pub is_primary: bool,
    pub variant: String,
    /// People who saw this variant and no other.
    pub exposures: i64,
    /// Of these, those with a value.
    pub people: i64,
    pub mean: Option<f64>,
    pub adjusted_mean: Option<f64>,
    pub comparison: Option<Comparison>,
    pub sample_ratio: Option<f64>,
    /// People who saw several variants and are left out.
    pub mixed: i64,
    pub verdict: &'static str,
}

/// Who saw which variant when first.
struct Exposures {
    /// Positions of variants, and instants.
    people: BTreeMap<i64, (usize, Timestamp)>,
    mixed: i64,
}

/// All metrics of all variants, the control first.
pub fn report(spi: &Spi, namespace: &Namespace, key: &str) -> Result<Vec<Line>> {
    let catalog = catalog::current(spi, namespace)?;
    let stored = define::find(spi, namespace, &catalog, key)?;
    let experiment = &stored.experiment;
    let now = clock::now()?;
    // Up to and with this very instant.
    let until = experiment.end.map_or(now.saturating_add(1), |end| end.min(now.saturating_add(1)));
    let exposures = read_exposures(spi, namespace, &stored, until)?;
    let samples = measure_all(spi, &catalog, &stored, &exposures, until)?;

    let mut counts = vec![0u64; experiment.variants.len()];
    for (variant, _) in exposures.people.values() {
        if let Some(count) = counts.get_mut(*variant) {
            *count += 1;
        }
    }
    let ratio = sample_ratio(&counts, &experiment.allocation);
    let settings = Settings { alpha: experiment.alpha, tuned_for: experiment.tuned_for };
    let mut lines = Vec::new();
    for (position, (metric, samples)) in experiment.metrics.iter().zip(&samples).enumerate() {
        let (slope, center) = (slope(samples), covariate_center(samples));
        let without: Vec<Sample> = samples.iter().map(|sample| adjusted(sample, slope, center)).collect();
        let control = without.first().copied().unwrap_or_default();
        for (index, name) in experiment.variants.iter().enumerate() {
            let (Some(sample), Some(without)) = (samples.get(index), without.get(index)) else { continue };
            let comparison = if index == 0 { None } else { compare(&control, without, &settings) };
            let has_people = sample.count() > 0;
            lines.push(Line {
                metric: metric.name.clone(),
                is_primary: position == 0,
                variant: name.clone(),
                exposures: i64::try_from(counts.get(index).copied().unwrap_or(0)).unwrap_or(i64::MAX),
                people: i64::try_from(sample.count()).unwrap_or(i64::MAX),
                mean: has_people.then(|| sample.mean()),
                adjusted_mean: (has_people && stored.covariate.is_some()).then(|| without.mean()),
                verdict: verdict(index == 0, ratio, comparison.as_ref(), metric.is_lower_better, &settings),
                comparison,
                sample_ratio: ratio,
                mixed: exposures.mixed,
            });
        }
    }
    Ok(lines)
}

/// What may be said at any time: from the sequential test, never from the one for a single look.
fn verdict(
    is_control: bool,
    ratio: Option<f64>,
    comparison: Option<&Comparison>,
    is_lower_better: bool,
    settings: &Settings,
) -> &'static str {
    match comparison {
        _ if ratio.is_some_and(|p| p < BROKEN_RATIO) => "people were not divided as planned",
        _ if is_control => "control",
        None => "too little to tell",
        Some(comparison) if comparison.sequential_p_value >= settings.alpha => "no difference shown yet",
        Some(comparison) if (comparison.difference.value > 0.0) != is_lower_better => "better",
        Some(_) => "worse",
    }
}

/// Only those whom chance gave their variant count: not those in a list, nor those of a rule without a split.
fn read_exposures(spi: &Spi, namespace: &Namespace, stored: &Stored, until: Timestamp) -> Result<Exposures> {
    let experiment = &stored.experiment;
    let ids = crate::ingest::names::look_up(spi, &[exposure::EVENT])?;
    let Some(event) = ids.get(exposure::EVENT) else {
        return Ok(Exposures { people: BTreeMap::new(), mixed: 0 });
    };
    let rows = spi.query_text(
        "SELECT COALESCE(p.merged_into, p.profile_id), e.properties OPERATOR(pg_catalog.->>) 'variant', pg_catalog.min(e.ts) \
         FROM _cdp.events AS e JOIN _cdp.profiles AS p ON p.profile_id OPERATOR(pg_catalog.=) e.profile_id \
         WHERE e.namespace_id OPERATOR(pg_catalog.=) $1 AND e.event_name_id OPERATOR(pg_catalog.=) $2 \
             AND e.ts OPERATOR(pg_catalog.>=) $3 AND e.ts OPERATOR(pg_catalog.<) $4 \
             AND e.properties OPERATOR(pg_catalog.->>) 'flag' OPERATOR(pg_catalog.=) $5 \
             AND e.properties OPERATOR(pg_catalog.?) 'bucket' \
         GROUP BY 1, 2",
        &[
            Param::Int4(namespace.id),
            Param::Int4(*event),
            Param::Timestamp(experiment.start.unwrap_or(cdp_value::DAY)),
            Param::Timestamp(until),
            Param::Text(&experiment.flag),
        ],
    )?;
    let mut people: BTreeMap<i64, (usize, Timestamp)> = BTreeMap::new();
    let mut mixed = BTreeSet::new();
    for (profile_id, name, at) in rows.map(|row| Ok((row.i64(0)?, row.optional_text(1), row.timestamp(2)?)))? {
        let Some(variant) = experiment.variants.iter().position(|variant| Some(variant) == name.as_ref()) else {
            continue;
        };
        if people.insert(profile_id, (variant, at)).is_some() {
            mixed.insert(profile_id);
        }
    }
    people.retain(|profile_id, _| !mixed.contains(profile_id));
    Ok(Exposures { people, mixed: i64::try_from(mixed.len()).unwrap_or(i64::MAX) })
}

/// For each metric a sample of each variant.
fn measure_all(
    spi: &Spi,
    catalog: &Catalog,
    stored: &Stored,
    exposures: &Exposures,
    until: Timestamp,
) -> Result<Vec<Vec<Sample>>> {
    let experiment = &stored.experiment;
    let mut samples = vec![vec![Sample::default(); experiment.variants.len()]; experiment.metrics.len()];
    let everybody: Vec<(i64, usize, Timestamp)> =
        exposures.people.iter().map(|(id, (variant, at))| (*id, *variant, *at)).collect();
    for chunk in everybody.chunks(CHUNK) {
        let after = |at: Timestamp| Stretch { from: at, before: until, at: until.saturating_sub(1) };
        let stretches = chunk.iter().map(|(id, _, at)| (*id, after(*at))).collect();
        let measured = measure(spi, catalog, &stored.expressions, &stretches)?;
        let known_before = match &stored.covariate {
            None => Default::default(),
            Some(covariate) => {
                let before = |at: Timestamp| Stretch { from: i64::MIN / 2, before: at, at };
                let stretches = chunk.iter().map(|(id, _, at)| (*id, before(*at))).collect();
                measure(spi, catalog, std::slice::from_ref(covariate), &stretches)?
            }
        };
        for (profile_id, variant, _) in chunk {
            let Some(values) = measured.get(profile_id) else { continue };
            let covariate =
                known_before.get(profile_id).and_then(|values| values.first()).and_then(number).unwrap_or(0.0);
            for ((metric, value), samples) in experiment.metrics.iter().zip(values).zip(&mut samples) {
                let value = number(value).or((!metric.skips_missing).then_some(0.0));
                if let Some((value, sample)) = value.zip(samples.get_mut(*variant)) {
                    sample.add(value, covariate);
                }
            }
        }
        crate::pg::session::check_for_interrupts();
    }
    Ok(samples)
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Bool(holds) => Some(f64::from(u8::from(*holds))),
        Value::Number(number) => number.to_json().as_f64().filter(|number| number.is_finite()),
        _ => None,
    }
}
