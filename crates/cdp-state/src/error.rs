//! What can be wrong with stored bytes.

/// Why bytes are not a state. Slots are decoded when they are first needed, so every method that
/// looks into a slot can give this error; the profile is then to be rebuilt from its events.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// The first byte names a format this build does not know: it was written by a later release.
    #[error("the state has format {0}, which this release does not know")]
    Version(u8),
    /// The bytes do not follow the format; the text says where.
    #[error("the state is damaged: {0}")]
    Damaged(&'static str),
}
