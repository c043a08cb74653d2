//! Random expressions, as the parser could have made them.

use cdp_expr::{
    Aggregate, ArithmeticOperator, Comparison, EventSource, Expr, Function, Pattern, Position,
    TextTest,
};
use cdp_value::{
    AggregateFunction, AgoUnit, Decimal, Period, Value, Window, DAY, HOUR, MINUTE, SECOND,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

/// Parts of paths: names, keywords, indexes and texts that need quotes.
pub fn segment() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => select(vec!["plan", "total", "a", "b_1", "Straße"]).prop_map(str::to_string),
        1 => select(vec!["and", "in", "events", "true", "profile", "exists", "properties", "IN"])
            .prop_map(str::to_string),
        1 => "[0-9]{1,3}",
        1 => "[a-z \"'\\\\.é\n-]{1,6}",
    ]
}

fn path() -> impl Strategy<Value = Vec<String>> {
    vec(segment(), 1..3)
}

pub fn number() -> impl Strategy<Value = Decimal> {
    prop_oneof![
        (-20i64..2000).prop_map(Decimal::from),
        (any::<i32>(), 0i64..6).prop_filter_map("range", |(digits, scale)| {
            Decimal::from_parts(i64::from(digits).into(), scale)
        }),
        (any::<i128>(), -350i64..380).prop_filter_map("range", |(digits, scale)| {
            Decimal::parse(&format!("{digits}e{}", -scale))
        }),
    ]
}

pub fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => select(vec!["pro", "free", "Books", "", "2024-01-15T10:30:00Z", "2023-11-14"])
            .prop_map(str::to_string),
        1 => "\\PC{0,8}",
        1 => "[\\x01-\\x1f'\"\\\\]{0,4}",
    ]
}

pub fn literal() -> impl Strategy<Value = Expr> {
    prop_oneof![
        1 => Just(Value::Null),
        1 => any::<bool>().prop_map(Value::Bool),
        4 => number().prop_map(Value::Number),
        3 => text().prop_map(Value::Text),
    ]
    .prop_map(Expr::Literal)
}

pub fn unit() -> impl Strategy<Value = AgoUnit> {
    select(vec![AgoUnit::Minutes, AgoUnit::Hours, AgoUnit::Days])
}

pub fn duration() -> impl Strategy<Value = i64> {
    (1i64..100, select(vec![SECOND, MINUTE, HOUR, DAY, 7 * DAY])).prop_map(|(n, unit)| n * unit)
}

fn window() -> impl Strategy<Value = Option<Window>> {
    prop::option::of(
        (1i64..100, select(vec![MINUTE, HOUR, DAY, 7 * DAY]))
            .prop_map(|(n, unit)| Window { length: n * unit }),
    )
}

fn period() -> impl Strategy<Value = Period> {
    select(Period::ALL.to_vec())
}

/// Aggregates; `filter` makes their filters.
fn aggregate(filter: BoxedStrategy<Expr>) -> impl Strategy<Value = Expr> {
    use AggregateFunction as F;
    let function = prop_oneof![
        3 => Just((F::Count, false)),
        1 => Just((F::UniqueDays, false)),
        1 => Just((F::UniqueHours, false)),
        4 => select(vec![F::Sum, F::Avg, F::Min, F::Max, F::First, F::Last, F::Top, F::List, F::Unique])
            .prop_map(|f| (f, true)),
        1 => (1u8..100).prop_map(|p| (F::Percentile(p), true)),
        1 => duration().prop_map(|gap| (F::Sessions(gap), false)),
        1 => (1u32..5, period()).prop_map(|(most, period)| (F::LimitedCount { most, period }, false)),
        1 => (1i64..30, period(), prop::option::of(1u32..5)).prop_map(|(n, step, most)| {
            (F::DecayedCount { half_life: n * step.length(), step, most }, false)
        }),
        1 => unit().prop_map(|u| (F::FirstSeenAgo(u), false)),
        2 => unit().prop_map(|u| (F::LastSeenAgo(u), false)),
    ];
    let event = prop_oneof![
        3 => select(vec!["purchase", "app_open"]).prop_map(str::to_string),
        1 => segment(),
    ];
    (
        event,
        prop::option::weighted(0.3, filter),
        function,
        path(),
        window(),
    )
        .prop_map(
            |(event, filter, (function, needs_property), path, window)| {
                let windowless = matches!(
                    function,
                    F::FirstSeenAgo(_)
                        | F::LastSeenAgo(_)
                        | F::LimitedCount { .. }
                        | F::DecayedCount { .. }
                );
                Expr::Aggregate(Aggregate {
                    source: EventSource {
                        event,
                        filter: filter.map(Box::new),
                    },
                    function,
                    property: needs_property.then_some(path),
                    window: window.filter(|_| !windowless),
                    position: Position::default(),
                })
            },
        )
}

