//! The tree of an expression.

use crate::pattern::Pattern;
use cdp_value::{AggregateFunction, AgoUnit, Decimal, Value, Window};
use std::hash::{Hash, Hasher};

/// The events an aggregate looks at.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct EventSource {
    /// Name of the event as it was tracked.
    pub event: String,
    /// Condition on the event's own properties; only events for which it is true are counted.
    pub filter: Option<Box<Expr>>,
}

/// Something computed over a person's events.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Aggregate {
    pub source: EventSource,
    pub function: AggregateFunction,
    /// Path of the property the function reads; None for functions that count events.
    pub property: Option<Vec<String>>,
    /// Only events of the window that ends now; None for all events.
    pub window: Option<Window>,
    /// Where its value is found; set by [`Expr::locate`].
    pub position: Position,
}

/// A number that whoever evaluates an expression gives to its aggregates, so that none has to be
/// looked up by what it is. It says nothing about meaning: all positions are equal.
#[derive(Debug, Clone, Copy, Default)]
pub struct Position(Option<u32>);

impl Position {
    /// The number, if one was given.
    pub fn get(self) -> Option<usize> {
        self.0.map(|position| position as usize)
    }
}

impl PartialEq for Position {
    fn eq(&self, _: &Position) -> bool {
        true
    }
}

impl Eq for Position {}

impl Hash for Position {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

/// An expression. Equality is equality of meaning up to names: two texts that print alike are
/// equal.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Expr {
    /// Null, true, false, a number or a text.
    Literal(Value),
    /// `30d`, in microseconds. Only beside a time in a comparison: `last_seen < 30d` is true when
    /// that time lies less than 30 days back.
    Duration(i64),
    List(Vec<Expr>),
    /// A bare name whose meaning the catalog decides: a trait, else a segment; a property of the
    /// message in filters.
    Name(String),
    /// `attribute("x")`: the computed trait of that name if there is one, else `profile.x`. Resolution leaves it
    /// where there is none, so that one that is defined later is meant from then on ([`Expr::settled`]).
    Attribute(String),
    Trait(String),
    Segment(String),
    Score(String),
    Grade(String),
    /// A trait the application sent with identify.
    Profile(Vec<String>),
    /// A trait of the person's group.
    Group(Vec<String>),
    /// A property of the event at hand: in event filters and route filters.
    Property(Vec<String>),
    /// A value that came with the question: the context of a decision or of a message.
    Context(Vec<String>),
    /// A field of the message at hand: in route filters.
    Message(Vec<String>),
    Aggregate(Aggregate),
    /// Instant of the person's first event, as text.
    FirstSeen,
    /// Instant of the person's last event, as text.
    LastSeen,
    /// Whole units since the person's first event.
    FirstSeenAgo(AgoUnit),
    /// Whole units since the person's last event.
    LastSeenAgo(AgoUnit),
    Negate(Box<Expr>),
    Not(Box<Expr>),
    /// At least two parts, none of them an And.
    And(Vec<Expr>),
    /// At least two parts, none of them an Or.
    Or(Vec<Expr>),
    Compare(Comparison, Box<Expr>, Box<Expr>),
    Arithmetic(ArithmeticOperator, Box<Expr>, Box<Expr>),
    /// `a contains b`, `a starts_with b`, `a ends_with b`.
    Test(TextTest, Box<Expr>, Box<Expr>),
    Matches(Box<Expr>, Pattern),
    /// `a in list`.
    In(Box<Expr>, Box<Expr>),
    Call(Function, Vec<Expr>),
    /// `bucket("salt", n)`: a number from 0 to n - 1 that stays the same for a person;
    /// `bucket("salt")`: one from 0 to 99.99, in hundredths.
    Bucket(String, Option<u32>),
    /// `percentage("salt", p)`: true for a stable p percent of all people.
    Percentage(String, Decimal),
}

/// Comparison operators.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Comparison {
    /// The operator as it is written.
    pub fn symbol(self) -> &'static str {
        match self {
            Comparison::Equal => "==",
            Comparison::NotEqual => "!=",
            Comparison::Less => "<",
            Comparison::LessOrEqual => "<=",
            Comparison::Greater => ">",
            Comparison::GreaterOrEqual => ">=",
        }
    }

    /// The operator that says the same with its sides exchanged.
    pub fn mirrored(self) -> Comparison {
        match self {
            Comparison::Less => Comparison::Greater,
            Comparison::LessOrEqual => Comparison::GreaterOrEqual,
            Comparison::Greater => Comparison::Less,
            Comparison::GreaterOrEqual => Comparison::LessOrEqual,
            same => same,
        }
    }

    /// Whether two values in this order satisfy the operator.
    pub(crate) fn holds(self, order: std::cmp::Ordering) -> bool {
        match self {
            Comparison::Equal => order.is_eq(),
            Comparison::NotEqual => order.is_ne(),
            Comparison::Less => order.is_lt(),
            Comparison::LessOrEqual => order.is_le(),
            Comparison::Greater => order.is_gt(),
            Comparison::GreaterOrEqual => order.is_ge(),
        }
    }
}

