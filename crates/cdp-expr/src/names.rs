//! The words of the language: roots, aggregates with their windows, functions.

use crate::ast::{Expr, Function};
use crate::error::did_you_mean;
use cdp_value::{
    AggregateFunction, AgoUnit, Decimal, Period, Value, Window, DAY, HOUR, MINUTE, SECOND,
};

/// Longest duration or window: 1,000 years of days.
const LONGEST: i64 = 365_250 * DAY;

/// Why a name was refused; the caller knows the position.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) message: String,
    pub(crate) hint: String,
}

impl Refusal {
    fn new(message: impl Into<String>, hint: impl Into<String>) -> Refusal {
        Refusal {
            message: message.into(),
            hint: hint.into(),
        }
    }
}

/// What stands before the first dot of a path, and the node it makes.
pub(crate) fn root(head: &str) -> Option<fn(Vec<String>) -> Expr> {
    Some(match head {
        "profile" => Expr::Profile,
        "group" => Expr::Group,
        "properties" => Expr::Property,
        "context" => Expr::Context,
        "message" => Expr::Message,
        _ => return None,
    })
}

/// How a root is used, for those who wrote it alone.
pub(crate) fn root_example(head: &str) -> Option<&'static str> {
    Some(match head {
        "profile" => "profile.plan",
        "group" => "group.plan",
        "properties" => "properties.total",
        "context" => "context.country",
        "message" => "message.event",
        _ => return None,
    })
}

/// A single word with a fixed meaning.
pub(crate) fn word(text: &str) -> Option<Expr> {
    Some(match text {
        "first_seen" => Expr::FirstSeen,
        "last_seen" => Expr::LastSeen,
        _ => {
            if let Some(unit) = ago(text, "first_seen_") {
                Expr::FirstSeenAgo(unit)
            } else if let Some(unit) = ago(text, "last_seen_") {
                Expr::LastSeenAgo(unit)
            } else {
                return literal(text).map(Expr::Literal);
            }
        }
    })
}

fn literal(text: &str) -> Option<Value> {
    match text.to_ascii_lowercase().as_str() {
        "null" => Some(Value::Null),
        "true" => Some(Value::Bool(true)),
        "false" => Some(Value::Bool(false)),
        _ => None,
    }
}

/// Person-level words, for suggestions.
pub(crate) const WORDS: [&str; 8] = [
    "first_seen",
    "last_seen",
    "first_seen_minutes_ago",
    "first_seen_hours_ago",
    "first_seen_days_ago",
    "last_seen_minutes_ago",
    "last_seen_hours_ago",
    "last_seen_days_ago",
];

/// Whether the word is an operator, in any case.
pub(crate) fn is_operator_word(name: &str) -> bool {
    const OPERATORS: [&str; 8] = [
        "or",
        "and",
        "not",
        "in",
        "contains",
        "starts_with",
        "ends_with",
        "matches",
    ];
    OPERATORS.contains(&name.to_ascii_lowercase().as_str())
}

/// Whether a bare word in an event's filter is something other than a property.
pub(crate) fn is_reserved_inside(name: &str) -> bool {
    name == "events" || is_operator_word(name) || literal(name).is_some()
}

/// The name of a unit of "ago" values.
pub(crate) fn unit_name(unit: AgoUnit) -> &'static str {
    match unit {
        AgoUnit::Minutes => "minutes",
        AgoUnit::Hours => "hours",
        AgoUnit::Days => "days",
    }
}

fn ago(name: &str, prefix: &str) -> Option<AgoUnit> {
    match name.strip_prefix(prefix)?.strip_suffix("_ago")? {
        "minutes" => Some(AgoUnit::Minutes),
        "hours" => Some(AgoUnit::Hours),
        "days" => Some(AgoUnit::Days),
        _ => None,
    }
}

/// Microseconds of `30d`, `2w`, `12h`, `5m`, `10s`; None when it is none or too long.
pub(crate) fn duration(text: &str) -> Option<i64> {
    let (unit_at, unit) = text.char_indices().last()?;
    let unit = match unit {
        'w' => 7 * DAY,
        'd' => DAY,
        'h' => HOUR,
        'm' => MINUTE,
        's' => SECOND,
        _ => return None,
    };
    let digits = text.get(..unit_at)?;
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let length = digits.parse::<i64>().ok()?.checked_mul(unit)?;
    (length <= LONGEST).then_some(length)
}

