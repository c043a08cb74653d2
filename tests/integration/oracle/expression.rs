//! Pairs of an expression and its oracle: each node can write itself in the expression language, and in plain
//! SQL over the raw events (`tests/oracle/oracle.sql`). Nothing here comes from the engine's own crates.
//!
//! In the SQL, `$1` is the instant, `$2` the time zone, `p` the person; `events`, `profiles` and `groups` hold
//! what is known of the namespace.

use std::collections::BTreeMap;

/// A unit of "ago" values.
#[derive(Debug, Clone, Copy)]
pub enum Unit {
    Minutes,
    Hours,
    Days,
}

impl Unit {
    fn word(self) -> &'static str {
        match self {
            Unit::Minutes => "minutes",
            Unit::Hours => "hours",
            Unit::Days => "days",
        }
    }

    fn seconds(self) -> u32 {
        match self {
            Unit::Minutes => 60,
            Unit::Hours => 3_600,
            Unit::Days => 86_400,
        }
    }
}

/// What an aggregate computes.
#[derive(Debug, Clone)]
pub enum Function {
    Count,
    UniqueDays,
    UniqueHours,
    Sum,
    Avg,
    Min,
    Max,
    First,
    Last,
    Top,
    List,
    Unique,
    Percentile(u8),
    /// With the gap that ends a session.
    Sessions(Span),
    FirstSeenAgo(Unit),
    LastSeenAgo(Unit),
}

/// A length of time as the language writes it: a number and one of `m h d w`.
#[derive(Debug, Clone, Copy)]
pub struct Span(pub u32, pub char);

impl Span {
    fn text(self) -> String {
        format!("{}{}", self.0, self.1)
    }

    pub fn minutes(self) -> i64 {
        i64::from(self.0)
            * match self.1 {
                'm' => 1,
                'h' => 60,
                'd' => 24 * 60,
                _ => 7 * 24 * 60,
            }
    }

    /// In minutes, so that no calendar plays a part.
    fn interval(self) -> String {
        format!("interval '{} minutes'", self.minutes())
    }
}

#[derive(Debug, Clone)]
pub struct Aggregate {
    pub event: &'static str,
    pub filter: Option<Box<Node>>,
    pub function: Function,
    /// Path with dots; empty for functions that count events.
    pub property: &'static str,
    pub window: Option<Span>,
}

