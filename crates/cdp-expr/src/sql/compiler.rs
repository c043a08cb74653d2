//! Expressions about a person, and filters about an event, as SQL.

use super::aggregates::Aggregates;
use super::calls::{ago, bucket};
use super::columns::{Paths, Uses};
use super::fragment::{Bounds, Converter, Fragment, Kind};
use super::{functions, quote, SqlError, SqlNames};
use crate::ast::{ArithmeticOperator, Comparison, Expr, Function, TextTest};
use crate::bucket::{HUNDREDTHS, PERCENTAGE_BUCKETS};
use cdp_value::{Decimal, Value};

/// The instant of the evaluation.
pub(super) const NOW: &str = "$2::timestamptz";

/// Members that are read of one `jsonb` column, and how.
#[derive(Debug, Default)]
pub(super) struct Reads {
    pub(super) paths: Paths,
    pub(super) uses: Uses,
}

impl Reads {
    fn value(&mut self, path: &[String], alias: &str) -> Fragment {
        self.uses.value(self.paths.position(path), alias)
    }

    fn member(&mut self, path: &[String], alias: &str) -> Fragment {
        self.uses.member(self.paths.position(path), alias)
    }
}

/// Compiles parts of one statement and collects what they read.
pub(super) struct Compiler<'n> {
    pub(super) converter: Converter<'n>,
    aggregates: Aggregates,
    /// Profile traits that are read: the columns `t.j0`, …
    profile: Reads,
    /// Group traits that are read: the columns `g.j0`, …
    group: Reads,
    /// Within an event's filter: the properties that are read, `e.j0`, …
    filter: Option<Reads>,
}

