//! Traits, segments and scores that refer to each other.

use crate::ast::Expr;
use crate::limits;
use crate::resolve::Catalog;
use crate::types::{type_of, Type};
use std::collections::HashMap;

/// Longest chain of definitions that refer to each other.
const CHAIN: usize = 64;

/// A definition that another can refer to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Definition {
    Trait(String),
    Segment(String),
    Score(String),
}

impl Definition {
    /// The definition that a node stands for, whether it has been resolved or not.
    fn of(node: &Expr, catalog: &dyn Catalog) -> Option<Definition> {
        let is_trait = |key: &str| catalog.trait_expression(key).is_some();
        match node {
            Expr::Trait(key) => Some(Definition::Trait(key.clone())),
            Expr::Segment(key) => Some(Definition::Segment(key.clone())),
            Expr::Score(key) | Expr::Grade(key) => Some(Definition::Score(key.clone())),
            Expr::Name(key) | Expr::Attribute(key) if is_trait(key) => {
                Some(Definition::Trait(key.clone()))
            }
            Expr::Name(key) => {
                Some(Definition::Segment(key.clone())).filter(|segment| segment.exists(catalog))
            }
            _ => None,
        }
    }

    pub(crate) fn exists(&self, catalog: &dyn Catalog) -> bool {
        self.expression(catalog).is_some()
            || match self {
                Definition::Segment(key) => catalog.is_static_segment(key),
                Definition::Score(key) => catalog.score_names().contains(key),
                Definition::Trait(_) => false,
            }
    }

    pub(crate) fn expression<'c>(&self, catalog: &'c dyn Catalog) -> Option<&'c Expr> {
        match self {
            Definition::Trait(key) => catalog.trait_expression(key),
            Definition::Segment(key) => catalog.segment_rule(key),
            Definition::Score(key) => catalog.score_inputs(key),
        }
    }

    pub(crate) fn key(&self) -> &str {
        match self {
            Definition::Trait(key) | Definition::Segment(key) | Definition::Score(key) => key,
        }
    }
}

/// The way from `own` over `first` back to `own`, if there is one.
pub(crate) fn cycle(
    own: &Definition,
    first: &Definition,
    catalog: &dyn Catalog,
) -> Option<Vec<String>> {
    // Each definition that was reached, with the one that led there.
    let mut reached: Vec<(Definition, Option<usize>)> = vec![(first.clone(), None)];
    let mut next = 0;
    while let Some((definition, _)) = reached.get(next).cloned() {
        if definition == *own {
            let mut way = vec![own.key().to_string()];
            let mut step = reached.get(next).and_then(|(_, from)| *from);
            while let Some((passed, from)) = step.and_then(|index| reached.get(index)) {
                way.push(passed.key().to_string());
                step = *from;
            }
            way.push(own.key().to_string());
            way.reverse();
            return Some(way);
        }
        if let Some(expr) = definition.expression(catalog) {
            expr.walk(&mut |node| {
                let own_attribute =
                    matches!((node, own), (Expr::Attribute(a), Definition::Trait(b)) if a == b);
                let found = match own_attribute {
                    // It is going to be a trait.
                    true => Some(own.clone()),
                    false => Definition::of(node, catalog),
                };
                if let Some(found) = found {
                    if !reached.iter().any(|(known, _)| *known == found) {
                        reached.push((found, Some(next)));
                    }
                }
            });
        }
        next += 1;
    }
    None
}

/// Whether the expression stays within limits once its references are filled in.
pub(crate) fn can_be_inlined(expr: &Expr, catalog: &dyn Catalog) -> bool {
    let (nodes, height) = inlined_size(expr, catalog, &mut HashMap::new(), 0);
    nodes <= limits::INLINED_NODES && height <= limits::INLINED_HEIGHT
}

/// Nodes and height of an expression with its references filled in. References that lead back
/// to themselves are too large.
fn inlined_size(
    expr: &Expr,
    catalog: &dyn Catalog,
    known: &mut HashMap<Definition, (usize, usize)>,
    chain: usize,
) -> (usize, usize) {
    if chain > CHAIN {
        return (usize::MAX, usize::MAX);
    }
    if let Some(definition) = Definition::of(expr, catalog) {
        if let Some(size) = known.get(&definition) {
            return *size;
        }
        let Some(of) = definition.expression(catalog) else {
            return (1, 1);
        };
        // Until it is known, as large as can be: a cycle has no end.
        known.insert(definition.clone(), (usize::MAX, usize::MAX));
        let size = inlined_size(of, catalog, known, chain + 1);
        known.insert(definition, size);
        return size;
    }
    let mut size = (1usize, 0usize);
    for child in expr.children() {
        let (nodes, height) = inlined_size(child, catalog, known, chain);
        size = (size.0.saturating_add(nodes), size.1.max(height));
    }
    (size.0, size.1.saturating_add(1))
}

