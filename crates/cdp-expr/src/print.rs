//! From tree to canonical text.

use crate::ast::{Aggregate, ArithmeticOperator, Expr};
use crate::names;
use crate::parse::{is_identifier, level};
use cdp_value::Value;

/// The canonical text of an expression: `parse(print(e)) == e` for everything that parses.
pub fn print(expr: &Expr) -> String {
    let mut printer = Printer {
        text: String::new(),
        inside: false,
    };
    printer.expression(expr, level::OR);
    printer.text
}

struct Printer {
    text: String,
    /// Inside an event's filter, where bare names are properties.
    inside: bool,
}

fn level_of(expr: &Expr) -> u8 {
    match expr {
        Expr::Or(_) => level::OR,
        Expr::And(_) => level::AND,
        Expr::Not(inner) if matches!(**inner, Expr::In(..)) => level::COMPARISON,
        Expr::Not(_) => level::NOT,
        Expr::Compare(..) | Expr::Test(..) | Expr::Matches(..) | Expr::In(..) => level::COMPARISON,
        Expr::Arithmetic(ArithmeticOperator::Add | ArithmeticOperator::Subtract, ..) => {
            level::ADDITIVE
        }
        Expr::Arithmetic(..) => level::MULTIPLICATIVE,
        Expr::Negate(_) => level::SIGN,
        Expr::Literal(Value::Number(number)) if number.is_negative() => level::SIGN,
        _ => level::PRIMARY,
    }
}

impl Printer {
    fn push(&mut self, text: &str) {
        self.text.push_str(text);
    }

    /// Prints a node, in parentheses if it binds less tightly than its place demands.
    fn expression(&mut self, expr: &Expr, lowest: u8) {
        if level_of(expr) < lowest {
            self.push("(");
            self.node(expr);
            self.push(")");
        } else {
            self.node(expr);
        }
    }

    fn binary(&mut self, operator: &str, strength: u8, left: &Expr, right: &Expr) {
        // Comparisons do not chain, so both sides bind tighter; arithmetic groups to the left.
        let left_level = if strength == level::COMPARISON {
            level::ADDITIVE
        } else {
            strength
        };
        self.expression(left, left_level);
        self.push(" ");
        self.push(operator);
        self.push(" ");
        self.expression(right, strength + 1);
    }

    /// `value in list`. Parentheses after `in` enclose all of the list, so what merely begins with
    /// one gets another pair.
    fn membership(&mut self, operator: &str, value: &Expr, list: &Expr) {
        self.expression(value, level::ADDITIVE);
        self.push(" ");
        self.push(operator);
        self.push(" ");
        let start = self.text.len();
        self.expression(list, level::ADDITIVE);
        let begins_with_one = self.text.get(start..).is_some_and(|t| t.starts_with('('));
        if begins_with_one && level_of(list) >= level::ADDITIVE {
            self.text.insert(start, '(');
            self.push(")");
        }
    }

    fn joined(&mut self, items: &[Expr], separator: &str, lowest: u8) {
        for (index, item) in items.iter().enumerate() {
            if index > 0 {
                self.push(separator);
            }
            self.expression(item, lowest);
        }
    }

