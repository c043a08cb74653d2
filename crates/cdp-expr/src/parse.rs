//! From text to tree.

use crate::ast::{Aggregate, EventSource, Expr, Function, Position};
use crate::error::{did_you_mean, ExprError};
use crate::limits;
use crate::names;
use cdp_value::{Decimal, Value};
use pest::iterators::Pair;
use pest::Parser;
use std::collections::VecDeque;

mod grammar {
    #[derive(pest_derive::Parser)]
    #[grammar = "grammar.pest"]
    pub(super) struct Grammar;
}
use grammar::{Grammar, Rule};

mod operators;
mod refusal;

pub(crate) use operators::level;

/// Where a node and its parts begin, as byte offsets; shaped like the tree itself.
#[derive(Debug, Clone)]
pub(crate) struct Positions {
    pub(crate) start: usize,
    pub(crate) parts: Vec<Positions>,
    /// Height of the tree below and including this node.
    height: usize,
}

/// A tree together with where its nodes stand in the text.
struct Node {
    expr: Expr,
    at: Positions,
}

/// Parses an expression. Errors carry the position, what was expected and often a hint.
///
/// The text may be 16 KB long, brackets and prefix operators may be nested 64 deep, and the
/// expression may have 2,000 parts: whatever is parsed is safe to walk recursively.
pub fn parse(text: &str) -> Result<Expr, ExprError> {
    parse_with_positions(text).map(|(expr, _)| expr)
}

pub(crate) fn parse_with_positions(text: &str) -> Result<(Expr, Positions), ExprError> {
    limits::check_text(text)?;
    let mut pairs =
        Grammar::parse(Rule::program, text).map_err(|error| refusal::explain(text, &error))?;
    let mut builder = Builder { text, nodes: 0 };
    let expression = pairs
        .next()
        .and_then(|program| program.into_inner().next())
        .ok_or_else(refusal::empty)?;
    let node = builder.expression(expression, 0, false)?;
    Ok((node.expr, node.at))
}

/// The 1-based character at a byte offset.
pub(crate) fn character(text: &str, offset: usize) -> usize {
    text.get(..offset)
        .map_or(1, |before| before.chars().count() + 1)
}

/// Whether the text is a name that can be written without quotes.
pub(crate) fn is_identifier(text: &str) -> bool {
    Grammar::parse(Rule::identifier, text)
        .ok()
        .and_then(|mut pairs| pairs.next())
        .is_some_and(|pair| pair.as_str().len() == text.len())
}

const SPLIT: &str = "split it into several traits";
const OPERANDS: &str = "write a value on each side of an operator";

struct Builder<'i> {
    text: &'i str,
    nodes: usize,
}