/// The shortest way to write a duration.
pub(crate) fn duration_text(length: i64) -> String {
    for (unit, name) in [(DAY, 'd'), (HOUR, 'h'), (MINUTE, 'm')] {
        if length % unit == 0 && length != 0 {
            return format!("{}{name}", length / unit);
        }
    }
    format!("{}s", length / SECOND)
}

/// What an aggregate's name and arguments say.
#[derive(Debug)]
pub(crate) struct NamedAggregate {
    pub(crate) function: AggregateFunction,
    pub(crate) property: Option<Vec<String>>,
    pub(crate) window: Option<Window>,
}

/// Aggregates without their window and argument; percentiles are `p1` … `p99`.
const AGGREGATES: [&str; 17] = [
    "count",
    "limited_count",
    "decayed_count",
    "unique_days",
    "unique_hours",
    "sum",
    "avg",
    "min",
    "max",
    "first",
    "last",
    "top",
    "list",
    "unique",
    "sessions",
    "p50",
    "p95",
];

enum Argument {
    Nothing,
    Property,
    Gap,
    /// `(3, 1d)`: most events of a period.
    Limit,
    /// `(7d)`, `(7d, 1h)`, `(7d, 1d, 3)`: half-life, step, most events of a step.
    Decay,
}

fn base(name: &str) -> Option<(AggregateFunction, Argument)> {
    use AggregateFunction as F;
    Some(match name {
        "count" => (F::Count, Argument::Nothing),
        "unique_days" => (F::UniqueDays, Argument::Nothing),
        "unique_hours" => (F::UniqueHours, Argument::Nothing),
        "sum" => (F::Sum, Argument::Property),
        "avg" => (F::Avg, Argument::Property),
        "min" => (F::Min, Argument::Property),
        "max" => (F::Max, Argument::Property),
        "first" => (F::First, Argument::Property),
        "last" => (F::Last, Argument::Property),
        "top" => (F::Top, Argument::Property),
        "list" => (F::List, Argument::Property),
        "unique" => (F::Unique, Argument::Property),
        "sessions" => (F::Sessions(0), Argument::Gap),
        "limited_count" => (
            F::LimitedCount {
                most: 1,
                period: Period::Day,
            },
            Argument::Limit,
        ),
        "decayed_count" => (
            F::DecayedCount {
                half_life: DAY,
                step: Period::Day,
                most: None,
            },
            Argument::Decay,
        ),
        _ => {
            if let Some(unit) = ago(name, "first_seen_") {
                (F::FirstSeenAgo(unit), Argument::Nothing)
            } else if let Some(unit) = ago(name, "last_seen_") {
                (F::LastSeenAgo(unit), Argument::Nothing)
            } else {
                let digits = name.strip_prefix('p')?;
                let percent: u8 = digits.parse().ok()?;
                if !(1..=99).contains(&percent) || digits.starts_with(['0', '+']) {
                    return None;
                }
                (F::Percentile(percent), Argument::Property)
            }
        }
    })
}

