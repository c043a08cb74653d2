//! Gives names their meaning, checks types, refuses cycles.

use crate::ast::{Expr, Function};
use crate::error::{closest, ExprError};
use crate::names;
use crate::parse::{character, parse_with_positions, Positions};
use crate::references::{self, Definition};
use crate::types::{type_of, Type};
use cdp_value::Value;

/// What other tools call the traits of a person.
const PERSON: [&str; 5] = ["traits", "user", "person", "customer", "profile"];

/// The definitions an expression can refer to.
pub trait Catalog {
    /// The expression of a computed trait, if there is one of that key.
    fn trait_expression(&self, key: &str) -> Option<&Expr>;
    /// The rule of a segment, if there is one of that key and it has a rule.
    fn segment_rule(&self, key: &str) -> Option<&Expr>;
    /// Whether there is a segment of that key that has no rule: people are added and removed by
    /// hand. References to it are never filled in.
    fn is_static_segment(&self, _key: &str) -> bool {
        false
    }
    /// A list of all that a score reads, if there is one of that key.
    fn score_inputs(&self, _key: &str) -> Option<&Expr> {
        None
    }
    /// Keys of the computed traits.
    fn trait_names(&self) -> Vec<String>;
    /// Keys of the segments.
    fn segment_names(&self) -> Vec<String>;
    /// Names of events that have been seen or planned.
    fn event_names(&self) -> Vec<String>;
    /// Keys of the scores.
    fn score_names(&self) -> Vec<String>;
    /// Names of traits that applications sent, or some of them; empty when they are not known.
    fn profile_names(&self) -> Vec<String> {
        Vec::new()
    }
}

/// A catalog without definitions.
pub struct EmptyCatalog;

impl Catalog for EmptyCatalog {
    fn trait_expression(&self, _: &str) -> Option<&Expr> {
        None
    }
    fn segment_rule(&self, _: &str) -> Option<&Expr> {
        None
    }
    fn trait_names(&self) -> Vec<String> {
        Vec::new()
    }
    fn segment_names(&self) -> Vec<String> {
        Vec::new()
    }
    fn event_names(&self) -> Vec<String> {
        Vec::new()
    }
    fn score_names(&self) -> Vec<String> {
        Vec::new()
    }
}

/// What an expression is for, which decides what it may read and what it must give.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The expression of a computed trait: any value.
    Trait,
    /// The rule of a segment: a condition.
    Segment,
    /// The rule of a flag: may also read `context.…`.
    Flag,
    /// What a score reads of a person: any value.
    Score,
    /// A condition on one event: its own properties and nothing else.
    EventFilter,
    /// A condition on a message on its way to a destination: bare names are its properties.
    RouteFilter,
}

/// A resolved expression.
#[derive(Debug, Clone, PartialEq)]
pub struct Checked {
    /// The expression with every name replaced by what it stands for.
    pub expr: Expr,
    /// What it gives.
    pub result_type: Type,
    /// What is allowed but probably not meant, each a sentence without a period.
    pub warnings: Vec<String>,
}

/// Resolves and checks an expression. `key` is the key under which it is going to be defined, so
/// that a reference back to it is refused as a cycle.
///
/// Errors have no text to point into: their position is 1. See [`check`].
pub fn resolve(
    expr: &Expr,
    kind: Kind,
    key: Option<&str>,
    catalog: &dyn Catalog,
) -> Result<Checked, ExprError> {
    Resolver::new(kind, key, catalog)
        .run(expr)
        .map_err(|refusal| refusal.error)
}

/// Parses, resolves and checks a text; errors point at the part of the text they are about.
pub fn check(
    text: &str,
    kind: Kind,
    key: Option<&str>,
    catalog: &dyn Catalog,
) -> Result<Checked, ExprError> {
    let (expr, positions) = parse_with_positions(text)?;
    Resolver::new(kind, key, catalog)
        .run(&expr)
        .map_err(|refusal| {
            let mut error = refusal.error;
            error.position = character(text, locate(&positions, &refusal.path));
            error
        })
}

