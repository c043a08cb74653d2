//! Flags, answered from what a person did a moment ago.
//!
//! What an answer is follows from the definition, the person and the instant alone (`cdp_decision`); here the person
//! is read. People are divided by the id of their profile: it stays when somebody logs in, and when two profiles turn
//! out to be one person it is the older one's (docs/decisions/0019-buckets-of-people.md).

pub mod define;
pub mod experiments;
pub mod explain;
pub mod exposure;
pub mod flags;
pub mod overrides;
mod question;

use crate::error::{unknown_key, Result};
use crate::namespaces::Namespace;
use crate::pg::shared::count_decisions;
use crate::pg::spi::Spi;
use cdp_decision::{Decider, Decision, Situation, Step};
use cdp_expr::Expr;
use cdp_value::Value;
use flags::Flag;
use question::{Asked, Question};

/// The answer of a flag.
pub struct Answer {
    pub flag: String,
    pub allow: bool,
    pub variant: String,
    /// JSON.
    pub value: String,
    pub reason: &'static str,
    pub reasons: Vec<String>,
    /// Where a split decided: the bucket.
    pub bucket: Option<u32>,
}

/// Decides a flag for a person; somebody unknown gets the default, and is told so.
pub fn decide(spi: &Spi, namespace: &Namespace, id: &str, key: &str, attributes: &Value) -> Result<Answer> {
    let mut asked = Asked::read(spi, namespace, id)?;
    let catalog = asked.catalog.clone();
    let flag = catalog.flags.get(key).ok_or_else(|| unknown_key("flag", key, catalog.flags.keys()))?;
    let question = asked.about(spi, id, &catalog.flags.with_prerequisites(flag), attributes)?;
    let answer = answer(&Decider::new(&question), flag, &question)?;
    question.check()?;
    count_decisions(namespace.id, 1);
    Ok(answer)
}

/// Decides all flags for a person, by key.
pub fn decide_all(spi: &Spi, namespace: &Namespace, id: &str, attributes: &Value) -> Result<Vec<Answer>> {
    let mut asked = Asked::read(spi, namespace, id)?;
    let catalog = asked.catalog.clone();
    let flags: Vec<&Flag> = catalog.flags.iter().collect();
    let question = asked.about(spi, id, &flags, attributes)?;
    let decider = Decider::new(&question);
    let answers: Vec<Answer> =
        flags.into_iter().map(|flag| answer(&decider, flag, &question)).collect::<Result<_>>()?;
    question.check()?;
    count_decisions(namespace.id, answers.len() as u64);
    Ok(answers)
}

fn answer<'q>(decider: &Decider<'q, Question<'q>>, flag: &'q Flag, question: &Question) -> Result<Answer> {
    let decision = decided(decider, flag)?;
    Ok(Answer {
        flag: flag.key().to_string(),
        allow: decision.variant.allow,
        variant: decision.variant.name.clone(),
        value: decision.variant.value.to_string(),
        reason: decision.reason.as_str(),
        reasons: reasons(flag, &decision, question),
        bucket: decision.steps.iter().find_map(|step| match step {
            Step::Split { bucket, .. } => Some(*bucket),
            _ => None,
        }),
    })
}

fn decided<'q>(decider: &Decider<'q, Question<'q>>, flag: &'q Flag) -> Result<Decision<'q>> {
    decider.decide(&flag.flag).ok_or_else(|| crate::error::internal("a flag without variants"))
}

/// Each step of the way, and before what a condition came to, each of its parts.
fn reasons(flag: &Flag, decision: &Decision, question: &Question) -> Vec<String> {
    let mut reasons = Vec::with_capacity(decision.steps.len() + 1);
    for step in &decision.steps {
        if let Step::Condition { rule, .. } = step {
            let condition = flag.conditions.get(*rule).and_then(Option::as_ref);
            if let Some((condition, context)) = condition.zip(question.context()) {
                parts(&condition.expression, context, &mut reasons);
            }
            // With a single rule there is nothing to tell apart.
            if flag.is_rule {
                continue;
            }
        }
        reasons.push(step.to_string());
    }
    reasons
}

/// Each part of a condition with its value.
fn parts(expression: &Expr, context: &dyn cdp_expr::Context, reasons: &mut Vec<String>) {
    match expression {
        Expr::And(several) | Expr::Or(several) => several.iter().for_each(|part| parts(part, context, reasons)),
        other => {
            let value = cdp_expr::evaluate(other, context).to_json();
            reasons.push(format!("{} is {value}", cdp_expr::print(other)));
        }
    }
}

/// The instant that answers are as of.
fn instant(question: &Question) -> cdp_value::Timestamp {
    question.now()
}