impl<'i> Builder<'i> {
    fn error(
        &self,
        offset: usize,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> ExprError {
        ExprError::new(character(self.text, offset), message, hint)
    }

    /// A finished node, counted against the limits.
    fn node(&mut self, expr: Expr, start: usize, parts: Vec<Positions>) -> Result<Node, ExprError> {
        self.nodes += 1;
        if self.nodes > limits::NODES {
            return Err(self.error(
                start,
                format!("the expression has more than {} parts", limits::NODES),
                SPLIT,
            ));
        }
        let height = 1 + parts.iter().map(|part| part.height).max().unwrap_or(0);
        if height > limits::HEIGHT {
            return Err(self.error(start, "the expression is too deep", SPLIT));
        }
        let at = Positions {
            start,
            parts,
            height,
        };
        Ok(Node { expr, at })
    }

    fn nest(&self, depth: usize, at: usize) -> Result<usize, ExprError> {
        if depth >= limits::DEPTH {
            return Err(limits::too_deep(character(self.text, at)));
        }
        Ok(depth + 1)
    }

    /// `inside`: bare names are properties of the event, because this stands in its filter.
    fn expression(
        &mut self,
        pair: Pair<'i, Rule>,
        depth: usize,
        inside: bool,
    ) -> Result<Node, ExprError> {
        let mut tokens = VecDeque::new();
        for part in pair.into_inner() {
            match part.as_rule() {
                Rule::operand => self.operand(part, &mut tokens),
                _ => self.tail(part, &mut tokens)?,
            }
        }
        let node = self.climb(&mut tokens, level::OR, depth, inside)?;
        match tokens.front() {
            None => Ok(node),
            Some(token) => Err(self.error(token.at(), "unexpected operator", OPERANDS)),
        }
    }

    /// The expressions among the parts of a list, an argument list or parentheses.
    fn items(
        &mut self,
        pair: Pair<'i, Rule>,
        depth: usize,
        inside: bool,
    ) -> Result<Vec<Node>, ExprError> {
        pair.into_inner()
            .filter(|part| part.as_rule() == Rule::expression)
            .map(|part| self.expression(part, depth, inside))
            .collect()
    }

    fn list(&mut self, items: Vec<Node>, at: usize) -> Result<Node, ExprError> {
        if items.len() > limits::LIST {
            return Err(self.error(
                at,
                format!("the list has more than {} items", limits::LIST),
                "join several lists: x in […] || x in […]; or keep the list as a static segment",
            ));
        }
        let (exprs, positions) = separate(items);
        self.node(Expr::List(exprs), at, positions)
    }

    fn primary(
        &mut self,
        pair: Pair<'i, Rule>,
        depth: usize,
        inside: bool,
    ) -> Result<Node, ExprError> {
        let at = pair.as_span().start();
        match pair.as_rule() {
            Rule::duration => {
                let length = names::duration(pair.as_str()).ok_or_else(|| {
                    self.error(at, "the duration is too long", "durations reach to 365250d")
                })?;
                self.node(Expr::Duration(length), at, Vec::new())
            }
            Rule::number => {
                let number = Decimal::parse(pair.as_str()).ok_or_else(|| {
                    self.error(
                        at,
                        "the number is too large",
                        "write fewer digits or a smaller exponent",
                    )
                })?;
                self.node(Expr::Literal(Value::Number(number)), at, Vec::new())
            }
            Rule::text => {
                let text = self.unquoted(pair)?;
                self.node(Expr::text(text), at, Vec::new())
            }
            Rule::list => {
                let depth = self.nest(depth, at)?;
                let items = self.items(pair, depth, inside)?;
                self.list(items, at)
            }
            Rule::parentheses => {
                let depth = self.nest(depth, at)?;
                let mut items = self.items(pair, depth, inside)?;
                items.pop().ok_or_else(|| {
                    self.error(at, "empty parentheses", "write a value between them")
                })
            }
            Rule::event_aggregate => self.aggregate(pair, depth),
            _ => self.reference(pair, depth, inside),
        }
    }

    fn unquoted(&self, pair: Pair<'i, Rule>) -> Result<String, ExprError> {
        let at = pair.as_span().start();
        let inner = pair.into_inner().next();
        let inner = inner.as_ref().map_or("", |pair| pair.as_str());
        names::unescape(inner)
            .ok_or_else(|| {
                self.error(
                    at,
                    "this text has an escape that is no character",
                    "write the character itself; \\u takes four hexadecimal digits other than 0000, and a pair beyond ffff",
                )
            })
    }

    fn name(&self, pair: Pair<'i, Rule>) -> Result<String, ExprError> {
        let text = pair.as_str().to_string();
        match pair.into_inner().next() {
            Some(inner) if inner.as_rule() == Rule::text => self.unquoted(inner),
            _ => Ok(text),
        }
    }

    fn aggregate(&mut self, pair: Pair<'i, Rule>, depth: usize) -> Result<Node, ExprError> {
        let start = pair.as_span().start();
        let mut event = String::new();
        let mut filter = None;
        let mut name = ("", start);
        let mut arguments = None;
        for part in pair.into_inner() {
            let at = part.as_span().start();
            match part.as_rule() {
                Rule::event_name => event = self.name(part)?,
                Rule::filter => {
                    let depth = self.nest(depth, at)?;
                    filter = self.items(part, depth, true)?.pop();
                }
                Rule::aggregate_name => name = (part.as_str(), at),
                Rule::arguments => {
                    let depth = self.nest(depth, at)?;
                    // Names in an aggregate's arguments are properties too.
                    arguments = Some(self.items(part, depth, true)?);
                }
                _ => {}
            }
        }
        let (name, at) = name;
        let arguments = arguments.map(|items| separate(items).0);
        let parsed = names::aggregate(name, arguments.as_deref())
            .map_err(|refusal| self.error(at, refusal.message, refusal.hint))?;
        let (filter, positions) = filter.map(|node: Node| (node.expr, node.at)).unzip();
        let aggregate = Aggregate {
            source: EventSource {
                event,
                filter: filter.map(Box::new),
            },
            function: parsed.function,
            property: parsed.property,
            window: parsed.window,
            position: Position::default(),
        };
        self.node(
            Expr::Aggregate(aggregate),
            start,
            positions.into_iter().collect(),
        )
    }

    /// A name: a literal word, a call, a path below a root, or a bare name.
    fn reference(
        &mut self,
        pair: Pair<'i, Rule>,
        depth: usize,
        inside: bool,
    ) -> Result<Node, ExprError> {
        let start = pair.as_span().start();
        let mut head = "";
        let mut path = Vec::new();
        let mut arguments = None;
        for part in pair.into_inner() {
            let at = part.as_span().start();
            match part.as_rule() {
                Rule::identifier => head = part.as_str(),
                Rule::segment => path.push(self.name(part)?),
                Rule::arguments => {
                    let depth = self.nest(depth, at)?;
                    arguments = Some(self.items(part, depth, inside)?);
                }
                _ => {}
            }
        }
        if let Some(arguments) = arguments {
            return self.call(head, start, arguments);
        }
        let expr = match (path.is_empty(), names::root(head)) {
            (false, Some(root)) => root(path),
            (false, None) => {
                path.insert(0, head.to_string());
                Expr::Property(path)
            }
            (true, _) => match names::word(head) {
                Some(expr) if !inside || matches!(expr, Expr::Literal(_)) => expr,
                _ if inside => Expr::Property(vec![head.to_string()]),
                _ => Expr::Name(head.to_string()),
            },
        };
        self.node(expr, start, Vec::new())
    }

    fn call(&mut self, name: &str, at: usize, arguments: Vec<Node>) -> Result<Node, ExprError> {
        let (exprs, positions) = separate(arguments);
        let lower = name.to_ascii_lowercase();
        if let Some(special) = names::special_call(&lower, &exprs) {
            let expr = special.map_err(|refusal| self.error(at, refusal.message, refusal.hint))?;
            return self.node(expr, at, Vec::new());
        }
        let Some(function) = Function::ALL.into_iter().find(|f| f.name() == lower) else {
            let known = names::all_functions();
            let hint = did_you_mean(name, known).unwrap_or_else(|| {
                let all: Vec<&str> = names::all_functions().collect();
                format!("the functions are {}", all.join(", "))
            });
            return Err(self.error(at, format!("unknown function {name}"), hint));
        };
        let (fewest, most) = function.arity();
        if exprs.len() < fewest || exprs.len() > most {
            let hint = format!("write {}", names::call_example(function));
            return Err(self.error(at, names::arity_message(function), hint));
        }
        self.node(Expr::Call(function, exprs), at, positions)
    }
}

fn separate(nodes: Vec<Node>) -> (Vec<Expr>, Vec<Positions>) {
    nodes.into_iter().map(|node| (node.expr, node.at)).unzip()
}
