//! Pieces of SQL and what is known of their values.

use super::columns::raw_number;
use super::functions;
use super::SqlNames;

/// Most digits before and after the decimal point that a number can have here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bounds {
    pub(super) digits: u32,
    pub(super) scale: u32,
}

impl Bounds {
    /// Any number of the language.
    pub(super) const ANY: Bounds = Bounds {
        digits: 400,
        scale: 1000,
    };
    /// Counts and ages.
    pub(super) const WHOLE: Bounds = Bounds {
        digits: 19,
        scale: 0,
    };

    pub(super) fn or(self, other: Bounds) -> Bounds {
        Bounds {
            digits: self.digits.max(other.digits),
            scale: self.scale.max(other.scale),
        }
    }

    fn is_within_range(self) -> bool {
        self.digits <= Bounds::ANY.digits && self.scale <= Bounds::ANY.scale
    }
}

/// The SQL type of a piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// `boolean`, never NULL.
    Boolean,
    /// `numeric`.
    Number(Bounds),
    /// `text`.
    Text,
    /// `timestamptz`, which stands for its text.
    Time,
    /// `jsonb`, never the JSON null: that is NULL.
    Json,
    /// Always NULL.
    Null,
}

/// A piece of SQL that stands for a value; it is NULL where the value is null.
#[derive(Debug, Clone)]
pub(super) struct Fragment {
    pub(super) sql: String,
    pub(super) kind: Kind,
    /// A column or constant: it may be repeated at no cost. Constants of `jsonb` do not count: the
    /// planner computes casts of them even in a CASE that guards against it.
    pub(super) is_simple: bool,
}

impl Fragment {
    pub(super) fn simple(sql: impl Into<String>, kind: Kind) -> Fragment {
        Fragment {
            sql: sql.into(),
            kind,
            is_simple: true,
        }
    }

    pub(super) fn compound(sql: impl Into<String>, kind: Kind) -> Fragment {
        Fragment {
            sql: sql.into(),
            kind,
            is_simple: false,
        }
    }

    pub(super) fn null() -> Fragment {
        Fragment::simple("NULL", Kind::Null)
    }

    pub(super) fn boolean(value: bool) -> Fragment {
        Fragment::simple(if value { "true" } else { "false" }, Kind::Boolean)
    }
}

/// Where a piece that is used several times gets its value.
pub(super) struct Binding(Option<String>);

impl Binding {
    /// Completes the piece that uses what was opened.
    pub(super) fn close(self, sql: String) -> String {
        match self.0 {
            None => sql,
            Some(tail) => format!("(SELECT {sql}{tail}"),
        }
    }
}

/// Converts pieces to the types their places need.
pub(super) struct Converter<'n> {
    pub(super) names: &'n SqlNames<'n>,
    bindings: usize,
}

