//! Operators: from the flat parts of an expression to a tree, by precedence.

use super::{Builder, Node, Rule, OPERANDS};
use crate::ast::{ArithmeticOperator, Comparison, Expr, Function, TextTest};
use crate::error::ExprError;
use crate::pattern::{Pattern, HELP};
use cdp_value::Value;
use pest::iterators::Pair;
use std::collections::VecDeque;

const OPERATORS: &str =
    "compare with == != < <= > >=, join conditions with && or ||, calculate with + - * / %";

/// How tightly an operator binds its operands; a higher level binds tighter.
pub(crate) mod level {
    pub(crate) const OR: u8 = 0;
    pub(crate) const AND: u8 = 1;
    pub(crate) const NOT: u8 = 2;
    pub(crate) const COMPARISON: u8 = 3;
    pub(crate) const ADDITIVE: u8 = 4;
    pub(crate) const MULTIPLICATIVE: u8 = 5;
    pub(crate) const SIGN: u8 = 6;
    /// What is no operator.
    pub(crate) const PRIMARY: u8 = 7;
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Infix {
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
pub(super) enum Token<'i> {
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
    pub(super) fn at(&self) -> usize {
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

impl<'i> Builder<'i> {
    pub(super) fn operand(&self, pair: Pair<'i, Rule>, tokens: &mut VecDeque<Token<'i>>) {
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

    pub(super) fn tail(
        &self,
        pair: Pair<'i, Rule>,
        tokens: &mut VecDeque<Token<'i>>,
    ) -> Result<(), ExprError> {
        let mut negated = false;
        for part in pair.into_inner() {
            let at = part.as_span().start();
            match part.as_rule() {
                Rule::binary_operator => {
                    let operator = infix(part.as_str())
                        .ok_or_else(|| self.error(at, "unknown operator", OPERATORS))?;
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
    pub(super) fn climb(
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
            Some(other) => return Err(self.error(other.at(), "unexpected operator", OPERANDS)),
            None => {
                return Err(self.error(
                    self.text.len(),
                    "unexpected end of the expression",
                    OPERANDS,
                ))
            }
        };
        let mut compared = false;
        while let Some(token) = tokens.front() {
            let strength = token.level();
            if strength < lowest {
                break;
            }
            if compared && strength >= level::COMPARISON {
                return Err(self.error(
                    token.at(),
                    "a comparison cannot be followed by another operator",
                    "join comparisons with &&, or use parentheses",
                ));
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
            other => Err(self.error(other.at(), "unexpected value", OPERATORS)),
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
                    return Err(self.error(
                        right.at.start,
                        "the pattern of matches must be a text",
                        "write it in quotes: matches \"^[0-9]+$\"",
                    ));
                };
                let pattern = Pattern::new(&pattern).map_err(|reason| {
                    self.error(
                        right.at.start,
                        format!("bad regular expression: {reason}"),
                        HELP,
                    )
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
                return Err(self.error(
                    at,
                    "a time cannot be equal to a duration",
                    "use <, <=, > or >=",
                ));
            }
            if durations == [true, true] {
                return Err(self.error(
                    at,
                    "two durations cannot be compared",
                    "write a time on one side: last_seen < 30d",
                ));
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
