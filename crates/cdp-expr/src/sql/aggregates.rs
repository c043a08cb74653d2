//! Aggregates over everybody's events, in as few scans as possible.

use super::calls::ago;
use super::columns::{Paths, Uses};
use super::compiler::{Compiler, NOW};
use super::fragment::{range_check, Bounds, Fragment, Kind};
use super::{functions, quote, SqlError, SqlNames};
use crate::ast::Aggregate;
use cdp_value::{AggregateFunction, Period, Window, MINUTE};

/// `list` gives at most so many values, as a profile's state does.
const LIST_LIMIT: usize = 100;

/// What an aggregate looks at, apart from its property.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Scope {
    event: i32,
    window: Option<Window>,
    /// The filter's condition over the columns `e.j0`, …
    filter: Option<String>,
}

impl Scope {
    /// What can be asked of a row of the events.
    fn rows(&self) -> Vec<String> {
        let mut conditions = vec![
            format!("e.ts <= {NOW}"),
            format!("e.event_id = {}", self.event),
        ];
        conditions.extend(self.window.map(starts_in));
        conditions
    }
}

/// An event is within a window that ends now; that it is not later holds for all events.
fn starts_in(window: Window) -> String {
    format!("e.ts >= {NOW} - {}", quote::interval(window.length))
}

/// One aggregate of the common scan.
#[derive(Debug)]
struct Column {
    scope: Scope,
    call: String,
}

/// The aggregates that a statement needs.
#[derive(Debug, Default)]
pub(super) struct Aggregates {
    known: Vec<(Aggregate, Fragment)>,
    /// Properties that are read.
    paths: Paths,
    /// Answered by one scan: the columns `a.c0`, `a.c1`, …
    columns: Vec<Column>,
    /// What the scan needs of each event.
    uses: Uses,
    /// Queries of their own, giving `(profile_id, value)`: `a0`, `a1`, …
    queries: Vec<String>,
}

impl Aggregates {
    /// The value of an aggregate for the person `p`.
    pub(super) fn value(
        &mut self,
        aggregate: &Aggregate,
        compiler: &mut Compiler<'_>,
    ) -> Result<Fragment, SqlError> {
        if let Some((_, value)) = self.known.iter().find(|(known, _)| known == aggregate) {
            return Ok(value.clone());
        }
        let value = self.compiled(aggregate, compiler)?;
        self.known.push((aggregate.clone(), value.clone()));
        Ok(value)
    }

    fn compiled(
        &mut self,
        aggregate: &Aggregate,
        compiler: &mut Compiler<'_>,
    ) -> Result<Fragment, SqlError> {
        let names = compiler.converter.names;
        let (filter, uses) = match &aggregate.source.filter {
            Some(filter) => {
                let (condition, uses) = compiler.filter(filter, &mut self.paths)?;
                (Some(condition), uses)
            }
            None => (None, Uses::default()),
        };
        let Some(event) = (names.event_id)(&aggregate.source.event) else {
            return Ok(of_nothing(aggregate.function));
        };
        let scope = Scope {
            event,
            window: aggregate.window,
            filter,
        };
        let property = self
            .paths
            .position(aggregate.property.as_deref().unwrap_or(&[]));
        use AggregateFunction as F;
        if let F::Top | F::List | F::Sessions(_) | F::LimitedCount { .. } | F::DecayedCount { .. } =
            aggregate.function
        {
            return Ok(self.query(aggregate.function, &scope, property, uses, names));
        }
        self.uses.extend(&uses);
        Ok(self.column_of(aggregate.function, scope, property, compiler))
    }