/// Reads `count_7d`, `sum_30d` with `(total)`, `sessions_30d` with `(30m)`, `last_seen_days_ago`.
pub(crate) fn aggregate(name: &str, arguments: Option<&[Expr]>) -> Result<NamedAggregate, Refusal> {
    let (stem, suffix) = match base(name) {
        Some(_) => (name, None),
        None => match name.rsplit_once('_') {
            Some((stem, suffix)) if base(stem).is_some() => (stem, Some(suffix)),
            _ => return Err(unknown_aggregate(name)),
        },
    };
    let Some((mut function, argument)) = base(stem) else {
        return Err(unknown_aggregate(name));
    };
    let window = suffix
        .map(|suffix| window(name, stem, suffix))
        .transpose()?;
    if window.is_some()
        && matches!(
            function,
            AggregateFunction::FirstSeenAgo(_)
                | AggregateFunction::LastSeenAgo(_)
                | AggregateFunction::LimitedCount { .. }
                | AggregateFunction::DecayedCount { .. }
        )
    {
        let hint = format!("write {stem} without one");
        return Err(Refusal::new(format!("{stem} takes no window"), hint));
    }
    let property = match (argument, arguments) {
        (Argument::Nothing, None | Some([])) => None,
        (Argument::Nothing, Some(_)) => {
            let hint = match stem {
                "count" => {
                    "to count only some events write events.name[condition].count".to_string()
                }
                _ => format!("write {name} without parentheses"),
            };
            return Err(Refusal::new(format!("{name} takes no argument"), hint));
        }
        (Argument::Property, Some([Expr::Property(path)])) => Some(path.clone()),
        (Argument::Property, _) => {
            return Err(Refusal::new(
                format!("{name} needs the name of one property"),
                format!("write {name}(price)"),
            ));
        }
        (Argument::Gap, Some([Expr::Duration(gap)])) if *gap > 0 => {
            function = AggregateFunction::Sessions(*gap);
            None
        }
        (Argument::Gap, _) => {
            return Err(Refusal::new(
                format!("{name} needs the gap that ends a session"),
                format!("write {name}(30m)"),
            ));
        }
        (Argument::Limit, arguments) => {
            function = limited(arguments.unwrap_or_default()).ok_or_else(|| {
                Refusal::new(
                    format!("{name} needs how many events of which period count"),
                    format!("write {name}(3, 1d); periods are 1h, 1d and 7d"),
                )
            })?;
            None
        }
        (Argument::Decay, arguments) => {
            function = decayed(arguments.unwrap_or_default()).ok_or_else(|| {
                Refusal::new(
                    format!("{name} needs a half-life"),
                    format!(
                        "write {name}(14d), or {name}(14d, 1d, 3) for steps of a day with at most 3 events each"
                    ),
                )
            })?;
            None
        }
    };
    Ok(NamedAggregate {
        function,
        property,
        window,
    })
}

fn limited(arguments: &[Expr]) -> Option<AggregateFunction> {
    let [most, period] = arguments else {
        return None;
    };
    let (most, period) = (most_events(most)?, period_of(period)?);
    Some(AggregateFunction::LimitedCount { most, period })
}

fn decayed(arguments: &[Expr]) -> Option<AggregateFunction> {
    let (half_life, rest) = arguments.split_first()?;
    let Expr::Duration(half_life) = half_life else {
        return None;
    };
    let (step, most) = match rest {
        [] => (Period::default_step(*half_life), None),
        [step] => (period_of(step)?, None),
        [step, most] => (period_of(step)?, Some(most_events(most)?)),
        _ => return None,
    };
    (*half_life >= step.length()).then_some(AggregateFunction::DecayedCount {
        half_life: *half_life,
        step,
        most,
    })
}

fn most_events(expr: &Expr) -> Option<u32> {
    match expr {
        Expr::Literal(Value::Number(most)) => {
            u32::try_from(most.to_i64()?).ok().filter(|most| *most > 0)
        }
        _ => None,
    }
}

fn period_of(expr: &Expr) -> Option<Period> {
    match expr {
        Expr::Duration(length) => Period::ALL
            .into_iter()
            .find(|period| period.length() == *length),
        _ => None,
    }
}

fn window(name: &str, stem: &str, suffix: &str) -> Result<Window, Refusal> {
    match duration(suffix) {
        Some(length) if length > 0 && !suffix.ends_with('s') => Ok(Window { length }),
        Some(_) => Err(Refusal::new(
            format!("the window of {name} is too short"),
            format!("write for example {stem}_7d"),
        )),
        None => {
            let digits: String = suffix.chars().take_while(char::is_ascii_digit).collect();
            let message = if digits.is_empty() {
                return Err(unknown_aggregate(name));
            } else if digits.len() == suffix.len() {
                format!("the window of {name} has no unit")
            } else {
                format!("{suffix} is not a window")
            };
            Err(Refusal::new(
                message,
                "windows are whole minutes, hours, days or weeks: 30m, 12h, 7d, 2w",
            ))
        }
    }
}