impl<'n> Compiler<'n> {
    pub(super) fn new(names: &'n SqlNames<'n>) -> Compiler<'n> {
        Compiler {
            converter: Converter::new(names),
            aggregates: Aggregates::default(),
            profile: Reads::default(),
            group: Reads::default(),
            filter: None,
        }
    }

    /// What the compiled parts read besides `p`, to be put behind it.
    pub(super) fn joins(self) -> String {
        let mut joins = String::new();
        let names = self.converter.names;
        for (alias, table, reads) in [
            ("t", names.profile_traits, &self.profile),
            ("g", names.groups, &self.group),
        ] {
            if !reads.paths.0.is_empty() {
                let keep = format!("{alias}.profile_id");
                let source = reads
                    .uses
                    .source(&reads.paths, (table, "traits", &keep), &[], alias);
                joins.push_str(&format!(
                    "\nLEFT JOIN {source} ON {alias}.profile_id = p.profile_id"
                ));
            }
        }
        joins.push_str(&self.aggregates.joins(names));
        joins
    }

    /// The condition of an event's filter over the columns `e.j0`, … of properties. The positions
    /// of paths are those of `paths`, to which new ones are added.
    pub(super) fn filter(
        &mut self,
        filter: &Expr,
        paths: &mut Paths,
    ) -> Result<(String, Uses), SqlError> {
        self.filter = Some(Reads {
            paths: std::mem::take(paths),
            uses: Uses::default(),
        });
        let condition = self.condition(filter);
        let reads = self.filter.take().unwrap_or_default();
        *paths = reads.paths;
        Ok((condition?, reads.uses))
    }

    pub(super) fn json(&mut self, fragment: Fragment) -> Fragment {
        self.converter.json(&fragment)
    }

    /// A condition: `boolean`, never NULL.
    pub(super) fn condition(&mut self, expr: &Expr) -> Result<String, SqlError> {
        let fragment = self.expression(expr)?;
        Ok(self.converter.truth(&fragment))
    }

    pub(super) fn number(&mut self, expr: &Expr) -> Result<Fragment, SqlError> {
        let fragment = self.expression(expr)?;
        Ok(self.converter.number(&fragment))
    }

    pub(super) fn text(&mut self, expr: &Expr) -> Result<Fragment, SqlError> {
        let fragment = self.expression(expr)?;
        Ok(self.converter.text(&fragment))
    }

    pub(super) fn expression(&mut self, expr: &Expr) -> Result<Fragment, SqlError> {
        if self.filter.is_some() && !may_be_in_filter(expr) {
            return Err(SqlError::NotOfAPerson(crate::print(expr)));
        }
        Ok(match expr {
            Expr::Literal(value) => literal(value),
            Expr::Duration(_) => Fragment::null(),
            Expr::List(items) => self.list(items)?,
            Expr::Name(_) | Expr::Attribute(_) | Expr::Trait(_) => {
                return Err(SqlError::NotInlined(crate::print(expr)));
            }
            Expr::Context(_) | Expr::Message(_) => {
                return Err(SqlError::NotOfAPerson(crate::print(expr)));
            }
            Expr::Property(path) => match &mut self.filter {
                Some(reads) => reads.value(path, "e"),
                None => return Err(SqlError::NotOfAPerson(crate::print(expr))),
            },
            Expr::Segment(key) => Fragment::compound(
                format!(
                    "EXISTS (SELECT FROM {} AS m WHERE m.profile_id = p.profile_id AND m.segment = {})",
                    self.converter.names.segment_members,
                    quote::typed(key, "text")
                ),
                Kind::Boolean,
            ),
            Expr::Score(key) => self.score(key, "total", Kind::Number(Bounds::ANY)),
            Expr::Grade(key) => self.score(key, "grade", Kind::Text),
            Expr::Profile(path) => self.profile.value(path, "t"),
            Expr::Group(path) => self.group.value(path, "g"),
            Expr::Aggregate(aggregate) => {
                let mut aggregates = std::mem::take(&mut self.aggregates);
                let value = aggregates.value(aggregate, self);
                self.aggregates = aggregates;
                value?
            }
            Expr::FirstSeen => Fragment::simple("p.first_seen", Kind::Time),
            Expr::LastSeen => Fragment::simple("p.last_seen", Kind::Time),
            Expr::FirstSeenAgo(unit) => ago("p.first_seen", *unit),
            Expr::LastSeenAgo(unit) => ago("p.last_seen", *unit),
            Expr::Negate(inner) => {
                let inner = self.number(inner)?;
                match inner.kind {
                    Kind::Null => Fragment::null(),
                    kind => Fragment::compound(format!("(- {})", inner.sql), kind),
                }
            }
            Expr::Not(inner) => {
                Fragment::compound(format!("(NOT {})", self.condition(inner)?), Kind::Boolean)
            }
            Expr::And(items) => self.junction(items, " AND ")?,
            Expr::Or(items) => self.junction(items, " OR ")?,
            Expr::Compare(operator, left, right) => {
                let sql = self.comparison(*operator, left, right)?;
                Fragment::compound(sql, Kind::Boolean)
            }
            Expr::Arithmetic(operator, left, right) => {
                let (left, right) = (self.number(left)?, self.number(right)?);
                self.arithmetic(*operator, &left, &right)
            }
            Expr::Test(test, left, right) => {
                Fragment::compound(self.test(*test, left, right)?, Kind::Boolean)
            }
            Expr::Matches(left, pattern) => {
                let text = self.text(left)?;
                let pattern = quote::typed(pattern.as_str(), "text");
                let call = self
                    .converter
                    .call(functions::MATCHES, &format!("{}, {pattern}", text.sql));
                Fragment::compound(format!("(({call}) IS TRUE)"), Kind::Boolean)
            }
            Expr::In(value, list) => Fragment::compound(self.membership(value, list)?, Kind::Boolean),
            Expr::Call(function, arguments) => self.call(*function, arguments)?,
            Expr::Bucket(salt, None) => {
                let bounds = Bounds { digits: 2, scale: 2 };
                let sql = format!("pg_catalog.trim_scale({} * 0.01)", bucket(salt, HUNDREDTHS));
                Fragment::compound(sql, Kind::Number(bounds))
            }
            Expr::Bucket(salt, Some(count)) => {
                let whole = Bounds { digits: 10, scale: 0 };
                Fragment::compound(format!("{}::numeric", bucket(salt, *count)), Kind::Number(whole))
            }
            Expr::Percentage(salt, percent) => {
                let per_bucket = Decimal::from(i64::from(PERCENTAGE_BUCKETS / 100));
                let bound = percent
                    .checked_mul(&per_bucket)
                    .unwrap_or_else(Decimal::zero);
                let sql = format!(
                    "({} < {})",
                    bucket(salt, PERCENTAGE_BUCKETS),
                    quote::number(&bound)
                );
                Fragment::compound(sql, Kind::Boolean)
            }
        })
    }

    fn list(&mut self, items: &[Expr]) -> Result<Fragment, SqlError> {
        let mut parts = Vec::with_capacity(items.len());
        for item in items {
            let item = self.expression(item)?;
            parts.push(self.converter.json(&item).sql);
        }
        let sql = format!("pg_catalog.to_jsonb(ARRAY[{}]::jsonb[])", parts.join(", "));
        Ok(Fragment::compound(sql, Kind::Json))
    }

    fn score(&mut self, key: &str, column: &str, kind: Kind) -> Fragment {
        let sql = format!(
            "(SELECT s.{column} FROM {} AS s WHERE s.profile_id = p.profile_id AND s.score = {})",
            self.converter.names.scores,
            quote::typed(key, "text")
        );
        Fragment::compound(sql, kind)
    }

    fn junction(&mut self, items: &[Expr], operator: &str) -> Result<Fragment, SqlError> {
        let mut parts = Vec::with_capacity(items.len());
        for item in items {
            parts.push(self.condition(item)?);
        }
        let sql = format!("({})", parts.join(operator));
        Ok(Fragment::compound(sql, Kind::Boolean))
    }

    fn comparison(
        &mut self,
        operator: Comparison,
        left: &Expr,
        right: &Expr,
    ) -> Result<String, SqlError> {
        let is_null = |expr: &Expr| matches!(expr, Expr::Literal(Value::Null));
        if is_null(left) || is_null(right) {
            let other = if is_null(right) { left } else { right };
            let other = self.expression(other)?;
            return Ok(match operator {
                Comparison::Equal => format!("(({}) IS NULL)", other.sql),
                Comparison::NotEqual => format!("(({}) IS NOT NULL)", other.sql),
                _ => "false".to_string(),
            });
        }
        if let Expr::Duration(length) = right {
            let left = self.expression(left)?;
            let since = self.converter.instant(&left);
            if since.kind == Kind::Null {
                return Ok("false".to_string());
            }
            // now - since < length says since > now - length.
            let sql = format!(
                "({} {} {NOW} - {}) IS TRUE",
                since.sql,
                symbol(operator.mirrored()),
                quote::interval(*length)
            );
            return Ok(format!("({sql})"));
        }
        if operator == Comparison::Equal {
            if let (Expr::Literal(constant), other) | (other, Expr::Literal(constant)) =
                (left, right)
            {
                return self.equals_constant(other, constant);
            }
        }
        let (left, right) = (self.expression(left)?, self.expression(right)?);
        Ok(self.compare(operator, &left, &right))
    }

    /// A value that is only compared with constants for equality: values of different types are
    /// different, so there is no need to look at its type. A JSON null equals none of them.
    fn for_equality(&mut self, expr: &Expr) -> Result<Fragment, SqlError> {
        match (expr, &mut self.filter) {
            (Expr::Property(path), Some(reads)) => Ok(reads.member(path, "e")),
            (Expr::Profile(path), None) => Ok(self.profile.member(path, "t")),
            (Expr::Group(path), None) => Ok(self.group.member(path, "g")),
            _ => self.expression(expr),
        }
    }

    fn equals_constant(&mut self, expr: &Expr, constant: &Value) -> Result<String, SqlError> {
        let value = self.for_equality(expr)?;
        if value.kind != Kind::Json {
            return Ok(self.compare(Comparison::Equal, &value, &literal(constant)));
        }
        let constant = quote::typed(&constant.to_string(), "jsonb");
        Ok(format!("(({} = {constant}) IS TRUE)", value.sql))
    }

    /// Compares values that are not known to be null.
    fn compare(&mut self, operator: Comparison, left: &Fragment, right: &Fragment) -> String {
        let is_equality = matches!(operator, Comparison::Equal | Comparison::NotEqual);
        let of = |kind: Kind| if kind == Kind::Time { Kind::Text } else { kind };
        let plain = |a: &str, b: &str| format!("(({a} {} {b}) IS TRUE)", symbol(operator));
        match (of(left.kind), of(right.kind)) {
            (Kind::Number(_), Kind::Number(_) | Kind::Json)
            | (Kind::Json, Kind::Number(_)) => {
                let (a, b) = (self.converter.number(left), self.converter.number(right));
                plain(&a.sql, &b.sql)
            }
            (Kind::Text, Kind::Text | Kind::Json) | (Kind::Json, Kind::Text) => {
                let (a, b) = (self.converter.text(left), self.converter.text(right));
                plain(&a.sql, &format!("{} COLLATE pg_catalog.\"C\"", b.sql))
            }
            (Kind::Boolean, Kind::Boolean) if is_equality => plain(&left.sql, &right.sql),
            (Kind::Boolean | Kind::Json, Kind::Boolean | Kind::Json)
                if operator == Comparison::Equal =>
            {
                // Values of different types are different.
                let (a, b) = (self.converter.json(left), self.converter.json(right));
                plain(&a.sql, &b.sql)
            }
            (Kind::Boolean | Kind::Json, Kind::Boolean | Kind::Json) if is_equality => {
                let (a, b) = (self.converter.json(left), self.converter.json(right));
                self.converter.bind_both(&a, &b, |a, b| {
                    format!(
                        "((pg_catalog.jsonb_typeof({a}) = pg_catalog.jsonb_typeof({b}) \
                         AND {a} <> {b}) IS TRUE)"
                    )
                })
            }
            (Kind::Json, Kind::Json) => self.converter.bind_both(left, right, |a, b| {
                let operator = symbol(operator);
                format!(
                    "((CASE WHEN pg_catalog.jsonb_typeof({a}) <> pg_catalog.jsonb_typeof({b}) THEN false \
                     WHEN pg_catalog.jsonb_typeof({a}) = 'number' THEN {a}::numeric {operator} {b}::numeric \
                     WHEN pg_catalog.jsonb_typeof({a}) = 'string' \
                     THEN {a} #>> '{{}}' {operator} ({b} #>> '{{}}') COLLATE pg_catalog.\"C\" END) IS TRUE)"
                )
            }),
            _ => "false".to_string(),
        }
    }

    fn arithmetic(
        &mut self,
        operator: ArithmeticOperator,
        left: &Fragment,
        right: &Fragment,
    ) -> Fragment {
        let (Kind::Number(a), Kind::Number(b)) = (left.kind, right.kind) else {
            return Fragment::null();
        };
        let symbol = operator.symbol();
        let plain = format!("({} {symbol} {})", left.sql, right.sql);
        let divisor = format!("NULLIF({}, 0)", right.sql);
        let (sql, bounds) = match operator {
            ArithmeticOperator::Add | ArithmeticOperator::Subtract => {
                let wider = a.or(b);
                let digits = wider.digits + 1;
                (plain, Bounds { digits, ..wider })
            }
            ArithmeticOperator::Multiply => {
                let (digits, scale) = (a.digits + b.digits, a.scale + b.scale);
                (plain, Bounds { digits, scale })
            }
            ArithmeticOperator::Divide => {
                // The scale of a quotient depends on that of the operands.
                let sql = format!(
                    "(pg_catalog.trim_scale({}) / pg_catalog.trim_scale({divisor}))",
                    left.sql
                );
                let digits = a.digits + b.scale + 1;
                (
                    sql,
                    Bounds {
                        digits,
                        scale: 1000,
                    },
                )
            }
            ArithmeticOperator::Modulo => (format!("({} % {divisor})", left.sql), a.or(b)),
        };
        self.converter.in_range(sql, bounds)
    }

    fn test(&mut self, test: TextTest, left: &Expr, right: &Expr) -> Result<String, SqlError> {
        let (left, right) = (self.expression(left)?, self.expression(right)?);
        let (text, part) = (self.converter.text(&left), self.converter.text(&right));
        let of_texts = if text.kind == Kind::Null || part.kind == Kind::Null {
            "false".to_string()
        } else {
            match test {
                TextTest::Contains => {
                    format!("(pg_catalog.strpos({}, {}) > 0)", text.sql, part.sql)
                }
                TextTest::StartsWith => {
                    format!("pg_catalog.starts_with({}, {})", text.sql, part.sql)
                }
                TextTest::EndsWith => self.converter.bind(&part, |part| {
                    format!(
                        "(pg_catalog.right({}, pg_catalog.length({part})) = {part})",
                        text.sql
                    )
                }),
            }
        };
        let of_texts = format!("({of_texts} IS TRUE)");
        if test != TextTest::Contains || left.kind != Kind::Json {
            return Ok(of_texts);
        }
        let item = self.converter.json(&right);
        let of_list = self.converter.bind_both(&item, &left, item_of);
        Ok(format!("({of_texts} OR {of_list})"))
    }

    fn membership(&mut self, value: &Expr, list: &Expr) -> Result<String, SqlError> {
        let Expr::List(items) = list else {
            let (value, list) = (self.expression(value)?, self.expression(list)?);
            let (value, list) = (self.converter.json(&value), self.converter.json(&list));
            // A single value is a list of one.
            return Ok(self.converter.bind_both(&value, &list, |value, list| {
                format!(
                    "(CASE pg_catalog.jsonb_typeof({list}) WHEN 'array' THEN {} \
                     ELSE ({value} = {list}) IS TRUE END)",
                    item_of(value, list)
                )
            }));
        };
        let mut constants = Vec::new();
        let mut others = Vec::new();
        for item in items {
            match item {
                Expr::Literal(Value::Null) => {}
                Expr::Literal(constant) => constants.push(quote::text(&constant.to_string())),
                other => others.push(self.expression(other)?),
            }
        }
        let value = if others.is_empty() {
            self.for_equality(value)?
        } else {
            self.expression(value)?
        };
        let (value, binding) = self.converter.open(&value);
        let mut parts = Vec::new();
        for other in &others {
            parts.push(self.compare(Comparison::Equal, &value, other));
        }
        if !constants.is_empty() {
            let value = self.converter.json(&value);
            parts.push(format!(
                "(({} = ANY (ARRAY[{}]::jsonb[])) IS TRUE)",
                value.sql,
                constants.join(", ")
            ));
        }
        Ok(match parts.len() {
            0 => "false".to_string(),
            _ => binding.close(format!("({})", parts.join(" OR "))),
        })
    }
}