/// `+ - * / %`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ArithmeticOperator {
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
}

impl ArithmeticOperator {
    /// The operator as it is written.
    pub fn symbol(self) -> &'static str {
        match self {
            ArithmeticOperator::Add => "+",
            ArithmeticOperator::Subtract => "-",
            ArithmeticOperator::Multiply => "*",
            ArithmeticOperator::Divide => "/",
            ArithmeticOperator::Modulo => "%",
        }
    }
}

/// Tests of a text (or, for `contains`, of a list) against another value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TextTest {
    Contains,
    StartsWith,
    EndsWith,
}

impl TextTest {
    /// The operator as it is written.
    pub fn symbol(self) -> &'static str {
        match self {
            TextTest::Contains => "contains",
            TextTest::StartsWith => "starts_with",
            TextTest::EndsWith => "ends_with",
        }
    }
}

/// Functions that are called with arguments in parentheses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Function {
    Exists,
    Coalesce,
    If,
    Lower,
    Upper,
    Length,
    Abs,
    Round,
    Floor,
    Ceil,
    /// Whole units since a time given as ISO 8601 text.
    Since(AgoUnit),
}

impl Function {
    /// Every function, for lookups and suggestions.
    pub const ALL: [Function; 13] = [
        Function::Exists,
        Function::Coalesce,
        Function::If,
        Function::Lower,
        Function::Upper,
        Function::Length,
        Function::Abs,
        Function::Round,
        Function::Floor,
        Function::Ceil,
        Function::Since(AgoUnit::Minutes),
        Function::Since(AgoUnit::Hours),
        Function::Since(AgoUnit::Days),
    ];

    /// The name as it is written.
    pub fn name(self) -> &'static str {
        match self {
            Function::Exists => "exists",
            Function::Coalesce => "coalesce",
            Function::If => "if",
            Function::Lower => "lower",
            Function::Upper => "upper",
            Function::Length => "length",
            Function::Abs => "abs",
            Function::Round => "round",
            Function::Floor => "floor",
            Function::Ceil => "ceil",
            Function::Since(AgoUnit::Minutes) => "minutes_since",
            Function::Since(AgoUnit::Hours) => "hours_since",
            Function::Since(AgoUnit::Days) => "days_since",
        }
    }

    /// Fewest and most arguments.
    pub(crate) fn arity(self) -> (usize, usize) {
        match self {
            Function::Coalesce => (1, 1000),
            Function::If => (3, 3),
            Function::Round => (1, 2),
            _ => (1, 1),
        }
    }
}

/// Length of a unit in microseconds.
pub(crate) fn unit_length(unit: AgoUnit) -> i64 {
    match unit {
        AgoUnit::Minutes => cdp_value::MINUTE,
        AgoUnit::Hours => cdp_value::HOUR,
        AgoUnit::Days => cdp_value::DAY,
    }
}

impl Expr {
    /// A literal number.
    pub fn number(value: i64) -> Expr {
        Expr::Literal(Value::Number(Decimal::from(value)))
    }

    /// A literal text.
    pub fn text(value: impl Into<String>) -> Expr {
        Expr::Literal(Value::Text(value.into()))
    }

    /// The direct parts of this node, in the order they are written. The filter of an aggregate
    /// is a part of it.
    pub fn children(&self) -> impl Iterator<Item = &Expr> {
        let (items, pair): (&[Expr], [Option<&Expr>; 2]) = match self {
            Expr::List(items) | Expr::And(items) | Expr::Or(items) | Expr::Call(_, items) => {
                (items, [None, None])
            }
            Expr::Negate(a) | Expr::Not(a) | Expr::Matches(a, _) => (&[], [Some(a), None]),
            Expr::Compare(_, a, b)
            | Expr::Arithmetic(_, a, b)
            | Expr::Test(_, a, b)
            | Expr::In(a, b) => (&[], [Some(a), Some(b)]),
            Expr::Aggregate(aggregate) => (&[], [aggregate.source.filter.as_deref(), None]),
            _ => (&[], [None, None]),
        };
        items.iter().chain(pair.into_iter().flatten())
    }

    /// Gives every aggregate outside of filters its position.
    pub fn locate(&mut self, find: &dyn Fn(&Aggregate) -> Option<usize>) {
        match self {
            Expr::List(items) | Expr::And(items) | Expr::Or(items) | Expr::Call(_, items) => {
                items.iter_mut().for_each(|item| item.locate(find));
            }
            Expr::Negate(a) | Expr::Not(a) | Expr::Matches(a, _) => a.locate(find),
            Expr::Compare(_, a, b)
            | Expr::Arithmetic(_, a, b)
            | Expr::Test(_, a, b)
            | Expr::In(a, b) => {
                a.locate(find);
                b.locate(find);
            }
            Expr::Aggregate(aggregate) => {
                aggregate.position =
                    Position(find(aggregate).and_then(|at| u32::try_from(at).ok()));
            }
            _ => {}
        }
    }