fn unknown_aggregate(name: &str) -> Refusal {
    let (stem, window) = match name.rsplit_once('_') {
        Some((stem, suffix)) if duration(suffix).is_some() => (stem, Some(suffix)),
        _ => (name, None),
    };
    let percent = stem.strip_prefix('p').unwrap_or_default();
    if !percent.is_empty() && percent.bytes().all(|byte| byte.is_ascii_digit()) {
        let hint = "percentiles go from p1 to p99".to_string();
        return Refusal::new(format!("unknown aggregate {name}"), hint);
    }
    let known = AGGREGATES.iter().copied().chain(WORDS);
    let suggestion = crate::error::closest(stem, known).map(|stem| match window {
        Some(window) => format!("did you mean {stem}_{window}?"),
        None => format!("did you mean {stem}?"),
    });
    let hint = suggestion.unwrap_or_else(|| {
        format!(
            "the aggregates are {}; most take a window, such as count_7d",
            AGGREGATES.join(", ")
        )
    });
    Refusal::new(format!("unknown aggregate {name}"), hint)
}

/// An aggregate's name with its window and argument, as it is written.
pub(crate) fn aggregate_text(
    function: AggregateFunction,
    window: Option<Window>,
    property: Option<String>,
) -> String {
    use AggregateFunction as F;
    let mut text = match function {
        F::Count => "count".to_string(),
        F::UniqueDays => "unique_days".to_string(),
        F::UniqueHours => "unique_hours".to_string(),
        F::Sum => "sum".to_string(),
        F::Avg => "avg".to_string(),
        F::Min => "min".to_string(),
        F::Max => "max".to_string(),
        F::First => "first".to_string(),
        F::Last => "last".to_string(),
        F::Top => "top".to_string(),
        F::List => "list".to_string(),
        F::Unique => "unique".to_string(),
        F::Percentile(percent) => format!("p{percent}"),
        F::Sessions(_) => "sessions".to_string(),
        F::LimitedCount { .. } => "limited_count".to_string(),
        F::DecayedCount { .. } => "decayed_count".to_string(),
        F::FirstSeenAgo(unit) => format!("first_seen_{}_ago", unit_name(unit)),
        F::LastSeenAgo(unit) => format!("last_seen_{}_ago", unit_name(unit)),
    };
    if let Some(window) = window {
        text.push('_');
        text.push_str(&duration_text(window.length));
    }
    let period = |period: Period| duration_text(period.length());
    match function {
        F::Sessions(gap) => text.push_str(&format!("({})", duration_text(gap))),
        F::LimitedCount { most, period: of } => text.push_str(&format!("({most}, {})", period(of))),
        F::DecayedCount {
            half_life,
            step,
            most,
        } => {
            text.push_str(&format!("({}, {}", duration_text(half_life), period(step)));
            if let Some(most) = most {
                text.push_str(&format!(", {most}"));
            }
            text.push(')');
        }
        _ => {}
    }
    if let Some(property) = property {
        text.push_str(&format!("({property})"));
    }
    text
}

/// Names of references and buckets, which take texts rather than expressions.
const SPECIAL_CALLS: [&str; 7] = [
    "trait",
    "segment",
    "score",
    "grade",
    "attribute",
    "bucket",
    "percentage",
];

/// All names that can be called.
pub(crate) fn all_functions() -> impl Iterator<Item = &'static str> {
    Function::ALL
        .into_iter()
        .map(Function::name)
        .chain(SPECIAL_CALLS)
}

/// Calls whose arguments are literals: `trait("x")`, `segment("x")`, `bucket("salt", 10)`.
pub(crate) fn special_call(name: &str, arguments: &[Expr]) -> Option<Result<Expr, Refusal>> {
    let text = |expr: &Expr| match expr {
        Expr::Literal(Value::Text(text)) => Some(text.clone()),
        _ => None,
    };
    let number = |expr: &Expr| match expr {
        Expr::Literal(Value::Number(number)) => Some(number.clone()),
        _ => None,
    };
    let made = match name {
        "trait" | "segment" | "score" | "grade" | "attribute" => {
            let make = match name {
                "trait" => Expr::Trait,
                "segment" => Expr::Segment,
                "score" => Expr::Score,
                "grade" => Expr::Grade,
                _ => Expr::Attribute,
            };
            match arguments {
                [key] => text(key).map(make),
                _ => None,
            }
        }
        "bucket" => match arguments {
            [salt] => text(salt).map(|salt| Expr::Bucket(salt, None)),
            [salt, count] => text(salt).zip(number(count)).and_then(|(salt, count)| {
                let count = u32::try_from(count.to_i64()?).ok()?;
                (count > 0).then_some(Expr::Bucket(salt, Some(count)))
            }),
            _ => None,
        },
        "percentage" => match arguments {
            [salt, percent] => text(salt).zip(number(percent)).and_then(|(salt, percent)| {
                let allowed = Decimal::zero()..=Decimal::from(100);
                allowed
                    .contains(&percent)
                    .then_some(Expr::Percentage(salt, percent))
            }),
            _ => None,
        },
        _ => return None,
    };
    Some(made.ok_or_else(|| {
        let example = match name {
            "bucket" => "bucket(\"experiment\") < 10 or bucket(\"experiment\", 10)".to_string(),
            "percentage" => "percentage(\"experiment\", 25)".to_string(),
            _ => format!("{name}(\"key\")"),
        };
        Refusal::new(
            format!("{name} does not take these arguments"),
            format!("write {example}"),
        )
    }))
}