#[derive(Debug, Clone)]
pub enum Node {
    Aggregate(Aggregate),
    /// A property of the event, in a filter.
    Property(&'static str),
    /// JSON of a number, a text, true or false.
    Literal(String),
    Profile(&'static str),
    Group(&'static str),
    FirstSeenAgo(Unit),
    LastSeenAgo(Unit),
    /// `last_seen < 30d`, or `first_seen`.
    Seen {
        first: bool,
        operator: &'static str,
        span: Span,
    },
    Arithmetic(&'static str, Box<Node>, Box<Node>),
    Negate(Box<Node>),
    Compare(&'static str, Box<Node>, Box<Node>),
    /// `x == null`, or `x != null`.
    IsNull(Box<Node>, bool),
    And(Vec<Node>),
    Or(Vec<Node>),
    Not(Box<Node>),
    In(Box<Node>, Vec<String>),
    /// `contains`, `starts_with` or `ends_with` a literal.
    Test(&'static str, Box<Node>, String),
    Exists(Box<Node>),
    Coalesce(Vec<Node>),
    If(Box<Node>, Box<Node>, Box<Node>),
    /// `abs`, `floor`, `ceil`, `lower`, `upper`, `length`.
    Call(&'static str, Box<Node>),
    Round(Box<Node>, i32),
    Since(Unit, Box<Node>),
    /// Another definition, by its key; written as a bare name or as a call.
    Reference(String, bool),
}

/// A definition: a trait or a segment.
#[derive(Debug, Clone)]
pub struct Definition {
    pub is_segment: bool,
    pub node: Node,
}

pub type Definitions = BTreeMap<String, Definition>;

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn sql_path(path: &str) -> String {
    quoted(&format!("{{{}}}", path.replace('.', ",")))
}

fn sql_property(path: &str) -> String {
    format!("nullif(e.properties #> {}, 'null')", sql_path(path))
}

fn literal(json: &str) -> String {
    format!("{}::jsonb", quoted(json))
}

/// The order of a sorted list.
fn order(value: &str, direction: &str) -> String {
    format!(
        "oracle.rank({value}) {direction}, oracle.number({value}) {direction}, ({value} #>> '{{}}') COLLATE \"C\" {direction}"
    )
}

impl Aggregate {
    fn text(&self, definitions: &Definitions) -> String {
        let event = if self.event.contains(' ') {
            format!("\"{}\"", self.event)
        } else {
            self.event.to_string()
        };
        let filter = match &self.filter {
            Some(filter) => format!("[{}]", filter.text(definitions)),
            None => String::new(),
        };
        let window = self
            .window
            .map_or_else(String::new, |span| format!("_{}", span.text()));
        let name = match &self.function {
            Function::Count => "count".to_string(),
            Function::UniqueDays => "unique_days".to_string(),
            Function::UniqueHours => "unique_hours".to_string(),
            Function::Sum => "sum".to_string(),
            Function::Avg => "avg".to_string(),
            Function::Min => "min".to_string(),
            Function::Max => "max".to_string(),
            Function::First => "first".to_string(),
            Function::Last => "last".to_string(),
            Function::Top => "top".to_string(),
            Function::List => "list".to_string(),
            Function::Unique => "unique".to_string(),
            Function::Percentile(percent) => format!("p{percent}"),
            Function::Sessions(_) => "sessions".to_string(),
            Function::FirstSeenAgo(unit) => format!("first_seen_{}_ago", unit.word()),
            Function::LastSeenAgo(unit) => format!("last_seen_{}_ago", unit.word()),
        };
        let argument = match &self.function {
            Function::Sessions(gap) => format!("({})", gap.text()),
            _ if self.property.is_empty() => String::new(),
            _ => format!("({})", self.property),
        };
        format!("events.{event}{filter}.{name}{window}{argument}")
    }

    fn sql(&self, definitions: &Definitions) -> String {
        let mut from = format!(
            "FROM events AS e WHERE e.profile_id = p.profile_id AND e.event = {} AND e.at <= $1",
            quoted(self.event)
        );
        if let Some(window) = self.window {
            from.push_str(&format!(" AND e.at >= $1 - {}", window.interval()));
        }
        if let Some(filter) = &self.filter {
            from.push_str(&format!(" AND {}", filter.holds(definitions)));
        }
        let value = sql_property(self.property);
        let values = format!("(SELECT e.at, {value} AS v {from}) AS t WHERE v IS NOT NULL");
        match &self.function {
            Function::Count => format!("(SELECT to_jsonb(count(*)) {from})"),
            Function::UniqueDays => {
                format!("(SELECT to_jsonb(count(DISTINCT (e.at AT TIME ZONE $2)::date)) {from})")
            }
            Function::UniqueHours => format!(
                "(SELECT to_jsonb(count(DISTINCT date_trunc('hour', e.at AT TIME ZONE $2))) {from})"
            ),
            Function::Sum => format!("(SELECT to_jsonb(sum(oracle.number(v))) FROM {values})"),
            Function::Avg => format!(
                "(SELECT to_jsonb(sum(oracle.number(v)) / nullif(count(oracle.number(v)), 0)) FROM {values})"
            ),
            Function::Min => format!("(SELECT to_jsonb(min(oracle.number(v))) FROM {values})"),
            Function::Max => format!("(SELECT to_jsonb(max(oracle.number(v))) FROM {values})"),
            Function::First => {
                format!("(SELECT v FROM {values} ORDER BY t.at, {} LIMIT 1)", order("v", ""))
            }
            Function::Last => format!(
                "(SELECT v FROM {values} ORDER BY t.at DESC, {} LIMIT 1)",
                order("v", "DESC")
            ),
            Function::Top => format!(
                "(SELECT v FROM {values} GROUP BY v ORDER BY count(*) DESC, {} LIMIT 1)",
                order("v", "")
            ),
            Function::List => format!(
                "(SELECT coalesce(jsonb_agg(v ORDER BY {}), '[]') FROM (SELECT DISTINCT v FROM {values}) AS d)",
                order("v", "")
            ),
            Function::Unique => format!("(SELECT to_jsonb(count(DISTINCT v)) FROM {values})"),
            Function::Percentile(percent) => format!(
                "(SELECT oracle.percentile(array_agg(oracle.number(v) ORDER BY oracle.number(v)), {percent}) \
                 FROM {values} AND oracle.number(v) IS NOT NULL)"
            ),
            Function::Sessions(gap) => format!(
                "(SELECT to_jsonb(count(*)) FROM (SELECT e.at - lag(e.at) OVER (ORDER BY e.at) AS pause {from}) AS t \
                 WHERE pause IS NULL OR pause > {})",
                gap.interval()
            ),
            Function::FirstSeenAgo(unit) => format!(
                "(SELECT oracle.ago(min(e.at), $1, {}) {from})",
                unit.seconds()
            ),
            Function::LastSeenAgo(unit) => format!(
                "(SELECT oracle.ago(max(e.at), $1, {}) {from})",
                unit.seconds()
            ),
        }
    }
}

/// The first (`min`) or last (`max`) event of the person.
fn seen(function: &str) -> String {
    format!("(SELECT {function}(e.at) FROM events AS e WHERE e.profile_id = p.profile_id AND e.at <= $1)")
}

impl Node {
    /// The node in the expression language.
    pub fn text(&self, definitions: &Definitions) -> String {
        let text = |node: &Node| node.text(definitions);
        let joined = |nodes: &[Node], word: &str| {
            let parts: Vec<String> = nodes.iter().map(text).collect();
            format!("({})", parts.join(word))
        };
        match self {
            Node::Aggregate(aggregate) => aggregate.text(definitions),
            Node::Property(path) => (*path).to_string(),
            Node::Literal(json) => json.clone(),
            Node::Profile(path) => format!("profile.{path}"),
            Node::Group(path) => format!("group.{path}"),
            Node::FirstSeenAgo(unit) => format!("first_seen_{}_ago", unit.word()),
            Node::LastSeenAgo(unit) => format!("last_seen_{}_ago", unit.word()),
            Node::Seen {
                first,
                operator,
                span,
            } => {
                let word = if *first { "first_seen" } else { "last_seen" };
                format!("({word} {operator} {})", span.text())
            }
            Node::Arithmetic(operator, a, b) => format!("({} {operator} {})", text(a), text(b)),
            Node::Negate(a) => format!("(-({}))", text(a)),
            Node::Compare(operator, a, b) => format!("({} {operator} {})", text(a), text(b)),
            Node::IsNull(a, true) => format!("({} == null)", text(a)),
            Node::IsNull(a, false) => format!("({} != null)", text(a)),
            Node::And(parts) => joined(parts, " && "),
            Node::Or(parts) => joined(parts, " or "),
            Node::Not(a) => format!("!({})", text(a)),
            Node::In(a, items) => format!("({} in [{}])", text(a), items.join(", ")),
            Node::Test(test, a, part) => format!("({} {test} {part})", text(a)),
            Node::Exists(a) => format!("exists({})", text(a)),
            Node::Coalesce(parts) => format!("coalesce{}", joined(parts, ", ")),
            Node::If(a, b, c) => format!("if({}, {}, {})", text(a), text(b), text(c)),
            Node::Call(name, a) => format!("{name}({})", text(a)),
            Node::Round(a, digits) => format!("round({}, {digits})", text(a)),
            Node::Since(unit, a) => format!("{}_since({})", unit.word(), text(a)),
            Node::Reference(key, true) => key.clone(),
            Node::Reference(key, false) => match definitions.get(key) {
                Some(Definition {
                    is_segment: true, ..
                }) => format!("segment(\"{key}\")"),
                _ => format!("trait(\"{key}\")"),
            },
        }
    }

    /// SQL of the value: jsonb, or null.
    pub fn sql(&self, definitions: &Definitions) -> String {
        let sql = |node: &Node| node.sql(definitions);
        let number = |node: &Node| format!("oracle.number({})", node.sql(definitions));
        match self {
            Node::Aggregate(aggregate) => aggregate.sql(definitions),
            Node::Property(path) => sql_property(path),
            Node::Literal(json) => literal(json),
            Node::Profile(path) => leaf("profiles", path),
            Node::Group(path) => leaf("groups", path),
            Node::FirstSeenAgo(unit) => {
                format!("oracle.ago({}, $1, {})", seen("min"), unit.seconds())
            }
            Node::LastSeenAgo(unit) => {
                format!("oracle.ago({}, $1, {})", seen("max"), unit.seconds())
            }
            Node::Arithmetic(operator @ ("/" | "%"), a, b) => {
                format!(
                    "to_jsonb({} {operator} nullif({}, 0))",
                    number(a),
                    number(b)
                )
            }
            Node::Arithmetic(operator, a, b) => {
                format!("to_jsonb({} {operator} {})", number(a), number(b))
            }
            Node::Negate(a) => format!("to_jsonb(- {})", number(a)),
            Node::Coalesce(parts) => {
                let parts: Vec<String> = parts.iter().map(sql).collect();
                format!("coalesce({})", parts.join(", "))
            }
            Node::If(a, b, c) => format!(
                "CASE WHEN {} THEN {} ELSE {} END",
                a.holds(definitions),
                sql(b),
                sql(c)
            ),
            Node::Call("length", a) => format!("oracle.length({})", sql(a)),
            Node::Call(name @ ("lower" | "upper"), a) => {
                format!("to_jsonb({name}(oracle.text({})))", sql(a))
            }
            Node::Call(name, a) => format!("to_jsonb({name}({}))", number(a)),
            Node::Round(a, digits) => format!("to_jsonb(round({}, {digits}))", number(a)),
            Node::Since(unit, a) => format!(
                "oracle.ago(oracle.text({})::timestamptz, $1, {})",
                sql(a),
                unit.seconds()
            ),
            Node::Reference(key, _) => match definitions.get(key) {
                Some(Definition {
                    is_segment: false,
                    node,
                }) => sql(node),
                _ => format!("to_jsonb({})", self.holds(definitions)),
            },
            _ => format!("to_jsonb({})", self.holds(definitions)),
        }
    }

    /// SQL of the condition: true or false, never null.
    pub fn holds(&self, definitions: &Definitions) -> String {
        let sql = |node: &Node| node.sql(definitions);
        let joined = |nodes: &[Node], word: &str| {
            let parts: Vec<String> = nodes.iter().map(|node| node.holds(definitions)).collect();
            format!("({})", parts.join(word))
        };
        match self {
            Node::Seen {
                first,
                operator,
                span,
            } => {
                let at = seen(if *first { "min" } else { "max" });
                format!("coalesce($1 - {at} {operator} {}, false)", span.interval())
            }
            Node::Compare(operator, a, b) => {
                let (a, b) = (sql(a), sql(b));
                match *operator {
                    "==" => format!("oracle.equal({a}, {b})"),
                    "!=" => format!("oracle.unequal({a}, {b})"),
                    "<" => format!("oracle.less({a}, {b})"),
                    "<=" => format!("oracle.less_or_equal({a}, {b})"),
                    ">" => format!("oracle.less({b}, {a})"),
                    _ => format!("oracle.less_or_equal({b}, {a})"),
                }
            }
            Node::IsNull(a, true) => format!("({}) IS NULL", sql(a)),
            Node::IsNull(a, false) | Node::Exists(a) => format!("({}) IS NOT NULL", sql(a)),
            Node::And(parts) => joined(parts, " AND "),
            Node::Or(parts) => joined(parts, " OR "),
            Node::Not(a) => format!("NOT ({})", a.holds(definitions)),
            Node::In(a, items) => {
                let items: Vec<String> = items.iter().map(|item| literal(item)).collect();
                format!(
                    "(SELECT coalesce(bool_or(oracle.equal(t.v, i)), false) FROM (SELECT {} AS v) AS t, unnest(ARRAY[{}]) AS i)",
                    sql(a),
                    items.join(", ")
                )
            }
            Node::Test(test, a, part) => format!("oracle.{test}({}, {})", sql(a), literal(part)),
            Node::Reference(key, _) => match definitions.get(key) {
                Some(Definition {
                    is_segment: true,
                    node,
                }) => format!("({})", node.holds(definitions)),
                _ => format!("coalesce({} = 'true', false)", sql(self)),
            },
            other => format!("coalesce({} = 'true', false)", sql(other)),
        }
    }

    /// Keys of the definitions it refers to.
    pub fn references(&self) -> Vec<&str> {
        match self {
            Node::Reference(key, _) => vec![key],
            _ => self
                .parts()
                .into_iter()
                .flat_map(Node::references)
                .collect(),
        }
    }

    /// Whether it reads how long ago something was.
    pub fn ticks(&self, definitions: &Definitions) -> bool {
        match self {
            Node::FirstSeenAgo(_) | Node::LastSeenAgo(_) | Node::Since(..) => true,
            Node::Aggregate(aggregate) => matches!(
                aggregate.function,
                Function::FirstSeenAgo(_) | Function::LastSeenAgo(_)
            ),
            Node::Reference(key, _) => definitions
                .get(key)
                .is_some_and(|found| found.node.ticks(definitions)),
            _ => self.parts().into_iter().any(|part| part.ticks(definitions)),
        }
    }

    fn parts(&self) -> Vec<&Node> {
        match self {
            Node::Arithmetic(_, a, b) | Node::Compare(_, a, b) => vec![a, b],
            Node::Negate(a)
            | Node::IsNull(a, _)
            | Node::Not(a)
            | Node::In(a, _)
            | Node::Test(_, a, _)
            | Node::Exists(a)
            | Node::Call(_, a)
            | Node::Round(a, _)
            | Node::Since(_, a) => vec![a],
            Node::And(parts) | Node::Or(parts) | Node::Coalesce(parts) => parts.iter().collect(),
            Node::If(a, b, c) => vec![a, b, c],
            _ => Vec::new(),
        }
    }
}

fn leaf(table: &str, path: &str) -> String {
    format!(
        "(SELECT t.value FROM {table} AS t WHERE t.profile_id = p.profile_id AND t.path = {})",
        sql_path(path)
    )
}
