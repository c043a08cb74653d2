//! Why a flag answers what it does, step by step, and when time alone changes it.

use super::flags::Flag;
use super::question::{Asked, Question};
use super::{decided, instant};
use crate::api::explain;
use crate::error::{unknown_key, Result};
use crate::namespaces::Namespace;
use crate::pg::function::Field;
use crate::pg::spi::Spi;
use cdp_decision::{Decider, Step};
use cdp_value::{Timestamp, Value};

/// Rows (depth, expression, value, changes_at): the answer, the steps to it, and the trees of the conditions asked.
pub fn explain(spi: &Spi, namespace: &Namespace, id: &str, key: &str, attributes: &Value) -> Result<Vec<Vec<Field>>> {
    let mut asked = Asked::read(spi, namespace, id)?;
    let catalog = asked.catalog.clone();
    let flag = catalog.flags.get(key).ok_or_else(|| unknown_key("flag", key, catalog.flags.keys()))?;
    let question = asked.about(spi, id, &catalog.flags.with_prerequisites(flag), attributes)?;
    let decision = decided(&Decider::new(&question), flag)?;
    let mut rows = Vec::new();
    let mut changes_at: Option<Timestamp> = None;
    for step in &decision.steps {
        let changes = step_changes_at(step, flag, &question);
        changes_at = earliest(changes_at, changes);
        rows.push(row(1, step.to_string(), step_value(step), changes));
        if let Step::Condition { rule, .. } = step {
            let condition = flag.conditions.get(*rule).and_then(Option::as_ref);
            if let Some((condition, context)) = condition.zip(question.context()) {
                rows.extend(explain::rows(&condition.expression, &catalog, context, 2));
            }
        }
    }
    let answer = serde_json::json!({
        "variant": decision.variant.name, "allow": decision.variant.allow, "reason": decision.reason.as_str(),
    });
    // The flag may be switched by time before anything that was looked at.
    changes_at = earliest(changes_at, flag.flag.end.filter(|end| instant(&question) < *end));
    rows.insert(0, row(0, format!("flag \"{key}\""), answer, changes_at));
    question.check()?;
    Ok(rows)
}

fn row(depth: i32, expression: String, value: serde_json::Value, changes_at: Option<Timestamp>) -> Vec<Field> {
    vec![
        Field::Int4(depth),
        Field::Text(expression),
        Field::Jsonb(value.to_string()),
        Field::optional_timestamp(changes_at),
    ]
}

fn earliest(a: Option<Timestamp>, b: Option<Timestamp>) -> Option<Timestamp> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

fn step_value(step: &Step) -> serde_json::Value {
    match step {
        Step::Override { exists, .. } => (*exists).into(),
        Step::Disabled | Step::NotStarted { .. } | Step::Ended { .. } | Step::UnknownPerson => false.into(),
        Step::Prerequisite { met, .. } => (*met).into(),
        Step::Target { .. } => true.into(),
        Step::Holdout { held, .. } => (*held).into(),
        Step::Group { has, .. } => (*has).into(),
        Step::Condition { holds, .. } => (*holds).into(),
        Step::Rollout { inside, .. } => (*inside).into(),
        Step::Split { variant, .. } => variant.as_str().into(),
    }
}

fn step_changes_at(step: &Step, flag: &Flag, question: &Question) -> Option<Timestamp> {
    match step {
        Step::NotStarted { start } => Some(*start),
        Step::Rollout { admitted, .. } => *admitted,
        Step::Condition { rule, .. } => {
            let condition = flag.conditions.get(*rule).and_then(Option::as_ref);
            condition.zip(question.context()).and_then(|(condition, context)| context.changes_at(condition))
        }
        _ => None,
    }
}
