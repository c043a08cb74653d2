//! The hot paths, a file a crate or two.

mod decisions;
mod expressions;
mod identity;
mod messages;
mod states;
mod values;

/// Something that is done for each message, person or question.
pub struct Path {
    pub name: &'static str,
    /// What one operation is.
    pub operation: &'static str,
    /// How many operations a round has.
    pub operations: u64,
    /// Makes the inputs, and gives what runs one round over them. Each round does the same.
    pub prepare: fn() -> Box<dyn FnMut()>,
}

/// All paths.
pub fn all() -> Vec<Path> {
    let mut all = Vec::new();
    for paths in [
        messages::paths(),
        identity::paths(),
        states::paths(),
        expressions::paths(),
        decisions::paths(),
        values::paths(),
    ] {
        all.extend(paths);
    }
    all
}