    fn node(&mut self, expr: &Expr) {
        match expr {
            Expr::Literal(value) => self.literal(value),
            Expr::Duration(length) => self.push(&names::duration_text(*length)),
            Expr::List(items) => {
                self.push("[");
                self.joined(items, ", ", level::OR);
                self.push("]");
            }
            Expr::Name(name) => self.push(name),
            Expr::Attribute(key) => self.keyed("attribute", key),
            Expr::Trait(key) => self.keyed("trait", key),
            Expr::Segment(key) => self.keyed("segment", key),
            Expr::Score(key) => self.keyed("score", key),
            Expr::Grade(key) => self.keyed("grade", key),
            Expr::Profile(path) => self.path("profile", path),
            Expr::Group(path) => self.path("group", path),
            Expr::Context(path) => self.path("context", path),
            Expr::Message(path) => self.path("message", path),
            Expr::Property(path) => self.property(path),
            Expr::Aggregate(aggregate) => self.aggregate(aggregate),
            Expr::FirstSeen => self.push("first_seen"),
            Expr::LastSeen => self.push("last_seen"),
            Expr::FirstSeenAgo(unit) => {
                self.push(&format!("first_seen_{}_ago", names::unit_name(*unit)));
            }
            Expr::LastSeenAgo(unit) => {
                self.push(&format!("last_seen_{}_ago", names::unit_name(*unit)));
            }
            Expr::Negate(inner) => {
                self.push("-");
                // Two signs in a row would fold into one number.
                let lowest = if level_of(inner) == level::SIGN {
                    level::PRIMARY
                } else {
                    level::SIGN
                };
                self.expression(inner, lowest);
            }
            Expr::Not(inner) => match &**inner {
                Expr::In(value, list) => self.membership("not in", value, list),
                other => {
                    // `not a == b` would do, but few readers would be sure.
                    self.push("not ");
                    self.expression(other, level::SIGN);
                }
            },
            Expr::And(items) => self.joined(items, " && ", level::AND + 1),
            Expr::Or(items) => self.joined(items, " || ", level::OR + 1),
            Expr::Compare(operator, left, right) => {
                self.binary(operator.symbol(), level::COMPARISON, left, right);
            }
            Expr::Arithmetic(operator, left, right) => {
                self.binary(operator.symbol(), level_of(expr), left, right);
            }
            Expr::Test(test, left, right) => {
                self.binary(test.symbol(), level::COMPARISON, left, right);
            }
            Expr::Matches(left, pattern) => {
                self.expression(left, level::ADDITIVE);
                self.push(" matches ");
                self.push(&names::quoted(pattern.as_str()));
            }
            Expr::In(value, list) => self.membership("in", value, list),
            Expr::Call(function, arguments) => {
                self.push(function.name());
                self.push("(");
                self.joined(arguments, ", ", level::OR);
                self.push(")");
            }
            Expr::Bucket(salt, None) => self.push(&format!("bucket({})", names::quoted(salt))),
            Expr::Bucket(salt, Some(count)) => {
                self.push(&format!("bucket({}, {count})", names::quoted(salt)));
            }
            Expr::Percentage(salt, percent) => {
                self.push(&format!("percentage({}, {percent})", names::quoted(salt)));
            }
        }
    }

    fn literal(&mut self, value: &Value) {
        match value {
            Value::Bool(true) => self.push("true"),
            Value::Bool(false) => self.push("false"),
            Value::Number(number) => self.push(&number.to_string()),
            Value::Text(text) => self.push(&names::quoted(text)),
            // The parser makes no other literals; lists are nodes of their own.
            _ => self.push("null"),
        }
    }

    fn keyed(&mut self, function: &str, key: &str) {
        self.push(&format!("{function}({})", names::quoted(key)));
    }

    fn segment(&mut self, segment: &str) {
        let index = !segment.is_empty() && segment.bytes().all(|byte| byte.is_ascii_digit());
        if index || is_identifier(segment) {
            self.push(segment);
        } else {
            self.push(&names::quoted(segment));
        }
    }

    fn path(&mut self, root: &str, path: &[String]) {
        self.push(root);
        for segment in path {
            self.push(".");
            self.segment(segment);
        }
    }

    fn property(&mut self, path: &[String]) {
        let bare = path.first().is_some_and(|head| {
            let fixed = if path.len() > 1 {
                names::root(head).is_some() || names::is_operator_word(head) || head == "events"
            } else {
                !self.inside || names::is_reserved_inside(head)
            };
            is_identifier(head) && !fixed
        });
        if let (true, [head, rest @ ..]) = (bare, path) {
            self.path(head, rest);
        } else {
            self.path("properties", path);
        }
    }

    fn aggregate(&mut self, aggregate: &Aggregate) {
        self.push("events.");
        if is_identifier(&aggregate.source.event) {
            self.push(&aggregate.source.event);
        } else {
            self.push(&names::quoted(&aggregate.source.event));
        }
        let outside = std::mem::replace(&mut self.inside, true);
        if let Some(filter) = &aggregate.source.filter {
            self.push("[");
            self.expression(filter, level::OR);
            self.push("]");
        }
        let property = aggregate.property.as_ref().map(|path| {
            let mut printer = Printer {
                text: String::new(),
                inside: true,
            };
            printer.property(path);
            printer.text
        });
        self.inside = outside;
        self.push(".");
        self.push(&names::aggregate_text(
            aggregate.function,
            aggregate.window,
            property,
        ));
    }
}
