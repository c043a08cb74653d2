//! Values of aggregates that are known already, for one person at one instant.

use cdp_value::{Timestamp, Value};

/// What is known, by position of the aggregate. The memory is used again for the next person.
#[derive(Default)]
pub struct Memo {
    /// Whom the entries are about that count.
    person: u64,
    values: Vec<Option<(u64, Value)>>,
    changes: Vec<Option<(u64, Option<Timestamp>)>>,
}

impl Memo {
    /// Forgets all, for there is another person or instant.
    pub fn turn(&mut self, aggregates: usize) {
        self.person += 1;
        self.values.resize(aggregates, None);
        self.changes.resize(aggregates, None);
    }

    pub fn value(&self, position: usize) -> Option<&Value> {
        let (person, value) = self.values.get(position)?.as_ref()?;
        (*person == self.person).then_some(value)
    }

    pub fn note_value(&mut self, position: usize, value: Value) {
        if let Some(entry) = self.values.get_mut(position) {
            *entry = Some((self.person, value));
        }
    }

    /// When the aggregate changes by time alone, if that is known.
    pub fn change(&self, position: usize) -> Option<Option<Timestamp>> {
        let (person, at) = self.changes.get(position)?.as_ref()?;
        (*person == self.person).then_some(*at)
    }

    pub fn note_change(&mut self, position: usize, at: Option<Timestamp>) {
        if let Some(entry) = self.changes.get_mut(position) {
            *entry = Some((self.person, at));
        }
    }
}