fn locate(positions: &Positions, path: &[usize]) -> usize {
    let mut at = positions;
    // The path was collected from the inside out.
    for index in path.iter().rev() {
        match at.parts.get(*index) {
            Some(part) => at = part,
            None => break,
        }
    }
    at.start
}

/// An error and the way to the node it is about, innermost step first.
struct Refusal {
    error: ExprError,
    path: Vec<usize>,
}

impl From<ExprError> for Box<Refusal> {
    fn from(error: ExprError) -> Box<Refusal> {
        Box::new(Refusal {
            error,
            path: Vec::new(),
        })
    }
}

/// The field of a message that goes by this name, which in the filter of a route is a property's.
fn message_field(name: &str) -> Option<&str> {
    match name {
        "user_id" => Some("userId"),
        "anonymous_id" => Some("anonymousId"),
        "event" | "type" | "userId" | "anonymousId" | "messageId" | "timestamp" => Some(name),
        _ => None,
    }
}

struct Resolver<'c> {
    kind: Kind,
    own: Option<Definition>,
    catalog: &'c dyn Catalog,
    warnings: Vec<String>,
}

impl<'c> Resolver<'c> {
    fn new(kind: Kind, key: Option<&'c str>, catalog: &'c dyn Catalog) -> Resolver<'c> {
        let own = match kind {
            Kind::Trait => key.map(|key| Definition::Trait(key.to_string())),
            Kind::Segment => key.map(|key| Definition::Segment(key.to_string())),
            Kind::Score => key.map(|key| Definition::Score(key.to_string())),
            _ => None,
        };
        Resolver {
            kind,
            own,
            catalog,
            warnings: Vec::new(),
        }
    }

    fn run(mut self, expr: &Expr) -> Result<Checked, Box<Refusal>> {
        let inside = self.kind == Kind::EventFilter;
        if matches!(expr, Expr::Duration(_)) {
            return Err(lonely_duration().into());
        }
        let (expr, result_type) = self.node(expr, inside)?;
        let must_be_condition = !matches!(self.kind, Kind::Trait | Kind::Score);
        if must_be_condition && !result_type.may_be(Type::Boolean) {
            let what = match self.kind {
                Kind::Segment => "a segment",
                Kind::Flag => "a flag",
                _ => "a filter",
            };
            return Err(ExprError::new(
                1,
                format!("{what} needs a condition, but this is a {result_type}"),
                "compare it with something: … > 0",
            )
            .into());
        }
        self.check_inlined_size(&expr)?;
        Ok(Checked {
            expr,
            result_type,
            warnings: self.warnings,
        })
    }

    /// In the filter of a route a bare name is a property of the message; what else goes by that name may have
    /// been meant.
    fn warn_of_homonyms(&mut self, name: &str) {
        if let Some(field) = message_field(name) {
            self.warn(format!(
                "{name} is a property of the message here; message.{field} is a field of the message itself"
            ));
        } else if self.catalog.trait_expression(name).is_some() {
            self.warn(format!(
                "{name} is a property of the message here; trait(\"{name}\") is the person's trait"
            ));
        }
    }

    fn warn(&mut self, warning: String) {
        if !self.warnings.contains(&warning) {
            self.warnings.push(warning);
        }
    }

    /// Resolves a node and everything below it. `inside` an event's filter.
    fn node(&mut self, expr: &Expr, inside: bool) -> Result<(Expr, Type), Box<Refusal>> {
        let children: Vec<&Expr> = expr.children().collect();
        if children.is_empty() {
            let meaning = self.meaning(expr, inside)?;
            return self.finished(meaning.unwrap_or_else(|| expr.clone()), &[], inside);
        }
        self.meaning(expr, inside)?;
        let below = inside || matches!(expr, Expr::Aggregate(_));
        let mut parts = Vec::with_capacity(children.len());
        let mut types = Vec::with_capacity(children.len());
        for (index, child) in children.into_iter().enumerate() {
            match self.node(child, below) {
                Ok((part, of_part)) => {
                    parts.push(part);
                    types.push(of_part);
                }
                Err(mut refusal) => {
                    refusal.path.push(index);
                    return Err(refusal);
                }
            }
        }
        self.finished(expr.with_children(parts), &types, inside)
    }

    /// Checks a node whose parts are resolved and infers its type.
    fn finished(
        &mut self,
        expr: Expr,
        types: &[Type],
        inside: bool,
    ) -> Result<(Expr, Type), Box<Refusal>> {
        self.check_node(&expr, types, inside)?;
        let of_trait = |key: &str| references::trait_type(key, self.catalog);
        let result = type_of(&expr, types, of_trait);
        Ok((expr, result))
    }

    /// What a name stands for; None for a node that stays as it is. Refuses what cannot be read
    /// here.
    fn meaning(&mut self, expr: &Expr, inside: bool) -> Result<Option<Expr>, ExprError> {
        let refuse = |what: &str, hint: &str| {
            Err(ExprError::new(
                1,
                format!("{what} cannot be used here"),
                hint,
            ))
        };
        match expr {
            Expr::Name(name) if inside || self.kind == Kind::RouteFilter => {
                if !inside {
                    self.warn_of_homonyms(name);
                }
                return Ok(Some(Expr::Property(vec![name.clone()])));
            }
            Expr::Name(name) => return self.bare_name(name).map(Some),
            Expr::Property(path) if !inside && self.kind != Kind::RouteFilter => {
                // `traits.plan` and `user.plan`, as other tools write a trait of the person.
                let meant = match path.as_slice() {
                    [first, rest @ ..] if !rest.is_empty() && PERSON.contains(&first.as_str()) => {
                        rest.join(".")
                    }
                    path => path.join("."),
                };
                let path = path.join(".");
                return Err(ExprError::new(
                    1,
                    format!("{path} is a property of an event, and there is no event here"),
                    format!(
                        "write profile.{meant} for a trait of the person, or events.name[{path} …] for a property of an event"
                    ),
                ));
            }
            Expr::Property(_)
            | Expr::Literal(_)
            | Expr::Duration(_)
            | Expr::List(_)
            | Expr::Negate(_)
            | Expr::Not(_)
            | Expr::And(_)
            | Expr::Or(_)
            | Expr::Compare(..)
            | Expr::Arithmetic(..)
            | Expr::Test(..)
            | Expr::Matches(..)
            | Expr::In(..) => {}
            Expr::Call(Function::Since(_), _) if inside => {
                return Err(passing_time());
            }
            Expr::Call(..) => {}
            _ if inside => {
                return refuse(
                    &crate::print(expr),
                    "an event's filter can only read the event's own properties",
                );
            }
            Expr::Context(_) if !matches!(self.kind, Kind::Flag | Kind::RouteFilter) => {
                return refuse("context", "only flags and filters of routes have a context");
            }
            Expr::Message(_) if self.kind != Kind::RouteFilter => {
                return refuse("message", "only filters of routes see the message");
            }
            Expr::Attribute(key) => {
                return if self.catalog.trait_expression(key).is_some() {
                    self.definition(Definition::Trait(key.clone())).map(Some)
                } else {
                    // It stays as it is written: a trait of this key may be defined later.
                    if self.own.as_ref() == Some(&Definition::Trait(key.clone())) {
                        return self.definition(Definition::Trait(key.clone())).map(Some);
                    }
                    self.check_profile(&references::profile_path(key));
                    Ok(None)
                };
            }
            Expr::Trait(key) => {
                self.definition(Definition::Trait(key.clone()))?;
            }
            Expr::Segment(key) => {
                self.definition(Definition::Segment(key.clone()))?;
            }
            Expr::Score(key) | Expr::Grade(key) => {
                self.definition(Definition::Score(key.clone()))?;
            }
            Expr::Aggregate(aggregate) => self.check_event(&aggregate.source.event),
            Expr::Profile(path) => self.check_profile(path),
            _ => {}
        }
        Ok(None)
    }

    fn bare_name(&mut self, name: &str) -> Result<Expr, ExprError> {
        for definition in [
            Definition::Trait(name.to_string()),
            Definition::Segment(name.to_string()),
        ] {
            if self.is_known(&definition) {
                return self.definition(definition);
            }
        }
        if let Some(example) = names::root_example(name) {
            return Err(ExprError::new(
                1,
                format!("{name} needs a path"),
                format!("write for example {example}"),
            ));
        }
        let mut known = self.catalog.trait_names();
        known.extend(self.catalog.segment_names());
        let hint = names::suggest(name, known.iter().map(String::as_str)).unwrap_or_else(|| {
            format!("define it first, or write profile.{name} for a trait your application sends")
        });
        Err(ExprError::new(
            1,
            format!("unknown trait or segment {name}"),
            hint,
        ))
    }

    fn is_known(&self, definition: &Definition) -> bool {
        self.own.as_ref() == Some(definition) || definition.exists(self.catalog)
    }

    /// A reference to a trait or segment that must exist and must not lead back here.
    fn definition(&mut self, definition: Definition) -> Result<Expr, ExprError> {
        if !self.is_known(&definition) {
            return Err(match &definition {
                Definition::Trait(key) => unknown("trait", key, &self.catalog.trait_names()),
                Definition::Segment(key) => unknown("segment", key, &self.catalog.segment_names()),
                Definition::Score(key) => unknown("score", key, &self.catalog.score_names()),
            });
        }
        if let Some(own) = &self.own {
            if let Some(cycle) = references::cycle(own, &definition, self.catalog) {
                let key = own.key();
                return Err(ExprError::new(
                    1,
                    format!(
                        "definitions refer to each other in a cycle: {}",
                        cycle.join(" -> ")
                    ),
                    format!(
                        "write what {key} is without what is made of it; for a trait that your application sends write profile.{key}"
                    ),
                ));
            }
        }
        Ok(match definition {
            Definition::Trait(key) => Expr::Trait(key),
            Definition::Segment(key) => Expr::Segment(key),
            Definition::Score(key) => Expr::Score(key),
        })
    }

    fn check_event(&mut self, event: &str) {
        let known = self.catalog.event_names();
        if known.iter().any(|name| name == event) {
            return;
        }
        let suggestion = closest(event, known.iter().map(String::as_str));
        self.warn(match suggestion {
            Some(name) => {
                format!("no event {event} has been seen yet; did you mean {name}?")
            }
            None => format!("no event {event} has been seen yet"),
        });
    }

    /// Warns of a trait that nobody sent. Not all names may be known: those of the people seen last are.
    fn check_profile(&mut self, path: &[String]) {
        let Some(name) = path.first() else { return };
        let known = self.catalog.profile_names();
        if known.is_empty() || known.contains(name) {
            return;
        }
        match closest(name, known.iter().map(String::as_str)) {
            Some(similar) => self.warn(format!(
                "no trait {name} has been sent yet; did you mean profile.{similar}?"
            )),
            None => self.warn(format!("nobody has sent a trait {name} lately")),
        }
    }

    /// What the types of a node's parts say about it.
    fn check_node(&mut self, expr: &Expr, types: &[Type], inside: bool) -> Result<(), ExprError> {
        let misplaced = expr.children().enumerate().any(|(index, child)| {
            matches!(child, Expr::Duration(_)) && !(matches!(expr, Expr::Compare(..)) && index == 1)
        });
        if misplaced {
            return Err(lonely_duration());
        }
        match (expr, types) {
            (Expr::Compare(_, left, right), [a, b]) => {
                if matches!(**right, Expr::Duration(_)) {
                    if inside {
                        return Err(passing_time());
                    }
                    if !a.may_be(Type::Time) {
                        return Err(ExprError::new(
                            1,
                            format!("a duration cannot be compared with a {a}"),
                            "compare a time with a duration, such as last_seen < 30d; an \"ago\" value is a plain number",
                        ));
                    }
                } else if !is_null(left) && !is_null(right) && !a.comparable(*b) {
                    self.warn(format!(
                        "{} is always false: it compares a {a} with a {b}",
                        crate::print(expr)
                    ));
                }
            }
            (Expr::Arithmetic(..), _) | (Expr::Negate(_), _) => {
                if let Some(wrong) = types.iter().find(|of| !of.may_be(Type::Number)) {
                    self.warn(format!(
                        "{} is always null: it calculates with a {wrong}",
                        crate::print(expr)
                    ));
                }
            }
            (Expr::And(_) | Expr::Or(_) | Expr::Not(_), _) => {
                if let Some(wrong) = types.iter().find(|of| !of.may_be(Type::Boolean)) {
                    self.warn(format!(
                        "a {wrong} is never true; compare it with something: {}",
                        crate::print(expr)
                    ));
                }
            }
            (Expr::Test(test, ..), [a, b]) => {
                let list = *test == crate::TextTest::Contains && a.may_be(Type::List);
                let texts = a.may_be(Type::Text) && b.may_be(Type::Text);
                if !list && !texts {
                    self.warn(format!("{} is always false", crate::print(expr)));
                }
            }
            (Expr::Matches(..), [a]) if !a.may_be(Type::Text) => {
                self.warn(format!("{} is always false", crate::print(expr)));
            }
            (Expr::In(_, list), [a, b]) => {
                let items = match &**list {
                    Expr::List(items) => items.as_slice(),
                    _ => &[],
                };
                let literal = |item: &Expr| type_of(item, &[], |_| Type::Any);
                let hopeless = !(b.may_be(Type::List) || a.comparable(*b))
                    || (!items.is_empty() && !items.iter().any(|i| a.comparable(literal(i))));
                if hopeless {
                    self.warn(format!("{} is always false", crate::print(expr)));
                }
            }
            (Expr::Call(function, _), types) => self.check_call(*function, types, expr),
            _ => {}
        }
        Ok(())
    }

    fn check_call(&mut self, function: Function, types: &[Type], expr: &Expr) {
        let wanted = match function {
            Function::Lower | Function::Upper => Type::Text,
            Function::Since(_) => Type::Time,
            Function::Abs | Function::Round | Function::Floor | Function::Ceil => Type::Number,
            _ => return,
        };
        if let Some(wrong) = types.iter().find(|of| !of.may_be(wanted)) {
            self.warn(format!(
                "{} is always null: it needs a {wanted}, not a {wrong}",
                crate::print(expr)
            ));
        }
    }

    /// References that multiply (each trait using the one below it twice) must not grow without
    /// bound when they are filled in.
    fn check_inlined_size(&self, expr: &Expr) -> Result<(), ExprError> {
        if !references::can_be_inlined(expr, self.catalog) {
            return Err(ExprError::new(
                1,
                "the expression is too large once the traits and segments it refers to are filled in",
                "refer to fewer of them",
            ));
        }
        Ok(())
    }
}

