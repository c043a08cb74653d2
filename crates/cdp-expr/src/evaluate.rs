//! The value of an expression for one person at one instant.

use crate::ast::{
    unit_length, Aggregate, ArithmeticOperator, Comparison, Expr, Function, TextTest,
};
use crate::bucket;
use crate::references::profile_path;
use crate::time;
use cdp_value::{AggregateFunction, AgoUnit, Decimal, Timestamp, Value};
use std::borrow::Cow;

/// What an expression reads: one person, at one instant.
///
/// What a caller has not got may stay at its default: it is missing, so null or false.
pub trait Context {
    /// The instant of the evaluation.
    fn now(&self) -> Timestamp;
    /// Value of an aggregate now; "ago" functions are not asked here.
    fn aggregate(&self, aggregate: &Aggregate) -> Value;
    /// The earliest instant after now at which a windowed aggregate changes without a new event.
    fn aggregate_changes_at(&self, _aggregate: &Aggregate) -> Option<Timestamp> {
        None
    }
    /// When the first event of an aggregate's source happened.
    fn event_first_seen(&self, _aggregate: &Aggregate) -> Option<Timestamp> {
        None
    }
    /// When the last event of an aggregate's source happened.
    fn event_last_seen(&self, _aggregate: &Aggregate) -> Option<Timestamp> {
        None
    }
    /// When the person's first event happened.
    fn first_seen(&self) -> Option<Timestamp> {
        None
    }
    /// When the person's last event happened.
    fn last_seen(&self) -> Option<Timestamp> {
        None
    }
    /// Value of a computed trait now.
    fn trait_value(&self, _key: &str) -> Value {
        Value::Null
    }
    /// The earliest instant after now at which a trait's value changes without a new event. Not
    /// needed for expressions that were [inlined](Expr::inline).
    fn trait_changes_at(&self, _key: &str) -> Option<Timestamp> {
        None
    }
    /// Whether the person is in a segment now.
    fn segment(&self, _key: &str) -> bool {
        false
    }
    /// As [`Context::trait_changes_at`], for a segment.
    fn segment_changes_at(&self, _key: &str) -> Option<Timestamp> {
        None
    }
    /// A trait the application sent, by its path.
    fn profile(&self, _path: &[String]) -> Value {
        Value::Null
    }
    /// A trait of the person's group, by its path.
    fn group(&self, _path: &[String]) -> Value {
        Value::Null
    }
    /// Total of a score.
    fn score(&self, _key: &str) -> Value {
        Value::Null
    }
    /// Grade of a score.
    fn grade(&self, _key: &str) -> Value {
        Value::Null
    }
    /// The earliest instant after now at which a score's total or grade can change without a new
    /// event. Scores are not inlined.
    fn score_changes_at(&self, _key: &str) -> Option<Timestamp> {
        None
    }
    /// A property of the event at hand, by its path.
    fn property(&self, _path: &[String]) -> Value {
        Value::Null
    }
    /// A value that came with the question, by its path.
    fn context(&self, _path: &[String]) -> Value {
        Value::Null
    }
    /// A field of the message at hand, by its path.
    fn message(&self, _path: &[String]) -> Value {
        Value::Null
    }
    /// What identifies the person in [`bucket`](crate::bucket): the same text for ever.
    fn random_key(&self) -> Option<Cow<'_, str>> {
        None
    }
}

/// The value of an expression. It never fails: what cannot be computed is null.
pub fn evaluate(expr: &Expr, context: &dyn Context) -> Value {
    value(expr, context).into_owned()
}

/// Whether a condition is true; null and anything that is no boolean is not.
pub fn is_true(expr: &Expr, context: &dyn Context) -> bool {
    matches!(*value(expr, context), Value::Bool(true))
}

