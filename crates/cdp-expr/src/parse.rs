//! From text to tree.

use crate::ast::{
    Aggregate, ArithmeticOperator, Comparison, EventSource, Expr, Function, TextTest,
};
use crate::error::{did_you_mean, ExprError};
use crate::limits;
use crate::names;
use crate::pattern::Pattern;
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

mod refusal;

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
        .ok_or_else(|| ExprError::new(1, "the expression is empty"))?;
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

/// How tightly an operator binds its operands; a higher level binds tighter.
mod level {
    pub(super) const OR: u8 = 0;
    pub(super) const AND: u8 = 1;
    pub(super) const NOT: u8 = 2;
    pub(super) const COMPARISON: u8 = 3;
    pub(super) const ADDITIVE: u8 = 4;
    pub(super) const MULTIPLICATIVE: u8 = 5;
    pub(super) const SIGN: u8 = 6;
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Infix {
    Or,
    And,
    Compare(Comparison),
    Test(TextTest),
    Matches,
    Arithmetic(ArithmeticOperator),
}

impl Infix {
    fn level(self) -> u8 {
        match self {
            Infix::Or => level::OR,
            Infix::And => level::AND,
            Infix::Compare(_) | Infix::Test(_) | Infix::Matches => level::COMPARISON,
            Infix::Arithmetic(ArithmeticOperator::Add | ArithmeticOperator::Subtract) => {
                level::ADDITIVE
            }
            Infix::Arithmetic(_) => level::MULTIPLICATIVE,
        }
    }
}

/// The flat parts of an expression, before precedence.
enum Token<'i> {
    Not(usize),
    Minus(usize),
    Primary(Pair<'i, Rule>),
    Infix(Infix, usize),
    /// `in` before an operand.
    In {
        negated: bool,
        at: usize,
    },
    /// `in` with its parenthesised list.
    InParentheses {
        negated: bool,
        list: Pair<'i, Rule>,
    },
    Exists {
        negated: bool,
        at: usize,
    },
}

impl Token<'_> {
    fn at(&self) -> usize {
        match self {
            Token::Not(at)
            | Token::Minus(at)
            | Token::Infix(_, at)
            | Token::In { at, .. }
            | Token::Exists { at, .. } => *at,
            Token::Primary(pair) | Token::InParentheses { list: pair, .. } => {
                pair.as_span().start()
            }
        }
    }

    fn level(&self) -> u8 {
        match self {
            Token::Infix(operator, _) => operator.level(),
            _ => level::COMPARISON,
        }
    }
}

struct Builder<'i> {
    text: &'i str,
    nodes: usize,
}

impl<'i> Builder<'i> {
    fn error(&self, offset: usize, message: impl Into<String>) -> ExprError {
        ExprError::new(character(self.text, offset), message)
    }

    /// A finished node, counted against the limits.
    fn node(&mut self, expr: Expr, start: usize, parts: Vec<Positions>) -> Result<Node, ExprError> {
        self.nodes += 1;
        if self.nodes > limits::NODES {
            return Err(self.error(
                start,
                format!("the expression has more than {} parts", limits::NODES),
            ));
        }
        let height = 1 + parts.iter().map(|part| part.height).max().unwrap_or(0);
        if height > limits::HEIGHT {
            return Err(self
                .error(start, "the expression is too deep")
                .hint("split it into several traits"));
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
            Some(token) => Err(self.error(token.at(), "unexpected operator")),
        }
    }

    fn operand(&self, pair: Pair<'i, Rule>, tokens: &mut VecDeque<Token<'i>>) {
        for part in pair.into_inner() {
            let at = part.as_span().start();
            match part.as_rule() {
                Rule::prefix if part.as_str().starts_with('-') => {
                    tokens.push_back(Token::Minus(at));
                }
                Rule::prefix => tokens.push_back(Token::Not(at)),
                _ => tokens.extend(part.into_inner().next().map(Token::Primary)),
            }
        }
    }

