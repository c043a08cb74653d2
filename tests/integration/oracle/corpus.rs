//! Random expressions: every aggregate, filter, window, operator and reference of the language.

use super::expression::{Aggregate, Definitions, Function, Node, Span, Unit};
use super::random::Random;

/// Names of events that the streams contain. The last two come from pages and screens.
pub const EVENTS: [&str; 5] = [
    "purchase",
    "app_open",
    "Order Completed",
    "Page Viewed",
    "Screen Viewed",
];
pub const CATEGORIES: [&str; 4] = ["Books", "Games", "garden", "Toys"];

const WINDOWS: [Span; 12] = [
    Span(30, 'm'),
    Span(90, 'm'),
    Span(1, 'h'),
    Span(12, 'h'),
    Span(24, 'h'),
    Span(1, 'd'),
    Span(3, 'd'),
    Span(7, 'd'),
    Span(14, 'd'),
    Span(30, 'd'),
    Span(1, 'w'),
    Span(2, 'w'),
];
const GAPS: [Span; 4] = [Span(30, 'm'), Span(2, 'h'), Span(1, 'd'), Span(90, 'm')];
const UNITS: [Unit; 3] = [Unit::Minutes, Unit::Hours, Unit::Days];
const COMPARISONS: [&str; 6] = ["<", "<=", ">", ">=", "==", "!="];
/// Properties that are mostly numbers, and those that are not.
const NUMBERS: [&str; 3] = ["total", "quantity", "item.price"];
const VALUES: [&str; 5] = ["category", "sku", "total", "gift", "item.price"];

/// Every window that definitions use, for streams that aim at their edges.
pub fn windows() -> &'static [Span] {
    &WINDOWS
}

/// Makes nodes; `keys` are the definitions that may be referred to.
pub struct Corpus<'a> {
    pub random: &'a mut Random,
    pub definitions: &'a Definitions,
    pub keys: &'a [String],
}

