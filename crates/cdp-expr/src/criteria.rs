//! JSON audience criteria: the same language for machines.

use crate::ast::{Aggregate, Comparison, EventSource, Expr, Function, Position};
use crate::error::did_you_mean;
use crate::limits;
use crate::names;
use crate::pattern::Pattern;
use cdp_value::{AggregateFunction, Value, Window};
use serde_json::Value as Json;
use std::fmt;

mod members;

use members::{number, snake_case, text, Members, Operator, Place};

/// Why criteria were refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CriteriaError {
    /// Where: `and[1].operator`; empty for the whole.
    pub path: String,
    /// What is wrong: lower case, no period.
    pub message: String,
    /// What to write instead. Never empty.
    pub hint: String,
}

impl fmt::Display for CriteriaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() {
            f.write_str(&self.message)
        } else {
            write!(f, "{}: {}", self.path, self.message)
        }
    }
}

impl std::error::Error for CriteriaError {}

/// Reads audience criteria such as
/// `{"and":[{"trait":"ltv","operator":">","value":1000},{"event":"purchase","window":"7d"}]}`.
///
/// The result still has to be [resolved](crate::resolve): a trait's key becomes the computed
/// trait of that name, or else `profile.<key>`.
pub fn criteria(json: &Json) -> Result<Expr, CriteriaError> {
    let mut reader = Reader { nodes: 0 };
    reader.condition(json, &Place::root(), false)
}

/// Every member that some kind of condition knows, in snake_case.
const MEMBERS: [&str; 14] = [
    "and", "or", "not", "all", "any", "none", "trait", "property", "event", "segment", "operator",
    "value", "window", "count",
];

struct Reader {
    nodes: usize,
}

impl Reader {
    /// One condition. `inside` an event's `where`, where conditions are about properties.
    fn condition(
        &mut self,
        json: &Json,
        place: &Place,
        inside: bool,
    ) -> Result<Expr, CriteriaError> {
        self.nodes += 1;
        if self.nodes > limits::NODES / 4 {
            return Err(place.error("the criteria have too many conditions", SPLIT));
        }
        if place.depth > limits::DEPTH / 3 {
            return Err(place.error("the criteria are nested too deep", SPLIT));
        }
        let Json::Object(members) = json else {
            return Err(place.error("a condition must be an object", EXAMPLE));
        };
        let members = Members::new(members, place)?;
        if members.0.is_empty() {
            return Err(place.error("the condition is empty", EXAMPLE));
        }
        for (name, conjunction) in [("and", true), ("all", true), ("or", false), ("any", false)] {
            if let Some(items) = members.get(name) {
                members.only(&[name], place)?;
                return self.group(items, &place.member(name), conjunction, inside);
            }
        }
        for name in ["not", "none"] {
            if let Some(inner) = members.get(name) {
                members.only(&[name], place)?;
                let place = place.member(name);
                let inner = match inner {
                    Json::Array(_) => self.group(inner, &place, false, inside)?,
                    one => self.condition(
                        one,
                        &Place {
                            depth: place.depth + 1,
                            ..place
                        },
                        inside,
                    )?,
                };
                return Ok(Expr::Not(Box::new(inner)));
            }
        }
        if inside {
            return self.property(&members, place);
        }
        if members.get("event").is_some() {
            return self.event(&members, place);
        }
        if let Some(key) = members.get("segment") {
            members.only(&["segment", "operator", "value"], place)?;
            let key = text(key, &place.member("segment"))?;
            return segment(key, &members, place);
        }
        if let Some(key) = members.get("trait") {
            members.only(&["trait", "operator", "value"], place)?;
            let key = text(key, &place.member("trait"))?;
            return comparison(of_trait(key), &members, place);
        }
        let hint = members
            .0
            .first()
            .and_then(|(name, _)| did_you_mean(name, MEMBERS))
            .unwrap_or_else(|| EXAMPLE.to_string());
        Err(place.error(
            "a condition needs one of and, or, not, trait, event, segment",
            hint,
        ))
    }