fn literal(value: &Value) -> Fragment {
    match value {
        Value::Null => Fragment::null(),
        Value::Bool(b) => Fragment::boolean(*b),
        Value::Number(number) => {
            let (digits, scale) = number.to_parts();
            let length = u32::try_from(digits.magnitude().to_string().len()).unwrap_or(400);
            let scale = u32::try_from(scale).unwrap_or(0);
            let digits = length.saturating_sub(scale).max(1);
            Fragment::simple(
                quote::number(number),
                Kind::Number(Bounds { digits, scale }),
            )
        }
        Value::Text(text) => Fragment::simple(quote::typed(text, "text"), Kind::Text),
        Value::Array(_) | Value::Object(_) => {
            Fragment::compound(quote::typed(&value.to_string(), "jsonb"), Kind::Json)
        }
    }
}

/// Whether a value is one of the items of a list; false when it is no list. A null is no item:
/// NULL equals nothing.
fn item_of(item: &str, list: &str) -> String {
    format!(
        "EXISTS (SELECT FROM pg_catalog.jsonb_array_elements(CASE pg_catalog.jsonb_typeof({list}) \
         WHEN 'array' THEN {list} END) AS i(x) WHERE i.x = {item})"
    )
}

/// Filters only look at the event.
fn may_be_in_filter(expr: &Expr) -> bool {
    !matches!(
        expr,
        Expr::Segment(_)
            | Expr::Score(_)
            | Expr::Grade(_)
            | Expr::Profile(_)
            | Expr::Group(_)
            | Expr::Aggregate(_)
            | Expr::FirstSeen
            | Expr::LastSeen
            | Expr::FirstSeenAgo(_)
            | Expr::LastSeenAgo(_)
            | Expr::Bucket(..)
            | Expr::Percentage(..)
            | Expr::Call(Function::Since(_), _)
    )
}

fn symbol(operator: Comparison) -> &'static str {
    match operator {
        Comparison::Equal => "=",
        Comparison::NotEqual => "<>",
        other => other.symbol(),
    }
}