    /// An aggregate that the common scan answers.
    fn column_of(
        &mut self,
        function: AggregateFunction,
        scope: Scope,
        property: usize,
        compiler: &mut Compiler<'_>,
    ) -> Fragment {
        use AggregateFunction as F;
        let names = compiler.converter.names;
        let any = Kind::Number(Bounds::ANY);
        let (raw, value) = (format!("e.n{property}"), format!("e.j{property}"));
        let number = range_check(&raw);
        match function {
            F::Sum | F::Avg | F::Min | F::Max | F::Percentile(_) => {
                self.uses.numbers.insert(property);
            }
            F::First | F::Last | F::Unique => {
                self.uses.values.insert(property);
            }
            _ => {}
        }
        match function {
            F::UniqueDays | F::UniqueHours => {
                let local = format!("e.ts AT TIME ZONE {}", quote::typed(names.timezone, "text"));
                let unit = match function {
                    F::UniqueDays => format!("({local})::date"),
                    _ => format!("pg_catalog.date_trunc('hour', {local})"),
                };
                counted(&self.column(scope, format!("count(DISTINCT {unit})")))
            }
            F::Sum => Fragment::compound(self.sum(scope, &raw), any),
            F::Avg => {
                let sum = self.sum(scope.clone(), &raw);
                let count = self.column(scope, format!("count({number})"));
                let sql = format!("(pg_catalog.trim_scale({sum}) / NULLIF({count}, 0)::numeric)");
                Fragment::compound(sql, any)
            }
            F::Min => Fragment::simple(self.column(scope, format!("min({number})")), any),
            F::Max => Fragment::simple(self.column(scope, format!("max({number})")), any),
            F::Percentile(percent) => {
                let call = format!("array_agg({raw} ORDER BY {raw})");
                let numbers = self.column_where(scope, call, &format!("({number}) IS NOT NULL"));
                percentile(&numbers, percent, compiler)
            }
            F::First | F::Last => {
                let direction = if function == F::First { "" } else { " DESC" };
                let keys: Vec<String> = std::iter::once("e.ts".to_string())
                    .chain(order(&value, names))
                    .map(|key| format!("{key}{direction}"))
                    .collect();
                let call = format!("array_agg({value} ORDER BY {})", keys.join(", "));
                let values = self.column_where(scope, call, &format!("{value} IS NOT NULL"));
                Fragment::simple(format!("{values}[1]"), Kind::Json)
            }
            F::Unique => counted(&self.column(scope, format!("count(DISTINCT {value})"))),
            F::FirstSeenAgo(unit) => ago(&self.column(scope, "min(e.ts)".to_string()), unit),
            F::LastSeenAgo(unit) => ago(&self.column(scope, "max(e.ts)".to_string()), unit),
            // Those behind Count have queries of their own.
            F::Count
            | F::Top
            | F::List
            | F::Sessions(_)
            | F::LimitedCount { .. }
            | F::DecayedCount { .. } => counted(&self.column(scope, "count(*)".to_string())),
        }
    }

    /// An aggregate that the common scan cannot answer, in a query of its own.
    fn query(
        &mut self,
        function: AggregateFunction,
        scope: &Scope,
        property: usize,
        mut uses: Uses,
        names: &SqlNames<'_>,
    ) -> Fragment {
        use AggregateFunction as F;
        let value = format!("e.j{property}");
        if matches!(function, F::Top | F::List) {
            uses.values.insert(property);
        }
        let source = self.source(&scope.rows(), &uses, names);
        let mut conditions: Vec<String> = scope.filter.iter().cloned().collect();
        if matches!(function, F::Top | F::List) {
            conditions.push(listable(&value, names));
        }
        let source = format!("{source}{}", asking(&conditions));
        let query = match function {
            F::Sessions(gap) => format!(
                "SELECT e.profile_id, count(*) AS value FROM (SELECT e.profile_id, e.ts, \
                 lag(e.ts) OVER (PARTITION BY e.profile_id ORDER BY e.ts) AS before FROM {source}) AS e \
                 WHERE e.before IS NULL OR e.ts - e.before > {} GROUP BY e.profile_id",
                quote::interval(gap)
            ),
            F::LimitedCount { most, period } => format!(
                "SELECT d.profile_id, sum(d.number) AS value FROM ({}) AS d GROUP BY d.profile_id",
                by_period(&source, period, Some(most), names)
            ),
            F::DecayedCount {
                half_life,
                step,
                most,
            } => {
                let age = format!("GREATEST({} - d.period, 0)", number_of(NOW, step, names));
                // Both in minutes, of which there are whole ones.
                let (length, half_life) = (step.length() / MINUTE, half_life / MINUTE);
                let oldest = 20 * half_life / length;
                format!(
                    "SELECT d.profile_id, pg_catalog.trim_scale(pg_catalog.round(sum(d.number * \
                     pg_catalog.power(0.5::float8, {age} * {length}::float8 / {half_life}))::numeric, 6)) AS value \
                     FROM ({}) AS d WHERE {age} <= {oldest} GROUP BY d.profile_id",
                    by_period(&source, step, most, names)
                )
            }
            F::List => format!(
                "SELECT d.profile_id, pg_catalog.jsonb_agg(d.x ORDER BY d.position) AS value FROM (\
                 SELECT d.profile_id, d.x, row_number() OVER (PARTITION BY d.profile_id ORDER BY {}) \
                 AS position FROM (SELECT DISTINCT e.profile_id, {value} AS x FROM {source}) AS d) AS d \
                 WHERE d.position <= {LIST_LIMIT} GROUP BY d.profile_id",
                order("d.x", names).join(", ")
            ),
            _ => format!(
                "SELECT DISTINCT ON (n.profile_id) n.profile_id, n.x AS value FROM (\
                 SELECT e.profile_id, {value} AS x, count(*) AS number FROM {source} \
                 GROUP BY e.profile_id, {value}) AS n ORDER BY n.profile_id, n.number DESC, {}",
                order("n.x", names).join(", ")
            ),
        };
        let column = format!("a{}.value", self.queries.len());
        self.queries.push(query);
        match function {
            F::Sessions(_) | F::LimitedCount { .. } => counted(&column),
            F::DecayedCount { .. } => Fragment::compound(
                format!("COALESCE({column}, 0)::numeric"),
                Kind::Number(Bounds::ANY),
            ),
            F::List => Fragment::compound(format!("COALESCE({column}, '[]'::jsonb)"), Kind::Json),
            _ => Fragment::simple(column, Kind::Json),
        }
    }