    fn group(
        &mut self,
        json: &Json,
        place: &Place,
        conjunction: bool,
        inside: bool,
    ) -> Result<Expr, CriteriaError> {
        let Json::Array(items) = json else {
            return Err(place.error("this must be a list of conditions", LIST));
        };
        let mut parts = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            parts.push(self.condition(item, &place.item(index), inside)?);
        }
        let mut parts = crate::ast::flattened(parts, conjunction);
        match parts.len() {
            0 => Err(place.error("the list of conditions is empty", LIST)),
            1 => Ok(parts.swap_remove(0)),
            _ if conjunction => Ok(Expr::And(parts)),
            _ => Ok(Expr::Or(parts)),
        }
    }

    /// `{"event": "purchase", "window": "7d", "operator": ">=", "count": 3, "where": {…}}`.
    fn event(&mut self, members: &Members<'_>, place: &Place) -> Result<Expr, CriteriaError> {
        members.only(
            &["event", "window", "operator", "count", "value", "where"],
            place,
        )?;
        let event = members.text("event", place)?.to_string();
        let window = match members.get("window") {
            None | Some(Json::Null) => None,
            Some(json) => {
                let place = place.member("window");
                let length = names::duration(text(json, &place)?)
                    .filter(|length| *length > 0)
                    .ok_or_else(|| place.error("this is not a window", WINDOWS))?;
                Some(Window { length })
            }
        };
        let filter = match members.get("where") {
            None | Some(Json::Null) => None,
            Some(list @ Json::Array(_)) => {
                Some(self.group(list, &place.member("where"), true, true)?)
            }
            Some(one) => {
                let inner = place.member("where");
                Some(self.condition(
                    one,
                    &Place {
                        depth: inner.depth + 1,
                        ..inner
                    },
                    true,
                )?)
            }
        };
        let count = Expr::Aggregate(Aggregate {
            source: EventSource {
                event,
                filter: filter.map(Box::new),
            },
            function: AggregateFunction::Count,
            property: None,
            window,
            position: Position::default(),
        });
        let bound = members.get("count").or_else(|| members.get("value"));
        let name = if members.get("count").is_some() {
            "count"
        } else {
            "value"
        };
        let operator = members.operator(place)?;
        let at_least = |bound| {
            Ok(Expr::Compare(
                Comparison::GreaterOrEqual,
                Box::new(count.clone()),
                Box::new(bound),
            ))
        };
        match (operator, bound) {
            (None, None) => at_least(Expr::number(1)),
            (Some(Operator::Exists(true)), None) => at_least(Expr::number(1)),
            (Some(Operator::Exists(false)), None) => Ok(Expr::Compare(
                Comparison::Equal,
                Box::new(count.clone()),
                Box::new(Expr::number(0)),
            )),
            (None, Some(bound)) => at_least(number(bound, &place.member(name))?),
            (Some(Operator::Compare(comparison)), Some(bound)) => Ok(Expr::Compare(
                comparison,
                Box::new(count.clone()),
                Box::new(number(bound, &place.member(name))?),
            )),
            (Some(Operator::Between), Some(bound)) => between(&count, bound, &place.member(name)),
            (Some(_), None) => Err(place.error(
                "the operator needs a count",
                r#"write {"event": "purchase", "operator": ">=", "count": 3}"#,
            )),
            (Some(_), Some(_)) => Err(place.member("operator").error(
                "a number of events cannot be compared in this way",
                "use one of > >= < <= == != between",
            )),
        }
    }

    /// A condition on a property of the event.
    fn property(&mut self, members: &Members<'_>, place: &Place) -> Result<Expr, CriteriaError> {
        let name = if members.get("property").is_some() {
            "property"
        } else {
            "trait"
        };
        members.only(&["property", "trait", "operator", "value"], place)?;
        let key = members.text(name, place)?;
        let path = key.split('.').map(str::to_string).collect();
        comparison(Expr::Property(path), members, place)
    }
}

const EXAMPLE: &str = r#"write {"trait": "plan", "operator": "==", "value": "pro"}"#;
const LIST: &str = r#"write {"and": [{"segment": "vip"}, {"event": "purchase", "window": "7d"}]}"#;
const SPLIT: &str = "make several segments and refer to them: {\"segment\": \"vip\"}";
const WINDOWS: &str = "windows and durations are whole numbers with a unit: 30m, 12h, 7d, 2w";

/// What a trait's key stands for: when the person was seen, or an attribute.
fn of_trait(key: &str) -> Expr {
    match snake_case(key).as_str() {
        "last_seen" => Expr::LastSeen,
        "first_seen" => Expr::FirstSeen,
        word => match names::word(word) {
            Some(expr @ (Expr::FirstSeenAgo(_) | Expr::LastSeenAgo(_))) => expr,
            _ => Expr::Attribute(key.to_string()),
        },
    }
}

fn segment(key: &str, members: &Members<'_>, place: &Place) -> Result<Expr, CriteriaError> {
    let segment = Expr::Segment(key.to_string());
    let wanted = match members.get("value") {
        None => true,
        Some(Json::Bool(wanted)) => *wanted,
        Some(_) => {
            return Err(place.member("value").error(
                "this must be true or false",
                "without quotes: \"value\": true",
            ))
        }
    };
    let positive = match members.operator(place)? {
        None
        | Some(Operator::Compare(Comparison::Equal))
        | Some(Operator::In(true))
        | Some(Operator::Exists(true)) => wanted,
        Some(Operator::Compare(Comparison::NotEqual))
        | Some(Operator::In(false))
        | Some(Operator::Exists(false)) => !wanted,
        Some(_) => {
            return Err(place.member("operator").error(
                "a segment can only be tested with == or !=",
                r#"write {"segment": "vip", "value": false} for those who are not in it"#,
            ));
        }
    };
    Ok(if positive {
        segment
    } else {
        Expr::Not(Box::new(segment))
    })
}