fn value<'e>(expr: &'e Expr, context: &dyn Context) -> Cow<'e, Value> {
    let owned = match expr {
        Expr::Literal(value) => return Cow::Borrowed(value),
        // Resolution leaves none of these behind.
        Expr::Duration(_) | Expr::Name(_) => Value::Null,
        // Settled before it is evaluated, unless there is no catalog.
        Expr::Attribute(name) => context.profile(&profile_path(name)),
        Expr::List(items) => Value::Array(
            items
                .iter()
                .map(|item| value(item, context).into_owned())
                .collect(),
        ),
        Expr::Trait(key) => context.trait_value(key),
        Expr::Segment(key) => Value::Bool(context.segment(key)),
        Expr::Score(key) => context.score(key),
        Expr::Grade(key) => context.grade(key),
        Expr::Profile(path) => context.profile(path),
        Expr::Group(path) => context.group(path),
        Expr::Property(path) => context.property(path),
        Expr::Context(path) => context.context(path),
        Expr::Message(path) => context.message(path),
        Expr::Aggregate(aggregate) => match aggregate.function {
            AggregateFunction::FirstSeenAgo(unit) => {
                seen_ago(context.event_first_seen(aggregate), unit, context)
            }
            AggregateFunction::LastSeenAgo(unit) => {
                seen_ago(context.event_last_seen(aggregate), unit, context)
            }
            _ => context.aggregate(aggregate),
        },
        Expr::FirstSeen => instant(context.first_seen()),
        Expr::LastSeen => instant(context.last_seen()),
        Expr::FirstSeenAgo(unit) => seen_ago(context.first_seen(), *unit, context),
        Expr::LastSeenAgo(unit) => seen_ago(context.last_seen(), *unit, context),
        Expr::Negate(inner) => number(&value(inner, context), |n| Some(n.neg())),
        Expr::Not(inner) => Value::Bool(!is_true(inner, context)),
        Expr::And(items) => Value::Bool(items.iter().all(|item| is_true(item, context))),
        Expr::Or(items) => Value::Bool(items.iter().any(|item| is_true(item, context))),
        Expr::Compare(operator, left, right) => {
            Value::Bool(comparison(*operator, left, right, context))
        }
        Expr::Arithmetic(operator, left, right) => {
            arithmetic(*operator, &value(left, context), &value(right, context))
        }
        Expr::Test(test, left, right) => Value::Bool(text_test(
            *test,
            &value(left, context),
            &value(right, context),
        )),
        Expr::Matches(left, pattern) => Value::Bool(
            value(left, context)
                .as_text()
                .is_some_and(|text| pattern.is_match(text)),
        ),
        Expr::In(needle, list) => Value::Bool(is_in(&value(needle, context), list, context)),
        Expr::Call(function, arguments) => return call(*function, arguments, context),
        Expr::Bucket(salt, count) => context.random_key().map_or(Value::Null, |key| {
            Value::Number(match count {
                Some(count) => Decimal::from(i64::from(bucket::bucket(salt, &key, *count))),
                None => bucket::hundredths(salt, &key),
            })
        }),
        Expr::Percentage(salt, percent) => Value::Bool(
            context
                .random_key()
                .is_some_and(|key| bucket::in_percentage(salt, &key, percent)),
        ),
    };
    Cow::Owned(owned)
}

/// The instant a time expression stands for, in microseconds; None when it is none.
pub(crate) fn instant_of(expr: &Expr, context: &dyn Context) -> Option<Timestamp> {
    match expr {
        Expr::FirstSeen => context.first_seen(),
        Expr::LastSeen => context.last_seen(),
        other => time::parse(value(other, context).as_text()?),
    }
}

fn instant(at: Option<Timestamp>) -> Value {
    at.and_then(time::format).map_or(Value::Null, Value::Text)
}

/// Whole units since something happened: never negative, even if the clock was set back.
fn seen_ago(at: Option<Timestamp>, unit: AgoUnit, context: &dyn Context) -> Value {
    ago(at.map(|at| at.min(context.now())), unit, context)
}

/// Whole units that have passed since an instant, rounded down.
fn ago(since: Option<Timestamp>, unit: AgoUnit, context: &dyn Context) -> Value {
    since
        .and_then(|since| context.now().checked_sub(since))
        .map_or(Value::Null, |passed| {
            Value::Number(Decimal::from(passed.div_euclid(unit_length(unit))))
        })
}

fn number(value: &Value, apply: impl FnOnce(&Decimal) -> Option<Decimal>) -> Value {
    value
        .as_number()
        .and_then(apply)
        .map_or(Value::Null, Value::Number)
}

fn comparison(operator: Comparison, left: &Expr, right: &Expr, context: &dyn Context) -> bool {
    let is_null = |expr: &Expr| matches!(expr, Expr::Literal(Value::Null));
    if is_null(left) || is_null(right) {
        let other = if is_null(right) { left } else { right };
        let null = value(other, context).is_null();
        return match operator {
            Comparison::Equal => null,
            Comparison::NotEqual => !null,
            _ => false,
        };
    }
    if let Expr::Duration(length) = right {
        return instant_of(left, context)
            .and_then(|at| context.now().checked_sub(at))
            .is_some_and(|passed| operator.holds(passed.cmp(length)));
    }
    let (left, right) = (value(left, context), value(right, context));
    compare(operator, &left, &right)
}

/// Compares two values: numbers and texts by order, booleans, lists and objects for equality. Null
/// and different types compare to nothing.
pub(crate) fn compare(operator: Comparison, left: &Value, right: &Value) -> bool {
    let order = match (left, right) {
        (Value::Number(a), Value::Number(b)) => a.cmp(b),
        (Value::Text(a), Value::Text(b)) => a.cmp(b),
        (Value::Bool(_), Value::Bool(_))
        | (Value::Array(_), Value::Array(_))
        | (Value::Object(_), Value::Object(_)) => {
            return match operator {
                Comparison::Equal => left == right,
                Comparison::NotEqual => left != right,
                _ => false,
            };
        }
        _ => return false,
    };
    operator.holds(order)
}

