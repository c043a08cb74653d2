//! What keeps an expression small enough that every later step is fast and safe.

use crate::error::ExprError;

/// Longest text, in bytes.
pub const TEXT: usize = 16 * 1024;
/// Deepest nesting of brackets and prefix operators.
pub const DEPTH: usize = 64;
/// Most nodes of a tree.
pub const NODES: usize = 2_000;
/// Most items of a list.
pub const LIST: usize = 1_000;
/// Greatest height of a tree. Chains such as `a + b + c` are as high as they are long.
pub const HEIGHT: usize = 256;
/// Most nodes, and greatest height, once traits and segments are replaced by their expressions.
pub const INLINED_NODES: usize = 20_000;
pub const INLINED_HEIGHT: usize = 512;

pub(crate) fn too_deep(position: usize) -> ExprError {
    ExprError::new(
        position,
        format!("the expression is nested more than {DEPTH} deep"),
        "split it into several traits",
    )
}

/// Refuses a text that is too long or too deeply nested. This runs before the parser, which
/// recurses for each bracket.
pub(crate) fn check_text(text: &str) -> Result<(), ExprError> {
    if text.len() > TEXT {
        return Err(ExprError::new(
            1,
            format!("the expression is longer than {TEXT} bytes"),
            "split it into several traits",
        ));
    }
    let mut depth = 0usize;
    let mut characters = text.chars().enumerate();
    while let Some((index, character)) = characters.next() {
        match character {
            '(' | '[' => {
                depth += 1;
                if depth > DEPTH {
                    return Err(too_deep(index + 1));
                }
            }
            ')' | ']' => depth = depth.saturating_sub(1),
            quote @ ('"' | '\'') => {
                // An escape hides the quote behind it.
                while let Some((_, inner)) = characters.next() {
                    if inner == '\\' {
                        characters.next();
                    } else if inner == quote {
                        break;
                    }
                }
            }
            _ => {}
        }
    }
    Ok(())
}