fn comparison() -> impl Strategy<Value = Comparison> {
    select(vec![
        Comparison::Equal,
        Comparison::NotEqual,
        Comparison::Less,
        Comparison::LessOrEqual,
        Comparison::Greater,
        Comparison::GreaterOrEqual,
    ])
}

/// Leaves that only read the event.
fn event_leaf() -> BoxedStrategy<Expr> {
    prop_oneof![3 => path().prop_map(Expr::Property), 2 => literal()].boxed()
}

fn leaf() -> BoxedStrategy<Expr> {
    let key = || select(vec!["ltv", "x y", "recency"]).prop_map(str::to_string);
    prop_oneof![
        6 => literal(),
        4 => path().prop_map(Expr::Profile),
        1 => path().prop_map(Expr::Group),
        1 => path().prop_map(Expr::Context),
        1 => path().prop_map(Expr::Message),
        1 => path().prop_map(Expr::Property),
        2 => select(vec!["ltv", "power_user", "churned", "Größe"]).prop_map(|n| Expr::Name(n.into())),
        1 => key().prop_map(Expr::Trait),
        1 => key().prop_map(Expr::Segment),
        1 => key().prop_map(Expr::Score),
        1 => key().prop_map(Expr::Grade),
        1 => key().prop_map(Expr::Attribute),
        1 => Just(Expr::FirstSeen),
        1 => Just(Expr::LastSeen),
        2 => unit().prop_map(Expr::FirstSeenAgo),
        2 => unit().prop_map(Expr::LastSeenAgo),
        1 => (text(), proptest::option::of(1u32..)).prop_map(|(salt, n)| Expr::Bucket(salt, n)),
        1 => (text(), 0i64..=1000).prop_filter_map("range", |(salt, p)| {
            Some(Expr::Percentage(salt, Decimal::from_parts(p.into(), 1)?))
        }),
        6 => aggregate(tree(event_leaf(), true)),
    ]
    .boxed()
}

fn function(arguments: Vec<Expr>) -> impl Strategy<Value = Expr> {
    let fitting: Vec<Function> = Function::ALL
        .into_iter()
        .filter(|function| match function {
            Function::Coalesce => true,
            Function::If => arguments.len() == 3,
            Function::Round => arguments.len() < 3,
            _ => arguments.len() == 1,
        })
        .collect();
    select(fitting).prop_map(move |function| Expr::Call(function, arguments.clone()))
}

/// Two or more parts, those of the same kind taken in.
fn junction(parts: Vec<Expr>, conjunction: bool) -> Expr {
    let mut flat = Vec::new();
    for part in parts {
        match part {
            Expr::And(inner) if conjunction => flat.extend(inner),
            Expr::Or(inner) if !conjunction => flat.extend(inner),
            other => flat.push(other),
        }
    }
    if conjunction {
        Expr::And(flat)
    } else {
        Expr::Or(flat)
    }
}