    /// The same node over other parts, as many as [`Expr::children`] gives.
    pub(crate) fn with_children(&self, parts: Vec<Expr>) -> Expr {
        match self {
            Expr::List(_) => return Expr::List(parts),
            Expr::And(_) => return Expr::And(flattened(parts, true)),
            Expr::Or(_) => return Expr::Or(flattened(parts, false)),
            Expr::Call(function, _) => return Expr::Call(*function, parts),
            _ => {}
        }
        let mut parts = parts.into_iter().map(Box::new);
        match (self, parts.next(), parts.next()) {
            (Expr::Negate(_), Some(a), None) => Expr::Negate(a),
            (Expr::Not(_), Some(a), None) => Expr::Not(a),
            (Expr::Matches(_, pattern), Some(a), None) => Expr::Matches(a, pattern.clone()),
            (Expr::Compare(op, ..), Some(a), Some(b)) => Expr::Compare(*op, a, b),
            (Expr::Arithmetic(op, ..), Some(a), Some(b)) => Expr::Arithmetic(*op, a, b),
            (Expr::Test(op, ..), Some(a), Some(b)) => Expr::Test(*op, a, b),
            (Expr::In(..), Some(a), Some(b)) => Expr::In(a, b),
            (Expr::Aggregate(aggregate), filter @ Some(_), None) => Expr::Aggregate(Aggregate {
                source: EventSource {
                    event: aggregate.source.event.clone(),
                    filter,
                },
                ..aggregate.clone()
            }),
            (leaf, ..) => leaf.clone(),
        }
    }

    /// Calls `visit` with this node and every node below it, filters of aggregates left out.
    pub fn walk<'a>(&'a self, visit: &mut dyn FnMut(&'a Expr)) {
        visit(self);
        if !matches!(self, Expr::Aggregate(_)) {
            for child in self.children() {
                child.walk(visit);
            }
        }
    }

    pub(crate) fn collect<'a, T: PartialEq>(
        &'a self,
        pick: impl Fn(&'a Expr) -> Option<T>,
    ) -> Vec<T> {
        let mut found = Vec::new();
        self.walk(&mut |node| {
            if let Some(item) = pick(node) {
                if !found.contains(&item) {
                    found.push(item);
                }
            }
        });
        found
    }

    /// The aggregates of this expression, each once.
    pub fn aggregates(&self) -> Vec<&Aggregate> {
        self.collect(|node| match node {
            Expr::Aggregate(aggregate) => Some(aggregate),
            _ => None,
        })
    }

    /// Keys of the computed traits this expression reads directly, each once. Before
    /// [`crate::resolve`] a bare name counts as neither trait nor segment.
    pub fn trait_references(&self) -> Vec<&str> {
        self.collect(|node| match node {
            Expr::Trait(key) => Some(key.as_str()),
            _ => None,
        })
    }

    /// Keys of the segments this expression reads directly, each once.
    pub fn segment_references(&self) -> Vec<&str> {
        self.collect(|node| match node {
            Expr::Segment(key) => Some(key.as_str()),
            _ => None,
        })
    }

    /// Keys of the scores whose total or grade this expression reads, each once.
    pub fn score_references(&self) -> Vec<&str> {
        self.collect(|node| match node {
            Expr::Score(key) | Expr::Grade(key) => Some(key.as_str()),
            _ => None,
        })
    }

    /// Paths of the profile traits this expression reads, each once.
    pub fn profile_references(&self) -> Vec<&[String]> {
        self.collect(|node| match node {
            Expr::Profile(path) => Some(path.as_slice()),
            _ => None,
        })
    }

    /// Paths of the properties this expression reads, each once.
    pub fn property_references(&self) -> Vec<&[String]> {
        self.collect(|node| match node {
            Expr::Property(path) => Some(path.as_slice()),
            _ => None,
        })
    }

    /// Whether the expression reads more of the message at hand than its properties.
    pub fn uses_message(&self) -> bool {
        self.any(|node| matches!(node, Expr::Message(_) | Expr::Context(_)))
    }

    /// Whether the expression reads traits of the person's group.
    pub fn uses_group(&self) -> bool {
        self.any(|node| matches!(node, Expr::Group(_)))
    }

    /// Whether the expression reads when the person was first or last seen, in any event.
    pub fn uses_first_or_last_seen(&self) -> bool {
        self.any(|node| {
            matches!(
                node,
                Expr::FirstSeen | Expr::LastSeen | Expr::FirstSeenAgo(_) | Expr::LastSeenAgo(_)
            )
        })
    }

    fn any(&self, test: impl Fn(&Expr) -> bool) -> bool {
        let mut found = false;
        self.walk(&mut |node| found |= test(node));
        found
    }
}

/// Takes the parts of nested conjunctions (or disjunctions) into one list.
pub(crate) fn flattened(items: Vec<Expr>, conjunction: bool) -> Vec<Expr> {
    let mut flat = Vec::with_capacity(items.len());
    for item in items {
        match item {
            Expr::And(parts) if conjunction => flat.extend(parts),
            Expr::Or(parts) if !conjunction => flat.extend(parts),
            other => flat.push(other),
        }
    }
    flat
}