impl Corpus<'_> {
    /// The expression of a trait.
    pub fn any(&mut self) -> Node {
        match self.random.below(10) {
            0..=5 => self.number(2),
            6..=7 => self.value(),
            _ => self.condition(2),
        }
    }

    /// The rule of a segment.
    pub fn rule(&mut self) -> Node {
        self.condition(2)
    }

    fn filter(&mut self) -> Option<Box<Node>> {
        if !self.random.percent(35) {
            return None;
        }
        Some(Box::new(self.event_condition(1)))
    }

    /// A condition on the properties of one event.
    fn event_condition(&mut self, depth: u32) -> Node {
        let choice = self.random.below(if depth == 0 { 7 } else { 10 });
        match choice {
            0 => equal(Node::Property("category"), self.category()),
            1 => Node::Compare(
                self.comparison(),
                Box::new(Node::Property(self.pick(&NUMBERS))),
                Box::new(self.small_number()),
            ),
            2 => Node::In(
                Box::new(Node::Property("quantity")),
                vec!["1".into(), "2".into(), "\"2\"".into()],
            ),
            3 => Node::Exists(Box::new(Node::Property(self.pick(&VALUES)))),
            4 => Node::IsNull(Box::new(Node::Property("sku")), self.random.percent(50)),
            5 => Node::Test(
                self.random
                    .pick::<&str>(&["starts_with", "ends_with", "contains"]),
                Box::new(Node::Property("category")),
                format!("\"{}\"", self.random.pick(&["B", "s", "a", "en"])),
            ),
            6 => Node::Compare(
                self.comparison(),
                Box::new(Node::Property("total")),
                Box::new(Node::Arithmetic(
                    "*",
                    Box::new(Node::Property("quantity")),
                    Box::new(Node::Literal("5".into())),
                )),
            ),
            7 => Node::Not(Box::new(self.event_condition(depth - 1))),
            8 => Node::And(vec![
                self.event_condition(depth - 1),
                self.event_condition(depth - 1),
            ]),
            _ => Node::Or(vec![
                self.event_condition(depth - 1),
                self.event_condition(depth - 1),
            ]),
        }
    }

    fn pick(&mut self, paths: &[&'static str]) -> &'static str {
        let index = self.random.index(paths.len());
        paths[index]
    }

    fn category(&mut self) -> Node {
        Node::Literal(format!("\"{}\"", self.random.pick(&CATEGORIES)))
    }

    fn comparison(&mut self) -> &'static str {
        self.pick(&COMPARISONS)
    }

    fn unit(&mut self) -> Unit {
        *self.random.pick(&UNITS)
    }

    fn window(&mut self) -> Option<Span> {
        self.random.percent(70).then(|| *self.random.pick(&WINDOWS))
    }

    fn small_number(&mut self) -> Node {
        Node::Literal(
            (*self
                .random
                .pick(&["0", "1", "2", "3", "5", "10", "19.99", "40"]))
            .to_string(),
        )
    }

    /// An aggregate that gives a number, or null.
    fn numeric_aggregate(&mut self) -> Node {
        let function = match self.random.below(14) {
            0..=2 => Function::Count,
            3 => Function::UniqueDays,
            4 => Function::UniqueHours,
            5 => Function::Sum,
            6 => Function::Avg,
            7 => Function::Min,
            8 => Function::Max,
            9 => Function::Unique,
            10 => Function::Percentile(*self.random.pick(&[1, 25, 50, 90, 99])),
            11 => Function::Sessions(*self.random.pick(&GAPS)),
            12 => Function::FirstSeenAgo(self.unit()),
            _ => Function::LastSeenAgo(self.unit()),
        };
        self.aggregate(function)
    }

    fn aggregate(&mut self, function: Function) -> Node {
        let property = match function {
            Function::Sum
            | Function::Avg
            | Function::Min
            | Function::Max
            | Function::Percentile(_) => self.pick(&NUMBERS),
            Function::First
            | Function::Last
            | Function::Top
            | Function::List
            | Function::Unique => self.pick(&VALUES),
            _ => "",
        };
        let window = match function {
            Function::FirstSeenAgo(_) | Function::LastSeenAgo(_) => None,
            _ => self.window(),
        };
        Node::Aggregate(Aggregate {
            event: self.pick(&EVENTS),
            filter: self.filter(),
            function,
            property,
            window,
        })
    }

    fn number(&mut self, depth: u32) -> Node {
        if depth == 0 || self.random.percent(50) {
            return match self.random.below(12) {
                0 => Node::Profile("age"),
                1 => Node::Group("seats"),
                2 => Node::FirstSeenAgo(self.unit()),
                3 => Node::LastSeenAgo(self.unit()),
                4 => self.reference(false).unwrap_or(Node::Profile("age")),
                _ => self.numeric_aggregate(),
            };
        }
        let number = |corpus: &mut Self| Box::new(corpus.number(depth - 1));
        match self.random.below(10) {
            0..=3 => Node::Arithmetic(
                self.pick(&["+", "-", "*", "/", "%"]),
                number(self),
                number(self),
            ),
            4 => Node::Arithmetic(
                self.pick(&["+", "-", "*", "/"]),
                number(self),
                Box::new(self.small_number()),
            ),
            5 => Node::Negate(number(self)),
            6 => Node::Coalesce(vec![self.number(depth - 1), self.small_number()]),
            7 => Node::If(
                Box::new(self.condition(depth - 1)),
                number(self),
                number(self),
            ),
            8 => Node::Call(self.pick(&["abs", "floor", "ceil"]), number(self)),
            _ => Node::Round(number(self), [0, 1, 2][self.random.index(3)]),
        }
    }

    /// Something that is not always a number.
    fn value(&mut self) -> Node {
        match self.random.below(9) {
            0 => self.aggregate(Function::First),
            1 => self.aggregate(Function::Last),
            2 => self.aggregate(Function::Top),
            3..=4 => self.aggregate(Function::List),
            5 => Node::Profile(self.pick(&["plan", "address.city"])),
            6 => Node::Call(
                self.pick(&["lower", "upper", "length"]),
                Box::new(self.aggregate(Function::Last)),
            ),
            7 => Node::Call("length", Box::new(self.aggregate(Function::List))),
            _ => Node::Coalesce(vec![Node::Profile("plan"), Node::Group("plan")]),
        }
    }

    fn reference(&mut self, segment: bool) -> Option<Node> {
        let definitions = self.definitions;
        let keys: Vec<&String> = self
            .keys
            .iter()
            .filter(|key| {
                definitions
                    .get(*key)
                    .is_some_and(|found| found.is_segment == segment)
            })
            .collect();
        if keys.is_empty() {
            return None;
        }
        let key = (*self.random.pick(&keys)).clone();
        Some(Node::Reference(key, self.random.percent(50)))
    }

    fn condition(&mut self, depth: u32) -> Node {
        if depth > 0 && self.random.percent(40) {
            let part = |corpus: &mut Self| corpus.condition(depth - 1);
            return match self.random.below(5) {
                0..=1 => Node::And(vec![part(self), part(self)]),
                2..=3 => Node::Or(vec![part(self), part(self)]),
                _ => Node::Not(Box::new(part(self))),
            };
        }
        match self.random.below(12) {
            0..=4 => {
                let inner = self.random.below(2) as u32;
                let bound = if self.random.percent(80) {
                    self.small_number()
                } else {
                    self.number(0)
                };
                Node::Compare(
                    self.comparison(),
                    Box::new(self.number(inner)),
                    Box::new(bound),
                )
            }
            5 => {
                // The form that time alone flips.
                let ago = match self.random.below(4) {
                    0 => Node::FirstSeenAgo(self.unit()),
                    1 => Node::LastSeenAgo(self.unit()),
                    2 => {
                        let unit = self.unit();
                        self.aggregate(Function::LastSeenAgo(unit))
                    }
                    _ => Node::Since(self.unit(), Box::new(Node::Profile("signup"))),
                };
                let bound = *self.random.pick(&["1", "3", "24", "60", "1440", "0"]);
                Node::Compare(
                    self.comparison(),
                    Box::new(ago),
                    Box::new(Node::Literal(bound.to_string())),
                )
            }
            6 => Node::Seen {
                first: self.random.percent(40),
                operator: self.pick(&["<", "<=", ">", ">="]),
                span: *self.random.pick(&WINDOWS),
            },
            7 => equal(self.value(), self.category()),
            8 => Node::In(
                Box::new(Node::Profile("plan")),
                vec!["\"pro\"".into(), "\"team\"".into()],
            ),
            9 => match self.random.below(4) {
                0 => Node::Exists(Box::new(self.value())),
                1 => Node::IsNull(Box::new(self.number(0)), self.random.percent(50)),
                2 => Node::Test(
                    "contains",
                    Box::new(self.aggregate(Function::List)),
                    "\"Books\"".into(),
                ),
                _ => Node::Test(
                    self.random
                        .pick::<&str>(&["starts_with", "ends_with", "contains"]),
                    Box::new(Node::Profile("plan")),
                    "\"t\"".into(),
                ),
            },
            10 => self
                .reference(true)
                .unwrap_or_else(|| equal(Node::Group("plan"), Node::Literal("\"pro\"".into()))),
            _ => {
                let reference = self.reference(false);
                Node::Compare(
                    self.comparison(),
                    Box::new(reference.unwrap_or(Node::Profile("age"))),
                    Box::new(self.small_number()),
                )
            }
        }
    }
}

fn equal(a: Node, b: Node) -> Node {
    Node::Compare("==", Box::new(a), Box::new(b))
}
