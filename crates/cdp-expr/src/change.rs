//! When the value of an expression next changes by the passing of time alone.

use crate::ast::{unit_length, Aggregate, ArithmeticOperator, Comparison, Expr, Function};
use crate::evaluate::{evaluate, instant_of, is_true, Context};
use cdp_value::{AggregateFunction, AgoUnit, Decimal, Timestamp, Value};
use std::borrow::Cow;

/// The earliest instant after now at which the value can change without a new event; None when
/// it cannot.
///
/// A comparison of an "ago" value (plus, minus, times or divided by constants) with a constant
/// gives the exact instant at which it flips: `last_seen_minutes_ago < 1440` flips when 1,440
/// minutes have passed. Any other "ago" value inside a condition changes at its next whole unit.
/// A numeric "ago" value that is the result itself counts as unchanging: it is computed when it is
/// read. Call this on [inlined](Expr::inline) expressions, or let the context answer for traits
/// and segments.
pub fn next_change(expr: &Expr, context: &dyn Context) -> Option<Timestamp> {
    change(expr, context, false)
}

fn earliest(instants: impl IntoIterator<Item = Option<Timestamp>>) -> Option<Timestamp> {
    instants.into_iter().flatten().min()
}

/// `ticking`: "ago" values count, because a condition depends on them.
fn change(expr: &Expr, context: &dyn Context, ticking: bool) -> Option<Timestamp> {
    match expr {
        Expr::Trait(key) => context.trait_changes_at(key),
        Expr::Segment(key) => context.segment_changes_at(key),
        Expr::Score(key) | Expr::Grade(key) => context.score_changes_at(key),
        Expr::FirstSeenAgo(_) | Expr::LastSeenAgo(_) if ticking => {
            tick(ago(expr, context)?, context)
        }
        Expr::Aggregate(aggregate) => match aggregate.function {
            AggregateFunction::FirstSeenAgo(_) | AggregateFunction::LastSeenAgo(_) => {
                let ago = ago(expr, context).filter(|_| ticking)?;
                tick(ago, context)
            }
            _ => context.aggregate_changes_at(aggregate),
        },
        Expr::Not(inner) | Expr::Matches(inner, _) => change(inner, context, true),
        Expr::And(items) => junction(items, context, true),
        Expr::Or(items) => junction(items, context, false),
        Expr::Compare(operator, left, right) => comparison(*operator, left, right, expr, context),
        Expr::Test(_, left, right) | Expr::In(left, right) => {
            earliest([change(left, context, true), change(right, context, true)])
        }
        Expr::Call(Function::Exists, arguments) => {
            let argument = arguments.first()?;
            // That something happened stays true however long ago it was.
            let steady = ago(argument, context).is_some();
            change(argument, context, !steady)
        }
        Expr::Call(Function::If, arguments) => {
            let [condition, then, otherwise] = arguments.as_slice() else {
                return None;
            };
            let branch = if is_true(condition, context) {
                then
            } else {
                otherwise
            };
            earliest([
                change(condition, context, true),
                change(branch, context, ticking),
            ])
        }
        Expr::Call(Function::Since(_), arguments) => {
            let argument = earliest(arguments.iter().map(|a| change(a, context, true)));
            let own = ago(expr, context)
                .filter(|_| ticking)
                .and_then(|ago| tick(ago, context));
            earliest([argument, own])
        }
        other => earliest(
            other
                .children()
                .map(|child| change(child, context, ticking)),
        ),
    }
}

/// An "ago" value: whole units since an instant.
#[derive(Clone, Copy)]
struct Ago {
    since: Timestamp,
    unit: i64,
}

impl Ago {
    fn units(self, now: Timestamp) -> Option<i64> {
        Some(now.checked_sub(self.since)?.div_euclid(self.unit))
    }

    /// The instant at which the value becomes `units`.
    fn reaches(self, units: i64) -> Option<Timestamp> {
        self.since.checked_add(units.checked_mul(self.unit)?)
    }
}

fn ago(expr: &Expr, context: &dyn Context) -> Option<Ago> {
    let made = |since: Option<Timestamp>, unit: AgoUnit| {
        Some(Ago {
            since: since?,
            unit: unit_length(unit),
        })
    };
    match expr {
        Expr::FirstSeenAgo(unit) => made(context.first_seen(), *unit),
        Expr::LastSeenAgo(unit) => made(context.last_seen(), *unit),
        Expr::Aggregate(aggregate) => match aggregate.function {
            AggregateFunction::FirstSeenAgo(unit) => {
                made(context.event_first_seen(aggregate), unit)
            }
            AggregateFunction::LastSeenAgo(unit) => made(context.event_last_seen(aggregate), unit),
            _ => None,
        },
        Expr::Call(Function::Since(unit), arguments) => {
            made(instant_of(arguments.first()?, context), *unit)
        }
        _ => None,
    }
}