fn tree(leaf: BoxedStrategy<Expr>, inside: bool) -> BoxedStrategy<Expr> {
    leaf.prop_recursive(4, 24, 3, move |inner| {
        let pair = || (inner.clone(), inner.clone());
        let boxed = |(a, b)| (Box::new(a), Box::new(b));
        let arithmetic = select(vec![
            ArithmeticOperator::Add,
            ArithmeticOperator::Subtract,
            ArithmeticOperator::Multiply,
            ArithmeticOperator::Divide,
            ArithmeticOperator::Modulo,
        ]);
        let test = select(vec![TextTest::Contains, TextTest::StartsWith, TextTest::EndsWith]);
        let ordering = comparison().prop_filter("ordering", |operator| {
            !matches!(operator, Comparison::Equal | Comparison::NotEqual)
        });
        let list = vec(inner.clone(), 0..4).prop_map(Expr::List);
        let time: BoxedStrategy<Expr> = if inside {
            inner.clone().boxed()
        } else {
            prop_oneof![Just(Expr::LastSeen), Just(Expr::FirstSeen), inner.clone()].boxed()
        };
        prop_oneof![
            2 => inner.clone().prop_map(|e| match e {
                // The parser folds the sign of a number into it.
                Expr::Literal(Value::Number(n)) => Expr::Literal(Value::Number(n.neg())),
                other => Expr::Negate(Box::new(other)),
            }),
            2 => inner.clone().prop_map(|e| Expr::Not(Box::new(e))),
            3 => vec(inner.clone(), 2..4).prop_map(|parts| junction(parts, true)),
            3 => vec(inner.clone(), 2..4).prop_map(|parts| junction(parts, false)),
            5 => (comparison(), pair().prop_map(boxed)).prop_map(|(op, (a, b))| Expr::Compare(op, a, b)),
            2 => (ordering, time, duration()).prop_map(|(op, a, d)| {
                Expr::Compare(op, Box::new(a), Box::new(Expr::Duration(d)))
            }),
            4 => (arithmetic, pair().prop_map(boxed))
                .prop_map(|(op, (a, b))| Expr::Arithmetic(op, a, b)),
            2 => (test, pair().prop_map(boxed)).prop_map(|(test, (a, b))| Expr::Test(test, a, b)),
            1 => (inner.clone(), select(vec!["^a", "o+$", "[0-9]{2}", "é\\."])).prop_map(|(e, p)| {
                Expr::Matches(Box::new(e), Pattern::new(p).expect("pattern"))
            }),
            2 => (inner.clone(), list.clone())
                .prop_map(|(e, list)| Expr::In(Box::new(e), Box::new(list))),
            1 => (inner.clone(), inner.clone())
                .prop_map(|(e, list)| Expr::In(Box::new(e), Box::new(list))),
            1 => list,
            3 => vec(inner.clone(), 1..4).prop_flat_map(function),
        ]
    })
    .boxed()
}

/// Any expression about a person, as it is after its references were filled in.
pub fn of_a_person() -> BoxedStrategy<Expr> {
    let key = || select(vec!["lead", "vip", "it's"]).prop_map(str::to_string);
    let leaf = prop_oneof![
        5 => literal(),
        5 => path().prop_map(Expr::Profile),
        1 => path().prop_map(Expr::Group),
        1 => key().prop_map(Expr::Segment),
        1 => key().prop_map(Expr::Score),
        1 => key().prop_map(Expr::Grade),
        1 => Just(Expr::FirstSeen),
        1 => Just(Expr::LastSeen),
        2 => unit().prop_map(Expr::FirstSeenAgo),
        2 => unit().prop_map(Expr::LastSeenAgo),
        1 => (text(), proptest::option::of(1u32..1000)).prop_map(|(salt, n)| Expr::Bucket(salt, n)),
        1 => (text(), 0i64..=1000).prop_filter_map("range", |(salt, p)| {
            Some(Expr::Percentage(salt, Decimal::from_parts(p.into(), 1)?))
        }),
        12 => aggregate(filter()),
    ];
    tree(leaf.boxed(), false)
}

/// The filter of an event: whatever only reads its properties and not the clock.
fn filter() -> BoxedStrategy<Expr> {
    tree(event_leaf(), true)
        .prop_filter("clock", |filter| {
            let mut timeless = true;
            filter.walk(&mut |node| {
                timeless &= !matches!(node, Expr::Call(Function::Since(_), _) | Expr::Duration(_));
            });
            timeless
        })
        .boxed()
}

/// Any expression, with every kind of node.
pub fn expression() -> BoxedStrategy<Expr> {
    tree(leaf(), false)
}

/// An expression over ages and constants only, where time is everything.
pub fn of_time() -> BoxedStrategy<Expr> {
    let constant = || (-3i64..60).prop_map(Expr::number);
    let leaf = prop_oneof![
        3 => unit().prop_map(Expr::FirstSeenAgo),
        4 => unit().prop_map(Expr::LastSeenAgo),
        2 => unit().prop_map(|u| {
            Expr::Aggregate(Aggregate {
                source: EventSource { event: "purchase".into(), filter: None },
                function: AggregateFunction::LastSeenAgo(u),
                property: None,
                window: None,
                position: Position::default(),
            })
        }),
        1 => unit().prop_map(|u| {
            let signup = Expr::Profile(vec!["signup".into()]);
            Expr::Call(Function::Since(u), vec![signup])
        }),
        1 => Just(Expr::LastSeen),
        1 => Just(Expr::Profile(vec!["signup".into()])),
        1 => Just(Expr::Profile(vec!["plan".into()])),
        6 => constant(),
    ];
    tree(leaf.boxed(), false)
}
