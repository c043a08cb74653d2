//! How large and how deep a message may be.

/// Limits on what is accepted. All are settings; the defaults are those that clients of the spec
/// already live with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Longest JSON text of one message, in bytes.
    pub event_bytes: usize,
    /// Longest payload, in bytes, where the batch limits apply.
    pub batch_bytes: usize,
    /// Most messages of a payload where the batch limits apply.
    pub batch_messages: usize,
    /// Longest event, page or screen name and category, in characters.
    pub name_chars: usize,
    /// Longest identifier of a person or group, in characters.
    pub id_chars: usize,
    /// Longest `message_id`, in characters.
    pub message_id_chars: usize,
    /// Deepest nesting of `properties`, `traits`, `context` and `integrations`: a flat object is
    /// 1. Never more than [`Limits::MAX_NESTING`].
    pub nesting: usize,
}

impl Limits {
    /// Readers of JSON are recursive, here and in the server, so no setting may exceed this.
    pub const MAX_NESTING: usize = 1000;

    /// The nesting that is enforced.
    pub(crate) fn effective_nesting(&self) -> usize {
        self.nesting.min(Limits::MAX_NESTING)
    }
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            event_bytes: 32 * 1024,
            batch_bytes: 500 * 1024,
            batch_messages: 2500,
            name_chars: 255,
            id_chars: 500,
            message_id_chars: 100,
            nesting: 200,
        }
    }
}
