//! Functions, and what is computed from instants and keys.

use super::compiler::{Compiler, NOW};
use super::fragment::{Bounds, Fragment, Kind};
use super::{functions, quote, SqlError};
use crate::ast::{unit_length, Expr, Function};
use cdp_value::{AgoUnit, Decimal, Value, SECOND};

impl Compiler<'_> {
    pub(super) fn call(
        &mut self,
        function: Function,
        arguments: &[Expr],
    ) -> Result<Fragment, SqlError> {
        let null = Expr::Literal(Value::Null);
        let first = arguments.first().unwrap_or(&null);
        Ok(match function {
            Function::Exists => {
                let argument = self.expression(first)?;
                Fragment::compound(format!("(({}) IS NOT NULL)", argument.sql), Kind::Boolean)
            }
            Function::Coalesce => {
                let mut values = Vec::with_capacity(arguments.len());
                for argument in arguments {
                    values.push(self.expression(argument)?);
                }
                let (values, kind) = self.converter.unified(values);
                if kind == Kind::Null {
                    return Ok(Fragment::null());
                }
                let values: Vec<String> = values.into_iter().map(|value| value.sql).collect();
                Fragment::compound(format!("COALESCE({})", values.join(", ")), kind)
            }
            Function::If => {
                let condition = self.condition(first)?;
                let then = self.expression(arguments.get(1).unwrap_or(&null))?;
                let otherwise = self.expression(arguments.get(2).unwrap_or(&null))?;
                let (branches, kind) = self.converter.unified(vec![then, otherwise]);
                match branches.as_slice() {
                    [then, otherwise] if kind != Kind::Null => Fragment::compound(
                        format!(
                            "(CASE WHEN {condition} THEN {} ELSE {} END)",
                            then.sql, otherwise.sql
                        ),
                        kind,
                    ),
                    _ => Fragment::null(),
                }
            }
            Function::Lower | Function::Upper => {
                let text = self.text(first)?;
                let function = if function == Function::Lower {
                    functions::LOWER
                } else {
                    functions::UPPER
                };
                match text.kind {
                    Kind::Text => {
                        Fragment::compound(self.converter.call(function, &text.sql), Kind::Text)
                    }
                    _ => Fragment::null(),
                }
            }
            Function::Length => {
                let argument = self.expression(first)?;
                self.length(&argument)
            }
            Function::Abs => {
                let number = self.number(first)?;
                self.rounded(&number, |x| format!("pg_catalog.abs({x})"))
            }
            Function::Floor => {
                let number = self.number(first)?;
                self.rounded(&number, |x| format!("pg_catalog.floor({x})"))
            }
            Function::Ceil => {
                let number = self.number(first)?;
                self.rounded(&number, |x| format!("pg_catalog.ceil({x})"))
            }
            Function::Round => {
                let number = self.number(first)?;
                match arguments.get(1) {
                    None => self.rounded(&number, |x| format!("pg_catalog.round({x})")),
                    Some(digits) => {
                        let digits = self.number(digits)?;
                        if digits.kind == Kind::Null {
                            return Ok(Fragment::null());
                        }
                        let digits = self.converter.bind(&digits, |d| {
                            format!(
                                "CASE WHEN {d} = pg_catalog.trunc({d}) AND pg_catalog.abs({d}) <= 1000 \
                                 THEN {d}::integer END"
                            )
                        });
                        self.rounded(&number, |x| format!("pg_catalog.round({x}, {digits})"))
                    }
                }
            }
            Function::Since(unit) => {
                let argument = self.expression(first)?;
                let since = self.converter.instant(&argument);
                match since.kind {
                    Kind::Time => Fragment::compound(
                        units_since(&since.sql, unit),
                        Kind::Number(Bounds::WHOLE),
                    ),
                    _ => Fragment::null(),
                }
            }
        })
    }

    fn length(&mut self, argument: &Fragment) -> Fragment {
        let sql = match argument.kind {
            Kind::Json => self.converter.bind(argument, |x| {
                format!(
                    "CASE pg_catalog.jsonb_typeof({x}) WHEN 'string' THEN pg_catalog.length({x} #>> '{{}}') \
                     WHEN 'array' THEN pg_catalog.jsonb_array_length({x}) END"
                )
            }),
            Kind::Text | Kind::Time => {
                let text = self.converter.text(argument);
                format!("pg_catalog.length({})", text.sql)
            }
            _ => return Fragment::null(),
        };
        Fragment::compound(format!("({sql})::numeric"), Kind::Number(Bounds::WHOLE))
    }

    fn rounded(&mut self, number: &Fragment, apply: impl FnOnce(&str) -> String) -> Fragment {
        let Kind::Number(bounds) = number.kind else {
            return Fragment::null();
        };
        let digits = bounds.digits + 1;
        self.converter
            .in_range(apply(&number.sql), Bounds { digits, ..bounds })
    }
}

/// Whole units since an instant, rounded down. Microseconds are exact in numeric, and quotients
/// are far from whole numbers compared to their precision.
fn units_since(since: &str, unit: AgoUnit) -> String {
    format!(
        "pg_catalog.floor((EXTRACT(epoch FROM {NOW}) - EXTRACT(epoch FROM {since})) / {})",
        quote::number(&Decimal::from(unit_length(unit) / SECOND))
    )
}

/// An "ago" value of a column: never negative.
pub(super) fn ago(column: &str, unit: AgoUnit) -> Fragment {
    let units = units_since(column, unit);
    let sql = format!("CASE WHEN {column} IS NOT NULL THEN GREATEST({units}, 0) END");
    Fragment::compound(format!("({sql})"), Kind::Number(Bounds::WHOLE))
}

/// See [`crate::bucket`].
pub(super) fn bucket(salt: &str, count: u32) -> String {
    let salt = quote::typed(&format!("{salt}:"), "text");
    format!(
        "pg_catalog.mod(('x' || pg_catalog.left(pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to(\
         {salt} || p.profile_id::text, 'UTF8')), 'hex'), 15))::bit(60)::bigint, {count}::bigint)"
    )
}
