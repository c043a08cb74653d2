//! What tests of identity share: a random stream that is the same in every run, and the comparison of people.

/// Xorshift with 64 bits (G. Marsaglia: Xorshift RNGs, 2003).
pub struct Random(u64);

impl Random {
    /// The seed must not be 0, which would be followed by nothing but zeros.
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// A number from 0 to `bound - 1`.
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }

    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i + 1));
        }
    }
}

/// Panics with the people that differ.
#[track_caller]
pub fn same(actual: &[String], expected: &[String], when: &str) {
    let only = |some: &[String], others: &[String]| -> Vec<String> {
        some.iter()
            .filter(|person| !others.contains(person))
            .take(3)
            .cloned()
            .collect()
    };
    let (more, less) = (only(actual, expected), only(expected, actual));
    assert!(
        more.is_empty() && less.is_empty(),
        "{when}:\n{more:#?}\ninstead of\n{less:#?}"
    );
}
