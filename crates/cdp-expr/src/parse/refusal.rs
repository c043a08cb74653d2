//! From the parser's complaint to a message a person can act on.

use super::{character, Rule};
use crate::error::ExprError;
use pest::error::{Error, ErrorVariant, InputLocation};

/// What a rule is called in messages; None for rules that never help.
fn words(rule: Rule) -> Option<&'static str> {
    Some(match rule {
        Rule::program | Rule::EOI | Rule::WHITESPACE => return None,
        Rule::expression
        | Rule::operand
        | Rule::prefix
        | Rule::not_operator
        | Rule::primary
        | Rule::parentheses
        | Rule::list
        | Rule::event_aggregate
        | Rule::reference
        | Rule::duration
        | Rule::number
        | Rule::text
        | Rule::events_word => "a value",
        Rule::tail
        | Rule::binary_operator
        | Rule::or_operator
        | Rule::and_operator
        | Rule::equality
        | Rule::comparison
        | Rule::text_operator
        | Rule::additive
        | Rule::multiplicative
        | Rule::minus
        | Rule::in_list
        | Rule::in_operator
        | Rule::not_exists
        | Rule::or_word
        | Rule::and_word
        | Rule::not_word
        | Rule::in_word
        | Rule::contains_word
        | Rule::starts_with_word
        | Rule::ends_with_word
        | Rule::matches_word
        | Rule::exists_word => "an operator",
        Rule::end => "the end",
        Rule::event_name => "the name of an event",
        Rule::filter => "a filter in [ ]",
        Rule::aggregate_name => "an aggregate such as count_7d",
        Rule::segment | Rule::index | Rule::identifier | Rule::reserved => "a name",
        Rule::arguments | Rule::in_parentheses => "\"(\"",
        Rule::close_parenthesis => "\")\"",
        Rule::close_bracket => "\"]\"",
        Rule::comma => "\",\"",
        Rule::dot => "\".\"",
        Rule::double_quoted
        | Rule::single_quoted
        | Rule::escape
        | Rule::word_character
        | Rule::duration_unit => return None,
    })
}

pub(super) fn empty() -> ExprError {
    ExprError::new(
        1,
        "the expression is empty",
        "write a value or a condition, such as events.purchase.count_7d >= 1",
    )
}

/// What makes the expression whole, where nobody is known to mean something else.
fn completion(before: &str, rest: &str, expected: &[String]) -> &'static str {
    let expects = |word: &str| expected.iter().any(|known| known == word);
    if rest.starts_with([')', ']']) && !expects("a value") {
        "leave it out, or open it before"
    } else if expects("a name") {
        "write a name; one with spaces or signs goes in quotes: profile.\"odd name\""
    } else if expects("the name of an event") {
        "write which event: events.purchase.count, events.\"Order Completed\".count"
    } else if expects("an aggregate such as count_7d") {
        "write what to compute, such as events.purchase.count_7d"
    } else if expects("a filter in [ ]") {
        "go on with a dot and what to compute: events.purchase.count_7d"
    } else if expects("a value") {
        "write a value here: a number, a \"text\", true, null, profile.plan, events.purchase.count_7d, (…)"
    } else if expects("\")\"") && rest.is_empty() {
        "close the parenthesis with )"
    } else if expects("\"]\"") && rest.is_empty() {
        "close the bracket with ]"
    } else if before
        .trim_end()
        .ends_with(|c: char| c.is_alphanumeric() || c == '_')
        && rest.starts_with(['"', '\''])
    {
        "compare with ==, or join conditions with && or ||"
    } else {
        "join conditions with && or ||, compare with == != < <= > >=, calculate with + - * / %"
    }
}

pub(super) fn explain(text: &str, error: &Error<Rule>) -> ExprError {
    let offset = match error.location {
        InputLocation::Pos(at) | InputLocation::Span((at, _)) => at,
    };
    let rest = text.get(offset..).unwrap_or_default();
    let position = character(text, offset);
    if text.trim().is_empty() {
        return empty();
    }
    let mut refusal = ExprError::new(position, found(rest), "");
    if let ErrorVariant::ParsingError { positives, .. } = &error.variant {
        for rule in positives {
            if let Some(word) = words(*rule) {
                if !refusal.expected.iter().any(|known| known == word) {
                    refusal.expected.push(word.to_string());
                }
            }
        }
    }
    let before = text.get(..offset).unwrap_or_default();
    let advice = hint(before, rest).unwrap_or_else(|| completion(before, rest, &refusal.expected));
    refusal.hint = advice.to_string();
    if rest.starts_with(['"', '\'']) && !closes(rest) {
        refusal.message = "this text has no closing quote".to_string();
        refusal.expected.clear();
        refusal.hint =
            "end it with the quote that it begins with; a quote within is written \\\" or \\'"
                .to_string();
    }
    refusal
}

/// Names the thing at the start of `rest`.
fn found(rest: &str) -> String {
    let Some(first) = rest.chars().next() else {
        return "unexpected end of the expression".to_string();
    };
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let thing: String = if is_word(first) {
        rest.chars().take_while(|c| is_word(*c)).take(40).collect()
    } else {
        first.to_string()
    };
    format!("unexpected {thing}")
}

fn closes(rest: &str) -> bool {
    let mut characters = rest.chars();
    let quote = characters.next();
    while let Some(character) = characters.next() {
        if character == '\\' {
            characters.next();
        } else if Some(character) == quote {
            return true;
        }
    }
    false
}

/// Advice for what people forget, and for what they bring along from other languages.
fn hint(before: &str, rest: &str) -> Option<&'static str> {
    let last = before
        .trim_end()
        .rsplit(|c: char| !c.is_alphanumeric() && c != '_' && c != '.')
        .next()
        .unwrap_or_default();
    let next = rest
        .split(|c: char| !c.is_alphanumeric() && c != '_')
        .next()
        .unwrap_or_default()
        .to_ascii_lowercase();
    let is_event = last
        .strip_prefix("events.")
        .is_some_and(|event| !event.contains('.'));
    Some(if is_event && next.is_empty() {
        "write what to compute, such as events.purchase.count_7d"
    } else if is_event {
        "put an event's name in quotes if it has spaces: events.\"Order Completed\".count"
    } else if rest.starts_with('=') {
        "use == to compare"
    } else if rest.starts_with("<>") {
        "use != for not equal"
    } else if rest.starts_with('&') {
        "use && or and"
    } else if rest.starts_with('|') {
        "use || or or"
    } else if rest.starts_with(['\u{201c}', '\u{201d}', '\u{2018}', '\u{2019}', '`']) {
        "use straight quotes: \" or '"
    } else if rest.starts_with('?') {
        "use if(condition, a, b)"
    } else if rest.starts_with(|c: char| c.is_ascii_digit()) {
        "numbers are written 12 or 1.5, durations 30m, 12h, 7d or 2w"
    } else {
        match next.as_str() {
            "is" => "use == null or != null",
            "like" | "ilike" => "use contains, starts_with, ends_with or matches",
            "between" => "use x >= low && x <= high",
            _ => return None,
        }
    })
}