/// `left operator value`.
fn comparison(left: Expr, members: &Members<'_>, place: &Place) -> Result<Expr, CriteriaError> {
    let operator = members
        .operator(place)?
        .ok_or_else(|| place.error("operator is missing", EXAMPLE))?;
    let at = place.member("value");
    let boxed = Box::new(left.clone());
    if let Operator::Exists(positive) = operator {
        let exists = Expr::Call(Function::Exists, vec![left]);
        return Ok(negated_unless(positive, exists));
    }
    let Some(value) = members.get("value") else {
        return Err(place.error(
            "value is missing",
            r#"add what to compare with: "value": 1000"#,
        ));
    };
    match operator {
        Operator::Compare(comparison) => {
            let bound = bound(&left, comparison, value, &at)?;
            Ok(Expr::Compare(comparison, boxed, Box::new(bound)))
        }
        Operator::Between => between(&left, value, &at),
        Operator::In(positive) => {
            let Json::Array(items) = value else {
                return Err(at.error("this must be a list", r#"write "value": ["pro", "team"]"#));
            };
            if items.len() > limits::LIST {
                return Err(at.error(
                    format!("the list has more than {} items", limits::LIST),
                    "join several lists with or, or keep the list as a static segment",
                ));
            }
            let list = items
                .iter()
                .enumerate()
                .map(|(index, item)| literal(item, &at.item(index)))
                .collect::<Result<_, _>>()?;
            let membership = Expr::In(boxed, Box::new(Expr::List(list)));
            Ok(negated_unless(positive, membership))
        }
        Operator::Test(test, positive) => {
            let part = literal(value, &at)?;
            Ok(negated_unless(
                positive,
                Expr::Test(test, boxed, Box::new(part)),
            ))
        }
        Operator::Matches => {
            let pattern = Pattern::new(text(value, &at)?).map_err(|reason| {
                at.error(
                    format!("bad regular expression: {reason}"),
                    crate::pattern::HELP,
                )
            })?;
            Ok(Expr::Matches(boxed, pattern))
        }
        Operator::Exists(_) => Err(place.error("value is not needed", "leave it out")),
    }
}

fn negated_unless(positive: bool, expr: Expr) -> Expr {
    if positive {
        expr
    } else {
        Expr::Not(Box::new(expr))
    }
}

/// `between [a, b]`, both ends included.
fn between(left: &Expr, value: &Json, place: &Place) -> Result<Expr, CriteriaError> {
    let Json::Array(ends) = value else {
        return Err(place.error(
            "between needs a list of two values",
            r#"write "value": [10, 20]"#,
        ));
    };
    let [low, high] = ends.as_slice() else {
        return Err(place.error(
            "between needs a list of two values",
            r#"write "value": [10, 20]"#,
        ));
    };
    let part = |comparison, end: &Json, index| {
        let bound = bound(left, comparison, end, &place.item(index))?;
        Ok(Expr::Compare(
            comparison,
            Box::new(left.clone()),
            Box::new(bound),
        ))
    };
    Ok(Expr::And(vec![
        part(Comparison::GreaterOrEqual, low, 0)?,
        part(Comparison::LessOrEqual, high, 1)?,
    ]))
}

/// What a trait is compared with: times with durations (`"30d"`) or other times, everything else
/// with literals.
fn bound(
    left: &Expr,
    comparison: Comparison,
    value: &Json,
    place: &Place,
) -> Result<Expr, CriteriaError> {
    if !matches!(left, Expr::FirstSeen | Expr::LastSeen) {
        return literal(value, place);
    }
    let ordering = !matches!(comparison, Comparison::Equal | Comparison::NotEqual);
    match value {
        Json::String(text) if ordering => match names::duration(text) {
            Some(length) => Ok(Expr::Duration(length)),
            None if crate::time::parse(text).is_some() => literal(value, place),
            None => Err(place.error("this is neither a duration nor a time", WINDOWS)),
        },
        Json::String(_) | Json::Null => literal(value, place),
        _ => Err(place.error("a time is compared with a duration or a time", WINDOWS)),
    }
}

fn literal(json: &Json, place: &Place) -> Result<Expr, CriteriaError> {
    match json {
        Json::Array(_) | Json::Object(_) => Err(place.error(
            "this must be a text, a number, true, false or null",
            "compare with a list by in, not_in or between",
        )),
        Json::String(text) if text.contains('\0') => {
            Err(place.error("a text cannot contain the character zero", "leave it out"))
        }
        other => match Value::from_json(other) {
            Value::Null if !other.is_null() => Err(place.error(
                "the number is too large",
                "write fewer digits or a smaller exponent",
            )),
            value => Ok(Expr::Literal(value)),
        },
    }
}