    /// Adds a column to the common scan.
    fn column(&mut self, scope: Scope, call: String) -> String {
        let same = |column: &Column| column.scope == scope && column.call == call;
        let index = self.columns.iter().position(same).unwrap_or_else(|| {
            self.columns.push(Column { scope, call });
            self.columns.len() - 1
        });
        format!("a.c{index}")
    }

    /// The sum of numbers; null with one that is so large that the order of additions would
    /// matter.
    fn sum(&mut self, scope: Scope, raw: &str) -> String {
        let call = format!(
            "sum(CASE WHEN {raw} > -1e300 AND {raw} < 1e300 AND pg_catalog.scale({raw}) <= 1000 THEN {raw} \
             WHEN ({}) IS NULL THEN NULL WHEN pg_catalog.abs({raw}) < 1e300 THEN {raw} ELSE 'NaN'::numeric END)",
            range_check(raw)
        );
        format!("NULLIF({}, 'NaN'::numeric)", self.column(scope, call))
    }

    /// A column over some of the scope's events.
    fn column_where(&mut self, mut scope: Scope, call: String, condition: &str) -> String {
        scope.filter = Some(match scope.filter {
            Some(filter) => format!("{filter} AND {condition}"),
            None => condition.to_string(),
        });
        self.column(scope, call)
    }

    /// The FROM items that give the columns.
    pub(super) fn joins(&self, names: &SqlNames<'_>) -> String {
        let mut joins = String::new();
        if !self.columns.is_empty() {
            joins.push_str(&join(&self.scan(names), "a"));
        }
        for (index, query) in self.queries.iter().enumerate() {
            joins.push_str(&join(query, &format!("a{index}")));
        }
        joins
    }

    /// One scan of the events for all columns.
    fn scan(&self, names: &SqlNames<'_>) -> String {
        let mut events: Vec<i32> = self.columns.iter().map(|c| c.scope.event).collect();
        events.sort_unstable();
        events.dedup();
        let mut rows = vec![format!("e.ts <= {NOW}")];
        rows.push(match events.as_slice() {
            [event] => format!("e.event_id = {event}"),
            several => {
                let list: Vec<String> = several.iter().map(i32::to_string).collect();
                format!("e.event_id IN ({})", list.join(", "))
            }
        });
        // Only rows that some column looks at.
        let windows = self.columns.iter().map(|column| column.scope.window);
        let longest = windows.max_by_key(|w| w.map_or(i64::MAX, |window| window.length));
        rows.extend(longest.flatten().map(starts_in));
        let source = self.source(&rows, &self.uses, names);
        let mut conditions = Vec::new();
        let alike = self.columns.windows(2).all(|pair| match pair {
            [a, b] => a.scope == b.scope,
            _ => true,
        });
        if alike {
            // What all columns ask is asked once.
            let first = self.columns.first();
            conditions.extend(first.and_then(|column| column.scope.filter.clone()));
        }
        let mut calls = String::new();
        for (index, Column { scope, call }) in self.columns.iter().enumerate() {
            let mut asked = Vec::new();
            if !alike {
                if events.len() > 1 {
                    asked.push(format!("e.event_id = {}", scope.event));
                }
                if Some(scope.window) != longest {
                    asked.extend(scope.window.map(starts_in));
                }
                asked.extend(scope.filter.clone());
            }
            calls.push_str(&format!(", {call}"));
            if !asked.is_empty() {
                calls.push_str(&format!(" FILTER (WHERE {})", asked.join(" AND ")));
            }
            calls.push_str(&format!(" AS c{index}"));
        }
        let conditions = asking(&conditions);
        format!("SELECT e.profile_id{calls} FROM {source}{conditions} GROUP BY e.profile_id")
    }

    /// The rows `e` of events with the columns that are used.
    fn source(&self, rows: &[String], uses: &Uses, names: &SqlNames<'_>) -> String {
        let keep = "e.profile_id, e.event_id, e.ts";
        uses.source(&self.paths, (names.events, "properties", keep), rows, "e")
    }
}

