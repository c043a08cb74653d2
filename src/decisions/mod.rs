//! Flags, answered from what a person did a moment ago.

use crate::api::read::Reading;
use crate::error::{unknown_key, Result};
use crate::namespaces::Namespace;
use crate::pg::spi::Spi;
use cdp_expr::Expr;
use cdp_value::Value;

/// The answer of a flag.
pub struct Decision {
    pub allow: bool,
    pub variant: Option<String>,
    pub value: Option<String>,
    pub reason: String,
    pub reasons: Vec<String>,
}

/// Decides a flag for a person; somebody unknown gets the default, and is told so.
pub fn decide(spi: &Spi, namespace: &Namespace, id: &str, key: &str, attributes: &Value) -> Result<Decision> {
    let reading = Reading::of(spi, namespace, id)?;
    let catalog = Reading::catalog(spi, namespace, reading.as_ref())?;
    let Some(flag) = catalog.flag_by_key(key) else {
        return Err(unknown_key("flag", key, catalog.flags.iter().map(|f| f.key.as_str())));
    };
    let Some(mut reading) = reading else {
        return Ok(Decision {
            allow: false,
            variant: None,
            value: Some("false".to_string()),
            reason: "unknown_person".to_string(),
            reasons: vec!["nobody is known by this id: the default applies".to_string()],
        });
    };
    let mut context =
        reading.prepare(spi, |c| c.flag_by_key(key).map(|flag| &flag.definition).into_iter().collect())?;
    context.attributes = Some(attributes);
    let allow = context.holds(&flag.definition);
    let mut reasons = Vec::new();
    explain(&flag.definition.expression, &context, &mut reasons);
    context.check()?;
    Ok(Decision {
        allow,
        variant: Some(if allow { "on" } else { "off" }.to_string()),
        value: Some(allow.to_string()),
        reason: if allow { "rule_matched" } else { "no_rule_matched" }.to_string(),
        reasons,
    })
}

/// Each condition of a rule with what it came to.
fn explain(expression: &Expr, context: &dyn cdp_expr::Context, reasons: &mut Vec<String>) {
    match expression {
        Expr::And(parts) | Expr::Or(parts) => parts.iter().for_each(|part| explain(part, context, reasons)),
        other => {
            let value = cdp_expr::evaluate(other, context).to_json();
            reasons.push(format!("{} is {value}", cdp_expr::print(other)));
        }
    }
}
