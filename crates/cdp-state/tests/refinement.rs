//! What was read at the edges of windows need not be read again.
#![allow(clippy::unwrap_used, clippy::panic)]

use cdp_state::{EdgeEvents, SlotSpec, State, Zoned};
use cdp_value::{AggregateFunction as F, Decimal, Value, Window, DAY, MINUTE};

const NOW: i64 = 1_700_000_000_000_000;

struct One(SlotSpec);

impl cdp_state::Specs for One {
    fn spec(&self, slot: u32) -> Option<&SlotSpec> {
        (slot == self.0.id()).then_some(&self.0)
    }
}

/// 0 for all time.
fn window(days: i64) -> Option<Window> {
    (days > 0).then_some(Window { length: days * DAY })
}

#[test]
fn edges_are_read_once() {
    let calendar = Zoned::new("UTC").unwrap();
    for functions in [
        vec![(F::Count, 7), (F::Count, 30)],
        vec![(F::Sum, 30), (F::Avg, 90), (F::Max, 30)],
        vec![(F::UniqueDays, 14)],
        vec![(F::Last, 30), (F::Last, 0)],
        vec![
            (F::Count, 7),
            (F::Count, 30),
            (F::Count, 0),
            (F::UniqueDays, 14),
        ],
        vec![(F::Sum, 30), (F::Avg, 90), (F::Max, 30), (F::Sum, 0)],
        vec![(F::Last, 0)],
    ] {
        let mut spec = SlotSpec::new(1);
        for (function, days) in &functions {
            spec.add(*function, window(*days));
        }
        let spec = One(spec);
        let events: Vec<(i64, Option<Value>)> = (0..10_000)
            .map(|n| {
                (
                    NOW - n * 53 * MINUTE - 7,
                    Some(Value::Number(Decimal::from(n % 100))),
                )
            })
            .collect();
        let mut state = State::new();
        for (ts, value) in &events {
            state.fold(&spec.0, *ts, value.as_ref(), &calendar).unwrap();
        }
        state.compact(&spec, NOW).unwrap();
        let mut read = Vec::new();
        for step in 0..16 {
            let now = NOW + 60 * MINUTE * 24 * (step / 4) + step;
            let mut ranges = Vec::new();
            for (function, days) in &functions {
                ranges.extend(state.edges(&spec.0, *function, window(*days), now).unwrap());
            }
            let found: Vec<(i64, Option<Value>)> = events
                .iter()
                .filter(|(ts, _)| ranges.iter().any(|r| (r.from..=r.to).contains(ts)))
                .cloned()
                .collect();
            read.push(found.len());
            let edges = EdgeEvents::new(ranges, found);
            state.refine(&spec.0, now, &edges).unwrap();
            state.compact_changed(&spec, now).unwrap();
            state = State::decode(&state.encode()).unwrap();
        }
        let again = read.chunks(4).flat_map(|c| &c[1..]).max().unwrap();
        assert!(*again <= 8, "{functions:?}: {read:?}");
    }
}