fn passing_time() -> ExprError {
    ExprError::new(
        1,
        "the time that has passed cannot be used here",
        "an event's filter must give the same answer for ever; use a window: count_30d",
    )
}

fn lonely_duration() -> ExprError {
    ExprError::new(
        1,
        "a duration can only be compared with a time",
        "write for example last_seen < 30d",
    )
}

fn is_null(expr: &Expr) -> bool {
    matches!(expr, Expr::Literal(Value::Null))
}

fn unknown(what: &str, key: &str, known: &[String]) -> ExprError {
    let hint = match closest(key, known.iter().map(String::as_str)) {
        Some(name) => format!("did you mean {name}?"),
        None if known.is_empty() => {
            format!("there is no {what} yet: define it first with cdp.define_{what}")
        }
        None => format!(
            "define it first with cdp.define_{what}; {}",
            some_of(what, known)
        ),
    };
    ExprError::new(1, format!("unknown {what} {key}"), hint)
}

/// The first few of the names that are known.
fn some_of(what: &str, known: &[String]) -> String {
    const SOME: usize = 10;
    let mut names: Vec<&str> = known.iter().map(String::as_str).collect();
    names.sort_unstable();
    let more = if names.len() > SOME { ", …" } else { "" };
    names.truncate(SOME);
    format!("each known {what}: {}{more}", names.join(", "))
}
