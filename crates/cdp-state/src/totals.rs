//! What is kept over all time, whatever the number of events: one value per function.

use crate::bytes::{put, put_signed, Reader};
use crate::partial::{keep_maximum, keep_minimum, Dated, Sum};
use crate::property::Property;
use crate::spec::{total, Parts, SlotSpec};
use crate::value_code::{put_held, put_number, take_held, take_number};
use crate::StateError;
use cdp_value::{Decimal, Timestamp};

/// Totals over all events of a slot; which of them are kept is the spec's matter.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Totals {
    pub(crate) count: u64,
    pub(crate) sum: Sum,
    pub(crate) minimum: Option<Decimal>,
    pub(crate) maximum: Option<Decimal>,
    pub(crate) first: Option<Dated>,
    pub(crate) last: Option<Dated>,
    pub(crate) first_seen: Option<Timestamp>,
}

impl Totals {
    pub(crate) fn is_empty(&self) -> bool {
        *self == Totals::default()
    }

    pub(crate) fn fold(&mut self, parts: Parts, ts: Timestamp, property: Property<'_>) {
        if parts.has(total::COUNT) {
            self.count = self.count.saturating_add(1);
        }
        if parts.has(total::FIRST_SEEN) {
            self.first_seen = Some(self.first_seen.map_or(ts, |known| known.min(ts)));
        }
        if let Some(number) = property.number() {
            if parts.has(total::SUM) {
                self.sum.add(property);
            }
            if parts.has(total::MINIMUM) {
                keep_minimum(&mut self.minimum, number);
            }
            if parts.has(total::MAXIMUM) {
                keep_maximum(&mut self.maximum, number);
            }
        }
        // A value is only copied when it can win.
        if parts.has(total::FIRST) && self.first.as_ref().is_none_or(|known| ts <= known.ts) {
            if let Some(dated) = Dated::new(ts, property.hold()) {
                Dated::keep_first(&mut self.first, dated);
            }
        }
        if parts.has(total::LAST) && self.last.as_ref().is_none_or(|known| ts >= known.ts) {
            if let Some(dated) = Dated::new(ts, property.hold()) {
                Dated::keep_last(&mut self.last, dated);
            }
        }
    }

    pub(crate) fn merge(&mut self, other: &Totals) {
        self.count = self.count.saturating_add(other.count);
        self.sum.merge(&other.sum);
        if let Some(number) = &other.minimum {
            keep_minimum(&mut self.minimum, number);
        }
        if let Some(number) = &other.maximum {
            keep_maximum(&mut self.maximum, number);
        }
        if let Some(dated) = &other.first {
            Dated::keep_first(&mut self.first, dated.clone());
        }
        if let Some(dated) = &other.last {
            Dated::keep_last(&mut self.last, dated.clone());
        }
        self.first_seen = match (self.first_seen, other.first_seen) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
    }

    /// Forgets what the spec does not need, and a last value that no window reaches.
    pub(crate) fn compact(&mut self, spec: &SlotSpec, now: Timestamp) {
        let parts = spec.totals;
        if !parts.has(total::COUNT) {
            self.count = 0;
        }
        if !parts.has(total::SUM) {
            self.sum = Sum::default();
        }
        if !parts.has(total::MINIMUM) {
            self.minimum = None;
        }
        if !parts.has(total::MAXIMUM) {
            self.maximum = None;
        }
        if !parts.has(total::FIRST) {
            self.first = None;
        }
        if !parts.has(total::FIRST_SEEN) {
            self.first_seen = None;
        }
        let floor = spec.last.floor(now);
        let is_reached = |last: &Dated| spec.last.all_time || last.ts >= floor;
        if !parts.has(total::LAST) || !self.last.as_ref().is_some_and(is_reached) {
            self.last = None;
        }
    }

    /// Appends the totals; times are relative to `last`, the slot's latest event.
    pub(crate) fn encode(&self, last: Timestamp, out: &mut Vec<u8>) {
        let mut parts = Parts::default();
        for (part, is_kept) in [
            (total::COUNT, self.count > 0),
            (total::SUM, self.sum != Sum::default()),
            (total::MINIMUM, self.minimum.is_some()),
            (total::MAXIMUM, self.maximum.is_some()),
            (total::FIRST, self.first.is_some()),
            (total::LAST, self.last.is_some()),
            (total::FIRST_SEEN, self.first_seen.is_some()),
        ] {
            if is_kept {
                parts.insert(part);
            }
        }
        out.push(parts.0);
        if parts.has(total::COUNT) {
            put(out, self.count);
        }
        if parts.has(total::SUM) {
            encode_sum(&self.sum, out);
        }
        for number in self.minimum.iter().chain(&self.maximum) {
            put_number(out, number);
        }
        for dated in self.first.iter().chain(&self.last) {
            encode_dated(dated, last, out);
        }
        if let Some(ts) = self.first_seen {
            put_signed(out, last.wrapping_sub(ts));
        }
    }

    pub(crate) fn decode(last: Timestamp, reader: &mut Reader<'_>) -> Result<Totals, StateError> {
        let parts = Parts(reader.byte()?);
        let mut totals = Totals::default();
        if parts.has(total::COUNT) {
            totals.count = reader.varint()?;
        }
        if parts.has(total::SUM) {
            totals.sum = decode_sum(reader)?;
        }
        if parts.has(total::MINIMUM) {
            totals.minimum = Some(take_number(reader)?);
        }
        if parts.has(total::MAXIMUM) {
            totals.maximum = Some(take_number(reader)?);
        }
        if parts.has(total::FIRST) {
            totals.first = decode_dated(last, reader)?;
        }
        if parts.has(total::LAST) {
            totals.last = decode_dated(last, reader)?;
        }
        if parts.has(total::FIRST_SEEN) {
            totals.first_seen = Some(last.wrapping_sub(reader.signed()?));
        }
        Ok(totals)
    }
}

/// Appends a sum: twice the number of numbers, plus one if it overflowed, and the total.
pub(crate) fn encode_sum(sum: &Sum, out: &mut Vec<u8>) {
    put(out, (sum.numbers << 1) | u64::from(sum.overflow));
    if !sum.overflow {
        put_number(out, &sum.total);
    }
}

/// Reads what [`encode_sum`] wrote.
pub(crate) fn decode_sum(reader: &mut Reader<'_>) -> Result<Sum, StateError> {
    let header = reader.varint()?;
    let overflow = header & 1 == 1;
    Ok(Sum {
        numbers: header >> 1,
        total: if overflow {
            Decimal::zero()
        } else {
            take_number(reader)?
        },
        overflow,
    })
}

fn encode_dated(dated: &Dated, last: Timestamp, out: &mut Vec<u8>) {
    put_signed(out, last.wrapping_sub(dated.ts));
    put_held(out, &dated.held, &[]);
}

fn decode_dated(last: Timestamp, reader: &mut Reader<'_>) -> Result<Option<Dated>, StateError> {
    let ts = last.wrapping_sub(reader.signed()?);
    Ok(Dated::new(ts, take_held(reader, &[])?))
}