/// What to say about a wrong number of arguments.
pub(crate) fn arity_message(function: Function) -> String {
    let (fewest, most) = function.arity();
    let name = function.name();
    match (fewest, most) {
        (1, 1) => format!("{name} takes one argument"),
        (a, b) if a == b => format!("{name} takes {a} arguments"),
        (a, 1000) => format!("{name} takes {a} or more arguments"),
        (a, b) => format!("{name} takes {a} to {b} arguments"),
    }
}

/// A call with as many arguments as the function takes.
pub(crate) fn call_example(function: Function) -> &'static str {
    match function {
        Function::Exists => "exists(profile.plan)",
        Function::Coalesce => "coalesce(profile.plan, \"free\")",
        Function::If => "if(profile.plan == \"pro\", 1, 0)",
        Function::Lower => "lower(profile.email)",
        Function::Upper => "upper(profile.country)",
        Function::Length => "length(profile.name)",
        Function::Abs => "abs(profile.balance)",
        Function::Round => "round(profile.balance) or round(profile.balance, 2)",
        Function::Floor => "floor(profile.balance)",
        Function::Ceil => "ceil(profile.balance)",
        Function::Since(AgoUnit::Minutes) => "minutes_since(profile.signed_up_at)",
        Function::Since(AgoUnit::Hours) => "hours_since(profile.signed_up_at)",
        Function::Since(AgoUnit::Days) => "days_since(profile.signed_up_at)",
    }
}

/// A suggestion for an unknown bare name.
pub(crate) fn suggest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<String> {
    did_you_mean(name, known.chain(WORDS))
}

/// Resolves the escapes of a quoted text; None for a `\u` that is no character.
pub(crate) fn unescape(inner: &str) -> Option<String> {
    if !inner.contains('\\') {
        return Some(inner.to_string());
    }
    let mut text = String::with_capacity(inner.len());
    let mut rest = inner.chars();
    while let Some(character) = rest.next() {
        if character != '\\' {
            text.push(character);
            continue;
        }
        match rest.next()? {
            'b' => text.push('\u{8}'),
            'f' => text.push('\u{c}'),
            'n' => text.push('\n'),
            'r' => text.push('\r'),
            't' => text.push('\t'),
            'u' => {
                let first = hex4(&mut rest)?;
                if (0xD800..0xDC00).contains(&first) {
                    // A pair of surrogates, as JSON writes characters beyond 16 bits.
                    if (rest.next(), rest.next()) != (Some('\\'), Some('u')) {
                        return None;
                    }
                    let second = hex4(&mut rest)?;
                    if !(0xDC00..0xE000).contains(&second) {
                        return None;
                    }
                    text.push(char::from_u32(
                        0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00),
                    )?);
                } else {
                    text.push(char::from_u32(first)?);
                }
            }
            same => text.push(same),
        }
    }
    // Postgres can store no NUL in a text.
    (!text.contains('\0')).then_some(text)
}

fn hex4(characters: &mut std::str::Chars<'_>) -> Option<u32> {
    let mut code = 0;
    for _ in 0..4 {
        code = code * 16 + characters.next()?.to_digit(16)?;
    }
    Some(code)
}

/// A text in double quotes.
pub(crate) fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars() {
        match character {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            control if (control as u32) < 0x20 => {
                quoted.push_str(&format!("\\u{:04x}", control as u32));
            }
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}