fn tick(ago: Ago, context: &dyn Context) -> Option<Timestamp> {
    ago.reaches(ago.units(context.now())?.checked_add(1)?)
}

/// A conjunction that is false stays so until every part that is false now has changed, and the
/// same for a disjunction that is true.
fn junction(items: &[Expr], context: &dyn Context, conjunction: bool) -> Option<Timestamp> {
    let mut held_until: Option<Timestamp> = None;
    let mut holds = false;
    for item in items
        .iter()
        .filter(|item| is_true(item, context) != conjunction)
    {
        holds = true;
        // A part that never changes decides the whole for ever.
        let at = change(item, context, true)?;
        held_until = held_until.max(Some(at));
    }
    if holds {
        return held_until;
    }
    earliest(items.iter().map(|item| change(item, context, true)))
}

fn comparison(
    operator: Comparison,
    left: &Expr,
    right: &Expr,
    whole: &Expr,
    context: &dyn Context,
) -> Option<Timestamp> {
    if let Expr::Duration(length) = right {
        let flip = instant_of(left, context).and_then(|at| {
            let edge = at.checked_add(*length)?;
            match operator {
                Comparison::Less | Comparison::GreaterOrEqual => Some(edge),
                _ => edge.checked_add(1),
            }
        });
        let flip = flip.filter(|at| *at > context.now());
        return earliest([change(left, context, true), flip]);
    }
    for (moving, fixed, operator) in [(left, right, operator), (right, left, operator.mirrored())] {
        if is_timeless(fixed) {
            if let Some(linear) = linear(moving, context) {
                let flip = flip(&linear, operator, fixed, whole, context);
                return earliest([
                    change(left, context, false),
                    change(right, context, false),
                    flip,
                ]);
            }
        }
    }
    earliest([change(left, context, true), change(right, context, true)])
}

/// Whether the value cannot depend on the time of evaluation but through aggregates.
fn is_timeless(expr: &Expr) -> bool {
    match expr {
        Expr::FirstSeenAgo(_) | Expr::LastSeenAgo(_) | Expr::Duration(_) => false,
        Expr::Call(Function::Since(_), _) => false,
        Expr::Aggregate(aggregate) => !matches!(
            aggregate.function,
            AggregateFunction::FirstSeenAgo(_) | AggregateFunction::LastSeenAgo(_)
        ),
        other => other.children().all(is_timeless),
    }
}

/// `slope × units + offset`, where the units are those of one "ago" value.
struct Linear {
    ago: Ago,
    slope: Decimal,
    offset: Decimal,
}

fn linear(expr: &Expr, context: &dyn Context) -> Option<Linear> {
    if let Expr::Call(Function::Since(_), arguments) = expr {
        if !arguments.iter().all(is_timeless) {
            return None;
        }
    }
    if let Some(ago) = ago(expr, context) {
        return Some(Linear {
            ago,
            slope: Decimal::from(1),
            offset: Decimal::zero(),
        });
    }
    match expr {
        Expr::Negate(inner) => {
            let inner = linear(inner, context)?;
            Some(Linear {
                ago: inner.ago,
                slope: inner.slope.neg(),
                offset: inner.offset.neg(),
            })
        }
        Expr::Arithmetic(operator, left, right) => {
            let (line, constant, ago_is_left) = match linear(left, context) {
                Some(line) => (line, right, true),
                None => (linear(right, context)?, left, false),
            };
            if !is_timeless(constant) {
                return None;
            }
            match evaluate(constant, context) {
                Value::Number(by) if !(by.is_zero() && *operator == ArithmeticOperator::Divide) => {
                    if ago_is_left {
                        line.before(*operator, &by)
                    } else {
                        line.after(*operator, &by)
                    }
                }
                // Without a number there is no value, and that is so at every instant.
                _ => Some(Linear {
                    ago: line.ago,
                    slope: Decimal::zero(),
                    offset: Decimal::zero(),
                }),
            }
        }
        _ => None,
    }
}

impl Linear {
    /// `self operator by`; None when that is not linear.
    fn before(self, operator: ArithmeticOperator, by: &Decimal) -> Option<Linear> {
        let (slope, offset) = match operator {
            ArithmeticOperator::Add => (self.slope, self.offset.checked_add(by)?),
            ArithmeticOperator::Subtract => (self.slope, self.offset.checked_sub(by)?),
            ArithmeticOperator::Multiply => {
                (self.slope.checked_mul(by)?, self.offset.checked_mul(by)?)
            }
            ArithmeticOperator::Divide => {
                (self.slope.checked_div(by)?, self.offset.checked_div(by)?)
            }
            ArithmeticOperator::Modulo => return None,
        };
        Some(Linear {
            ago: self.ago,
            slope,
            offset,
        })
    }