/// The type of a computed trait's value.
pub(crate) fn trait_type(key: &str, catalog: &dyn Catalog) -> Type {
    let mut known = HashMap::new();
    catalog
        .trait_expression(key)
        .map_or(Type::Any, |expr| inferred(expr, catalog, &mut known, 0))
}

fn inferred(
    expr: &Expr,
    catalog: &dyn Catalog,
    known: &mut HashMap<Definition, Type>,
    chain: usize,
) -> Type {
    match Definition::of(expr, catalog) {
        Some(Definition::Segment(_)) => return Type::Boolean,
        Some(Definition::Score(_)) => return type_of(expr, &[], |_| Type::Any),
        Some(definition) => {
            if let Some(of) = known.get(&definition) {
                return *of;
            }
            // A trait that leads back to itself, or too far, has no type that could be known.
            known.insert(definition.clone(), Type::Any);
            let of = match definition.expression(catalog) {
                Some(of) if chain < CHAIN => inferred(of, catalog, known, chain + 1),
                _ => Type::Any,
            };
            known.insert(definition, of);
            return of;
        }
        None => {}
    }
    let parts: Vec<Type> = expr
        .children()
        .map(|child| inferred(child, catalog, known, chain))
        .collect();
    type_of(expr, &parts, |_| Type::Any)
}

/// The path of a trait that the application sent, written as one name.
pub(crate) fn profile_path(name: &str) -> Vec<String> {
    name.split('.').map(str::to_string).collect()
}

impl Expr {
    /// The same expression with every `attribute("x")` replaced by what the catalog makes of it: the computed trait
    /// of that key, otherwise the trait that the application sent.
    pub fn settled(&self, catalog: &dyn Catalog) -> Expr {
        if let Expr::Attribute(key) = self {
            return match catalog.trait_expression(key) {
                Some(_) => Expr::Trait(key.clone()),
                None => Expr::Profile(profile_path(key)),
            };
        }
        let parts: Vec<Expr> = self.children().map(|part| part.settled(catalog)).collect();
        match parts.is_empty() {
            true => self.clone(),
            false => self.with_children(parts),
        }
    }

    /// Keys that this expression leaves open whether they are computed traits, each once.
    pub fn attribute_references(&self) -> Vec<&str> {
        self.collect(|node| match node {
            Expr::Attribute(key) => Some(key.as_str()),
            _ => None,
        })
    }

    /// The same expression with traits and segments, but not scores, replaced by their expressions, all the way
    /// down. A segment becomes `… == true`, so that it is a condition whatever its rule gives. A
    /// reference that is unknown, leads back to itself, or would make the expression too large
    /// (see [`limits`]) stays.
    pub fn inline(&self, catalog: &dyn Catalog) -> Expr {
        if !can_be_inlined(self, catalog) {
            return self.clone();
        }
        self.filled_in(catalog)
    }

    fn filled_in(&self, catalog: &dyn Catalog) -> Expr {
        if let Some(definition) = Definition::of(self, catalog) {
            return match (definition.expression(catalog), definition) {
                (Some(of), Definition::Trait(_)) => of.filled_in(catalog),
                (Some(of), Definition::Segment(_)) => as_condition(of.filled_in(catalog)),
                (_, Definition::Score(_)) | (None, _) => self.clone(),
            };
        }
        if let Expr::Attribute(key) = self {
            return Expr::Profile(profile_path(key));
        }
        let parts: Vec<Expr> = self
            .children()
            .map(|child| child.filled_in(catalog))
            .collect();
        self.with_children(parts)
    }
}

/// An expression that gives true or false, never null or another value.
fn as_condition(expr: Expr) -> Expr {
    match expr {
        Expr::And(_)
        | Expr::Or(_)
        | Expr::Not(_)
        | Expr::Compare(..)
        | Expr::Test(..)
        | Expr::Matches(..)
        | Expr::In(..)
        | Expr::Segment(_)
        | Expr::Percentage(..) => expr,
        other => Expr::Compare(
            crate::Comparison::Equal,
            Box::new(other),
            Box::new(Expr::Literal(cdp_value::Value::Bool(true))),
        ),
    }
}
