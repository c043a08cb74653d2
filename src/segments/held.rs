//! The segments one person is in.

use cdp_value::Timestamp;

/// Segments by id, and since when the person is in them.
#[derive(Clone, Default)]
pub struct Memberships {
    /// Ascending by id.
    segments: Vec<(i32, Timestamp)>,
}

impl Memberships {
    fn position(&self, segment_id: i32) -> Result<usize, usize> {
        self.segments.binary_search_by_key(&segment_id, |(id, _)| *id)
    }

    /// Since when the person is in a segment.
    pub fn since(&self, segment_id: i32) -> Option<Timestamp> {
        Some(self.segments.get(self.position(segment_id).ok()?)?.1)
    }

    /// Notes that the person is in a segment; returns whether that is new.
    pub fn enter(&mut self, segment_id: i32, since: Timestamp) -> bool {
        match self.position(segment_id) {
            Ok(_) => false,
            Err(position) => {
                self.segments.insert(position, (segment_id, since));
                true
            }
        }
    }

    /// Notes that the person is not in a segment; returns whether that is new.
    pub fn exit(&mut self, segment_id: i32) -> bool {
        self.position(segment_id).is_ok_and(|position| {
            self.segments.remove(position);
            true
        })
    }

    /// The segments.
    pub fn ids(&self) -> impl Iterator<Item = i32> + '_ {
        self.segments.iter().map(|(id, _)| *id)
    }
}