    fn tail(
        &self,
        pair: Pair<'i, Rule>,
        tokens: &mut VecDeque<Token<'i>>,
    ) -> Result<(), ExprError> {
        let mut negated = false;
        for part in pair.into_inner() {
            let at = part.as_span().start();
            match part.as_rule() {
                Rule::binary_operator => {
                    let operator =
                        infix(part.as_str()).ok_or_else(|| self.error(at, "unknown operator"))?;
                    tokens.push_back(Token::Infix(operator, at));
                }
                Rule::operand => self.operand(part, tokens),
                Rule::exists_word => tokens.push_back(Token::Exists { negated: false, at }),
                Rule::not_exists => tokens.push_back(Token::Exists { negated: true, at }),
                Rule::in_list => {
                    for item in part.into_inner() {
                        match item.as_rule() {
                            Rule::in_operator => {
                                negated = item.into_inner().any(|w| w.as_rule() == Rule::not_word);
                            }
                            Rule::in_parentheses => {
                                tokens.push_back(Token::InParentheses {
                                    negated,
                                    list: item,
                                });
                            }
                            _ => {
                                tokens.push_back(Token::In { negated, at });
                                self.operand(item, tokens);
                            }
                        }
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Precedence climbing over the flat tokens.
    fn climb(
        &mut self,
        tokens: &mut VecDeque<Token<'i>>,
        lowest: u8,
        depth: usize,
        inside: bool,
    ) -> Result<Node, ExprError> {
        let mut left = match tokens.pop_front() {
            Some(Token::Not(at)) => {
                let depth = self.nest(depth, at)?;
                let operand = self.climb(tokens, level::NOT, depth, inside)?;
                self.node(Expr::Not(Box::new(operand.expr)), at, vec![operand.at])?
            }
            Some(Token::Minus(at)) => {
                let depth = self.nest(depth, at)?;
                let operand = self.climb(tokens, level::SIGN, depth, inside)?;
                self.negate(operand, at)?
            }
            Some(Token::Primary(pair)) => self.primary(pair, depth, inside)?,
            Some(other) => return Err(self.error(other.at(), "unexpected operator")),
            None => return Err(self.error(self.text.len(), "unexpected end of the expression")),
        };
        let mut compared = false;
        while let Some(token) = tokens.front() {
            let strength = token.level();
            if strength < lowest {
                break;
            }
            if compared && strength >= level::COMPARISON {
                return Err(self
                    .error(
                        token.at(),
                        "a comparison cannot be followed by another operator",
                    )
                    .hint("join comparisons with &&, or use parentheses"));
            }
            compared |= strength == level::COMPARISON;
            let Some(token) = tokens.pop_front() else {
                break;
            };
            left = self.apply(left, token, tokens, depth, inside)?;
        }
        Ok(left)
    }

    fn negate(&mut self, operand: Node, at: usize) -> Result<Node, ExprError> {
        if let Expr::Literal(Value::Number(number)) = &operand.expr {
            let expr = Expr::Literal(Value::Number(number.neg()));
            return self.node(expr, at, Vec::new());
        }
        self.node(Expr::Negate(Box::new(operand.expr)), at, vec![operand.at])
    }

    /// Applies an infix or postfix token to what stands left of it.
    fn apply(
        &mut self,
        left: Node,
        token: Token<'i>,
        tokens: &mut VecDeque<Token<'i>>,
        depth: usize,
        inside: bool,
    ) -> Result<Node, ExprError> {
        let start = left.at.start;
        match token {
            Token::Infix(operator, at) => {
                let right = self.climb(tokens, operator.level() + 1, depth, inside)?;
                self.infix(operator, at, left, right)
            }
            Token::In { negated, .. } => {
                let right = self.climb(tokens, level::ADDITIVE, depth, inside)?;
                self.membership(left, right, negated)
            }
            Token::InParentheses { negated, list } => {
                let at = list.as_span().start();
                let depth = self.nest(depth, at)?;
                let mut items = self.items(list, depth, inside)?;
                let single = match items.as_slice() {
                    [item] => !matches!(item.expr, Expr::Literal(_)),
                    _ => false,
                };
                let right = match items.pop() {
                    // in ([…]) and in (profile.plans): the parentheses only group.
                    Some(item) if single => item,
                    last => {
                        items.extend(last);
                        self.list(items, at)?
                    }
                };
                self.membership(left, right, negated)
            }
            Token::Exists { negated, .. } => {
                let expr = Expr::Call(Function::Exists, vec![left.expr]);
                let node = self.node(expr, start, vec![left.at])?;
                self.negated_if(negated, node)
            }
            other => Err(self.error(other.at(), "unexpected value")),
        }
    }

    fn membership(&mut self, left: Node, right: Node, negated: bool) -> Result<Node, ExprError> {
        let start = left.at.start;
        let expr = Expr::In(Box::new(left.expr), Box::new(right.expr));
        let node = self.node(expr, start, vec![left.at, right.at])?;
        self.negated_if(negated, node)
    }

    fn negated_if(&mut self, negated: bool, node: Node) -> Result<Node, ExprError> {
        if !negated {
            return Ok(node);
        }
        self.node(Expr::Not(Box::new(node.expr)), node.at.start, vec![node.at])
    }

    fn infix(
        &mut self,
        operator: Infix,
        at: usize,
        left: Node,
        right: Node,
    ) -> Result<Node, ExprError> {
        let start = left.at.start;
        match operator {
            Infix::And => self.junction(left, right, true),
            Infix::Or => self.junction(left, right, false),
            Infix::Compare(comparison) => self.comparison(comparison, at, left, right),
            Infix::Test(test) => self.node(
                Expr::Test(test, Box::new(left.expr), Box::new(right.expr)),
                start,
                vec![left.at, right.at],
            ),
            Infix::Matches => {
                let Expr::Literal(Value::Text(pattern)) = right.expr else {
                    return Err(self
                        .error(right.at.start, "the pattern of matches must be a text")
                        .hint("write it in quotes: matches \"^[0-9]+$\""));
                };
                let pattern = Pattern::new(&pattern).map_err(|reason| {
                    self.error(right.at.start, format!("bad regular expression: {reason}"))
                })?;
                self.node(
                    Expr::Matches(Box::new(left.expr), pattern),
                    start,
                    vec![left.at],
                )
            }
            Infix::Arithmetic(operator) => self.node(
                Expr::Arithmetic(operator, Box::new(left.expr), Box::new(right.expr)),
                start,
                vec![left.at, right.at],
            ),
        }
    }

    /// `a && b` or `a || b`; a chain becomes one node with many parts.
    fn junction(&mut self, left: Node, right: Node, conjunction: bool) -> Result<Node, ExprError> {
        let start = left.at.start;
        let mut exprs = Vec::new();
        let mut positions = Vec::new();
        for node in [left, right] {
            match node.expr {
                Expr::And(parts) if conjunction => {
                    exprs.extend(parts);
                    positions.extend(node.at.parts);
                }
                Expr::Or(parts) if !conjunction => {
                    exprs.extend(parts);
                    positions.extend(node.at.parts);
                }
                other => {
                    exprs.push(other);
                    positions.push(node.at);
                }
            }
        }
        let expr = if conjunction {
            Expr::And(exprs)
        } else {
            Expr::Or(exprs)
        };
        self.node(expr, start, positions)
    }

    /// A comparison; a duration goes to the right, `30d > last_seen` becomes `last_seen < 30d`.
    fn comparison(
        &mut self,
        comparison: Comparison,
        at: usize,
        left: Node,
        right: Node,
    ) -> Result<Node, ExprError> {
        let start = left.at.start;
        let durations = [&left, &right].map(|node| matches!(node.expr, Expr::Duration(_)));
        if durations != [false, false] {
            if matches!(comparison, Comparison::Equal | Comparison::NotEqual) {
                return Err(self
                    .error(at, "a time cannot be equal to a duration")
                    .hint("use <, <=, > or >="));
            }
            if durations == [true, true] {
                return Err(self.error(at, "two durations cannot be compared"));
            }
        }
        let (comparison, left, right) = if durations == [true, false] {
            (comparison.mirrored(), right, left)
        } else {
            (comparison, left, right)
        };
        let expr = Expr::Compare(comparison, Box::new(left.expr), Box::new(right.expr));
        self.node(expr, start, vec![left.at, right.at])
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
            return Err(self.error(at, format!("the list has more than {} items", limits::LIST)));
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
                let length = names::duration(pair.as_str())
                    .ok_or_else(|| self.error(at, "the duration is too long"))?;
                self.node(Expr::Duration(length), at, Vec::new())
            }
            Rule::number => {
                let number = Decimal::parse(pair.as_str())
                    .ok_or_else(|| self.error(at, "the number is too large"))?;
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
                items
                    .pop()
                    .ok_or_else(|| self.error(at, "empty parentheses"))
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
            .ok_or_else(|| self.error(at, "this text has an escape that is no character"))
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
            .map_err(|refusal| self.error(at, refusal.message).hint_option(refusal.hint))?;
        let (filter, positions) = filter.map(|node: Node| (node.expr, node.at)).unzip();
        let aggregate = Aggregate {
            source: EventSource {
                event,
                filter: filter.map(Box::new),
            },
            function: parsed.function,
            property: parsed.property,
            window: parsed.window,
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
            let expr = special
                .map_err(|refusal| self.error(at, refusal.message).hint_option(refusal.hint))?;
            return self.node(expr, at, Vec::new());
        }
        let Some(function) = Function::ALL.into_iter().find(|f| f.name() == lower) else {
            let known = names::all_functions();
            return Err(self
                .error(at, format!("unknown function {name}"))
                .hint_option(did_you_mean(name, known)));
        };
        let (fewest, most) = function.arity();
        if exprs.len() < fewest || exprs.len() > most {
            return Err(self.error(at, names::arity_message(function)));
        }
        self.node(Expr::Call(function, exprs), at, positions)
    }
}

fn separate(nodes: Vec<Node>) -> (Vec<Expr>, Vec<Positions>) {
    nodes.into_iter().map(|node| (node.expr, node.at)).unzip()
}

fn infix(text: &str) -> Option<Infix> {
    Some(match text.trim().to_ascii_lowercase().as_str() {
        "||" | "or" => Infix::Or,
        "&&" | "and" => Infix::And,
        "==" => Infix::Compare(Comparison::Equal),
        "!=" => Infix::Compare(Comparison::NotEqual),
        "<" => Infix::Compare(Comparison::Less),
        "<=" => Infix::Compare(Comparison::LessOrEqual),
        ">" => Infix::Compare(Comparison::Greater),
        ">=" => Infix::Compare(Comparison::GreaterOrEqual),
        "contains" => Infix::Test(TextTest::Contains),
        "starts_with" => Infix::Test(TextTest::StartsWith),
        "ends_with" => Infix::Test(TextTest::EndsWith),
        "matches" => Infix::Matches,
        "+" => Infix::Arithmetic(ArithmeticOperator::Add),
        "-" => Infix::Arithmetic(ArithmeticOperator::Subtract),
        "*" => Infix::Arithmetic(ArithmeticOperator::Multiply),
        "/" => Infix::Arithmetic(ArithmeticOperator::Divide),
        "%" => Infix::Arithmetic(ArithmeticOperator::Modulo),
        _ => return None,
    })
}