fn asking(conditions: &[String]) -> String {
    match conditions {
        [] => String::new(),
        several => format!(" WHERE {}", several.join(" AND ")),
    }
}

fn join(query: &str, alias: &str) -> String {
    format!("\nLEFT JOIN ({query}) AS {alias} ON {alias}.profile_id = p.profile_id")
}

/// The value of an aggregate over an event that never came.
fn of_nothing(function: AggregateFunction) -> Fragment {
    use AggregateFunction as F;
    match function {
        F::Count
        | F::UniqueDays
        | F::UniqueHours
        | F::Unique
        | F::Sessions(_)
        | F::LimitedCount { .. }
        | F::DecayedCount { .. } => Fragment::simple("0::numeric", Kind::Number(Bounds::WHOLE)),
        F::List => Fragment::compound("'[]'::jsonb", Kind::Json),
        _ => Fragment::null(),
    }
}

/// Rows (profile_id, period, number): the events of each period, as far as they count.
fn by_period(source: &str, period: Period, most: Option<u32>, names: &SqlNames<'_>) -> String {
    let number = match most {
        Some(most) => format!("LEAST(count(*), {most})"),
        None => "count(*)".to_string(),
    };
    format!(
        "SELECT e.profile_id, {} AS period, {number} AS number FROM {source} GROUP BY 1, 2",
        number_of("e.ts", period, names)
    )
}

/// The number of the period of an instant, as `cdp_state` counts them.
fn number_of(instant: &str, period: Period, names: &SqlNames<'_>) -> String {
    let local = format!(
        "({instant} AT TIME ZONE {})",
        quote::typed(names.timezone, "text")
    );
    let day = format!("({local}::date - '1970-01-01'::date)");
    match period {
        Period::Hour => {
            format!("pg_catalog.floor(EXTRACT(epoch FROM {local}) / 3600)::bigint")
        }
        Period::Day => day,
        Period::Week => format!("pg_catalog.floor(({day} + 3) / 7.0)::bigint"),
    }
}

/// A count: zero for who has no events at all.
fn counted(column: &str) -> Fragment {
    Fragment::compound(
        format!("COALESCE({column}, 0)::numeric"),
        Kind::Number(Bounds::WHOLE),
    )
}

/// Interpolates between the two numbers next to the rank, as `percentile_cont` does, but exactly.
/// `numbers` is a sorted array, or NULL.
fn percentile(numbers: &str, percent: u8, compiler: &mut Compiler<'_>) -> Fragment {
    let rank = format!("({percent}::bigint * (pg_catalog.cardinality({numbers}) - 1))");
    let low = format!("({numbers})[({rank} / 100 + 1)::integer]");
    let high = format!("({numbers})[(({rank} + 99) / 100 + 1)::integer]");
    let wide = Bounds {
        digits: Bounds::ANY.digits + 1,
        scale: Bounds::ANY.scale,
    };
    let step = compiler
        .converter
        .in_range(format!("({high} - {low})"), wide);
    let fine = Bounds {
        scale: Bounds::ANY.scale + 2,
        ..wide
    };
    let sql = format!("({low} + {} * ({rank} % 100) * 0.01)", step.sql);
    compiler.converter.in_range(sql, fine)
}

/// Whether `top` and `list` consider a value.
fn listable(value: &str, names: &SqlNames<'_>) -> String {
    format!(
        "CASE pg_catalog.jsonb_typeof({value}) WHEN 'boolean' THEN true \
         WHEN 'string' THEN pg_catalog.octet_length({value} #>> '{{}}') <= 256 \
         ELSE {}.{}({value}) END",
        names.functions,
        functions::LISTABLE
    )
}

/// Sort keys of a `jsonb` value in the order of the language.
fn order(value: &str, names: &SqlNames<'_>) -> Vec<String> {
    let is = |of: &str| format!("CASE pg_catalog.jsonb_typeof({value}) WHEN '{of}' THEN");
    vec![
        format!(
            "CASE pg_catalog.jsonb_typeof({value}) WHEN 'boolean' THEN 1 WHEN 'number' THEN 2 \
             WHEN 'string' THEN 3 WHEN 'array' THEN 4 ELSE 5 END"
        ),
        format!("{} {value}::boolean END", is("boolean")),
        format!("{} {value}::numeric END", is("number")),
        format!("({} {value} #>> '{{}}' END) COLLATE pg_catalog.\"C\"", is("string")),
        format!(
            "CASE WHEN pg_catalog.jsonb_typeof({value}) IN ('array', 'object') THEN {}.{}({value}) END",
            names.functions,
            functions::ORDER
        ),
    ]
}