impl<'n> Converter<'n> {
    pub(super) fn new(names: &'n SqlNames<'n>) -> Converter<'n> {
        Converter { names, bindings: 0 }
    }

    /// A call of one of the functions that [`functions`] describes.
    pub(super) fn call(&self, function: &str, arguments: &str) -> String {
        format!("{}.{function}({arguments})", self.names.functions)
    }

    /// Uses a piece several times. What is more than a column or constant is computed once, so
    /// that nested conversions do not multiply; OFFSET keeps the planner from undoing that.
    pub(super) fn bind(
        &mut self,
        fragment: &Fragment,
        used: impl FnOnce(&str) -> String,
    ) -> String {
        let (simple, binding) = self.open(fragment);
        binding.close(used(&simple.sql))
    }

    /// NULL instead of a number beyond the range of the language.
    pub(super) fn in_range(&mut self, sql: String, bounds: Bounds) -> Fragment {
        if bounds.is_within_range() {
            return Fragment::compound(sql, Kind::Number(bounds));
        }
        let guarded = self.bind(&Fragment::compound(sql, Kind::Number(bounds)), range_check);
        Fragment::compound(guarded, Kind::Number(Bounds::ANY))
    }

    /// A piece that may be repeated, and what has to [close](Binding::close) the piece that uses it.
    pub(super) fn open(&mut self, fragment: &Fragment) -> (Fragment, Binding) {
        if fragment.is_simple {
            return (fragment.clone(), Binding(None));
        }
        self.bindings += 1;
        let name = format!("v{}", self.bindings);
        let tail = format!(" FROM (SELECT {} AS x OFFSET 0) AS {name})", fragment.sql);
        let simple = Fragment::simple(format!("{name}.x"), fragment.kind);
        (simple, Binding(Some(tail)))
    }

    /// Uses two pieces several times.
    pub(super) fn bind_both(
        &mut self,
        left: &Fragment,
        right: &Fragment,
        used: impl FnOnce(&str, &str) -> String,
    ) -> String {
        if left.is_simple && right.is_simple {
            return used(&left.sql, &right.sql);
        }
        self.bindings += 1;
        let name = format!("v{}", self.bindings);
        format!(
            "(SELECT {} FROM (SELECT {} AS x, {} AS y OFFSET 0) AS {name})",
            used(&format!("{name}.x"), &format!("{name}.y")),
            left.sql,
            right.sql
        )
    }

    pub(super) fn number(&mut self, fragment: &Fragment) -> Fragment {
        match fragment.kind {
            Kind::Number(_) => fragment.clone(),
            Kind::Json => {
                let sql = self.bind(fragment, raw_number);
                Fragment::compound(sql, Kind::Number(Bounds::ANY))
            }
            _ => Fragment::null(),
        }
    }

    pub(super) fn text(&mut self, fragment: &Fragment) -> Fragment {
        let sql = match fragment.kind {
            Kind::Text => return fragment.clone(),
            Kind::Json => self.bind(fragment, |x| {
                format!("CASE pg_catalog.jsonb_typeof({x}) WHEN 'string' THEN {x} #>> '{{}}' END")
            }),
            Kind::Time => self.bind(fragment, |x| {
                let written = |format: &str| {
                    format!("pg_catalog.to_char({x} AT TIME ZONE 'UTC', '{format}')")
                };
                format!(
                    "CASE WHEN pg_catalog.date_trunc('second', {x}) = {x} THEN {} ELSE {} END",
                    written("YYYY-MM-DD\"T\"HH24:MI:SS\"Z\""),
                    written("YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"")
                )
            }),
            _ => return Fragment::null(),
        };
        Fragment::compound(sql, Kind::Text)
    }

    /// The instant a piece stands for.
    pub(super) fn instant(&mut self, fragment: &Fragment) -> Fragment {
        if fragment.kind == Kind::Time {
            return fragment.clone();
        }
        let text = self.text(fragment);
        match text.kind {
            Kind::Text => Fragment::compound(self.call(functions::INSTANT, &text.sql), Kind::Time),
            _ => Fragment::null(),
        }
    }

    /// A condition: `boolean`, never NULL.
    pub(super) fn truth(&mut self, fragment: &Fragment) -> String {
        match fragment.kind {
            Kind::Boolean => fragment.sql.clone(),
            Kind::Json => format!("((({}) = 'true'::jsonb) IS TRUE)", fragment.sql),
            _ => "false".to_string(),
        }
    }

    pub(super) fn json(&mut self, fragment: &Fragment) -> Fragment {
        let sql = match fragment.kind {
            Kind::Json => return fragment.clone(),
            Kind::Null => return Fragment::simple("NULL::jsonb", Kind::Json),
            Kind::Number(_) => format!(
                "pg_catalog.to_jsonb(pg_catalog.trim_scale({}))",
                fragment.sql
            ),
            Kind::Time => {
                let text = self.text(fragment);
                format!("pg_catalog.to_jsonb({})", text.sql)
            }
            Kind::Boolean | Kind::Text => format!("pg_catalog.to_jsonb({})", fragment.sql),
        };
        Fragment::compound(sql, Kind::Json)
    }

    /// Brings pieces to one type, if that can be: the results of branches.
    pub(super) fn unified(&mut self, fragments: Vec<Fragment>) -> (Vec<Fragment>, Kind) {
        let known = fragments
            .iter()
            .map(|fragment| fragment.kind)
            .filter(|kind| *kind != Kind::Null);
        let common = known.reduce(|a, b| match (a, b) {
            (Kind::Number(x), Kind::Number(y)) => Kind::Number(x.or(y)),
            (Kind::Text | Kind::Time, Kind::Text | Kind::Time) if a != b => Kind::Text,
            _ if a == b => a,
            _ => Kind::Json,
        });
        let has_null = fragments.iter().any(|fragment| fragment.kind == Kind::Null);
        let kind = match common {
            None => return (fragments, Kind::Null),
            // A boolean that may be NULL is none.
            Some(Kind::Boolean) if has_null => Kind::Json,
            Some(kind) => kind,
        };
        let converted = fragments
            .iter()
            .map(|fragment| match kind {
                _ if fragment.kind == Kind::Null => fragment.clone(),
                Kind::Json => self.json(fragment),
                Kind::Text => self.text(fragment),
                _ => fragment.clone(),
            })
            .collect();
        (converted, kind)
    }
}

/// `x`, or NULL if it is beyond the range of the language. The usual case comes first: `scale`
/// only looks, while `trim_scale` computes.
pub(super) fn range_check(x: &str) -> String {
    format!(
        "CASE WHEN {x} > -1e300 AND {x} < 1e300 AND pg_catalog.scale({x}) <= 1000 THEN {x} \
         WHEN pg_catalog.abs({x}) < 1e400 AND pg_catalog.scale(pg_catalog.trim_scale({x})) <= 1000 \
         THEN {x} END"
    )
}