    /// `by operator self`; None when that is not linear.
    fn after(self, operator: ArithmeticOperator, by: &Decimal) -> Option<Linear> {
        match operator {
            ArithmeticOperator::Add | ArithmeticOperator::Multiply => self.before(operator, by),
            ArithmeticOperator::Subtract => Linear {
                ago: self.ago,
                slope: self.slope.neg(),
                offset: self.offset.neg(),
            }
            .before(ArithmeticOperator::Add, by),
            ArithmeticOperator::Divide | ArithmeticOperator::Modulo => None,
        }
    }
}

/// The first whole unit after now at which the comparison has another result.
fn flip(
    line: &Linear,
    operator: Comparison,
    fixed: &Expr,
    whole: &Expr,
    context: &dyn Context,
) -> Option<Timestamp> {
    let Value::Number(bound) = evaluate(fixed, context) else {
        // Compared with no number the result is the same for ever.
        return None;
    };
    let current = line.ago.units(context.now())?;
    if line.slope == Decimal::from(1) && line.offset.is_zero() {
        if let Some(bound) = bound.to_i64() {
            return flip_of_whole_units(line.ago, operator, current, bound);
        }
    }
    // Where the line meets the bound; rounding of divisions may move it by a unit, so the units
    // around it are tried by evaluating the comparison itself.
    let meeting = bound.checked_sub(&line.offset)?.checked_div(&line.slope)?;
    let meeting = meeting.floor()?.to_i64()?;
    let now = is_true(whole, context);
    (-1..=2)
        .filter_map(|step| meeting.checked_add(step))
        .filter(|units| *units > current)
        .filter_map(|units| line.ago.reaches(units))
        .find(|at| is_true(whole, &Later { context, now: *at }) != now)
}

/// `units operator bound` for the common case of a plain "ago" value and a whole number.
fn flip_of_whole_units(
    ago: Ago,
    operator: Comparison,
    current: i64,
    bound: i64,
) -> Option<Timestamp> {
    let after = bound.checked_add(1)?;
    let at = match operator {
        Comparison::Less | Comparison::GreaterOrEqual => bound,
        Comparison::LessOrEqual | Comparison::Greater => after,
        Comparison::Equal | Comparison::NotEqual if current < bound => bound,
        Comparison::Equal | Comparison::NotEqual => after,
    };
    if at > current {
        ago.reaches(at)
    } else {
        None
    }
}

/// The same person at a later instant, if nothing happens until then and no window moves.
struct Later<'c> {
    context: &'c dyn Context,
    now: Timestamp,
}

impl Context for Later<'_> {
    fn now(&self) -> Timestamp {
        self.now
    }
    fn aggregate(&self, aggregate: &Aggregate) -> Value {
        self.context.aggregate(aggregate)
    }
    fn event_first_seen(&self, aggregate: &Aggregate) -> Option<Timestamp> {
        self.context.event_first_seen(aggregate)
    }
    fn event_last_seen(&self, aggregate: &Aggregate) -> Option<Timestamp> {
        self.context.event_last_seen(aggregate)
    }
    fn first_seen(&self) -> Option<Timestamp> {
        self.context.first_seen()
    }
    fn last_seen(&self) -> Option<Timestamp> {
        self.context.last_seen()
    }
    fn trait_value(&self, key: &str) -> Value {
        self.context.trait_value(key)
    }
    fn segment(&self, key: &str) -> bool {
        self.context.segment(key)
    }
    fn profile(&self, path: &[String]) -> Value {
        self.context.profile(path)
    }
    fn group(&self, path: &[String]) -> Value {
        self.context.group(path)
    }
    fn score(&self, key: &str) -> Value {
        self.context.score(key)
    }
    fn grade(&self, key: &str) -> Value {
        self.context.grade(key)
    }
    fn score_changes_at(&self, key: &str) -> Option<Timestamp> {
        self.context.score_changes_at(key)
    }
    fn property(&self, path: &[String]) -> Value {
        self.context.property(path)
    }
    fn context(&self, path: &[String]) -> Value {
        self.context.context(path)
    }
    fn message(&self, path: &[String]) -> Value {
        self.context.message(path)
    }
    fn random_key(&self) -> Option<Cow<'_, str>> {
        self.context.random_key()
    }
}