fn equal(left: &Value, right: &Value) -> bool {
    compare(Comparison::Equal, left, right)
}

fn arithmetic(operator: ArithmeticOperator, left: &Value, right: &Value) -> Value {
    let (Value::Number(a), Value::Number(b)) = (left, right) else {
        return Value::Null;
    };
    match operator {
        ArithmeticOperator::Add => a.checked_add(b),
        ArithmeticOperator::Subtract => a.checked_sub(b),
        ArithmeticOperator::Multiply => a.checked_mul(b),
        ArithmeticOperator::Divide => a.checked_div(b),
        ArithmeticOperator::Modulo => a.checked_rem(b),
    }
    .map_or(Value::Null, Value::Number)
}

fn text_test(test: TextTest, left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Text(text), Value::Text(part)) => match test {
            TextTest::Contains => text.contains(part.as_str()),
            TextTest::StartsWith => text.starts_with(part.as_str()),
            TextTest::EndsWith => text.ends_with(part.as_str()),
        },
        (Value::Array(items), item) if test == TextTest::Contains => {
            items.iter().any(|candidate| equal(candidate, item))
        }
        _ => false,
    }
}

fn is_in(needle: &Value, list: &Expr, context: &dyn Context) -> bool {
    match list {
        Expr::List(items) => items
            .iter()
            .any(|item| equal(needle, &value(item, context))),
        other => match &*value(other, context) {
            Value::Array(items) => items.iter().any(|item| equal(needle, item)),
            // As in SQL, a single value is a list of one.
            one => equal(needle, one),
        },
    }
}

fn call<'e>(function: Function, arguments: &'e [Expr], context: &dyn Context) -> Cow<'e, Value> {
    const NULL: &Value = &Value::Null;
    let argument = |index: usize| {
        arguments
            .get(index)
            .map_or(Cow::Borrowed(NULL), |expr| value(expr, context))
    };
    let owned = match function {
        Function::If => {
            let condition = arguments.first().is_some_and(|expr| is_true(expr, context));
            return argument(if condition { 1 } else { 2 });
        }
        Function::Coalesce => {
            return arguments
                .iter()
                .map(|expr| value(expr, context))
                .find(|value| !value.is_null())
                .unwrap_or(Cow::Borrowed(NULL));
        }
        Function::Exists => Value::Bool(!argument(0).is_null()),
        Function::Lower => text(&argument(0), |text| text.to_lowercase()),
        Function::Upper => text(&argument(0), |text| text.to_uppercase()),
        Function::Length => match &*argument(0) {
            Value::Text(text) => count(text.chars().count()),
            Value::Array(items) => count(items.len()),
            _ => Value::Null,
        },
        Function::Abs => number(&argument(0), |n| Some(n.abs())),
        Function::Floor => number(&argument(0), Decimal::floor),
        Function::Ceil => number(&argument(0), Decimal::ceil),
        Function::Round => match arguments.get(1) {
            None => number(&argument(0), |n| n.round(0)),
            Some(_) => match rounding_digits(&argument(1)) {
                Some(digits) => number(&argument(0), |n| n.round(digits)),
                None => Value::Null,
            },
        },
        Function::Since(unit) => {
            let since = arguments.first().and_then(|expr| instant_of(expr, context));
            ago(since, unit, context)
        }
    };
    Cow::Owned(owned)
}

/// Digits that `round` may keep: whole, from -1000 to 1000.
fn rounding_digits(value: &Value) -> Option<i32> {
    let digits = value.as_number()?.to_i64()?;
    let digits = i32::try_from(digits).ok()?;
    (-1000..=1000).contains(&digits).then_some(digits)
}

fn text(value: &Value, apply: impl FnOnce(&str) -> String) -> Value {
    value
        .as_text()
        .map_or(Value::Null, |text| Value::Text(apply(text)))
}

fn count(length: usize) -> Value {
    i64::try_from(length).map_or(Value::Null, |n| Value::Number(Decimal::from(n)))
}

/// Follows a path into a value: members of objects by name, items of lists by their number.
pub fn lookup<'v>(value: &'v Value, path: &[String]) -> Option<&'v Value> {
    path.iter().try_fold(value, |value, segment| match value {
        Value::Object(members) => members
            .binary_search_by(|(key, _)| key.as_str().cmp(segment))
            .ok()
            .and_then(|index| members.get(index))
            .map(|(_, value)| value),
        Value::Array(items) if is_index(segment) => items.get(segment.parse::<usize>().ok()?),
        _ => None,
    })
}

/// Whether a part of a path can be the number of an item.
pub(crate) fn is_index(segment: &str) -> bool {
    (1..=9).contains(&segment.len()) && segment.bytes().all(|byte| byte.is_ascii_digit())
}
