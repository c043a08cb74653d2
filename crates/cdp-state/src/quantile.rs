//! Percentiles: exact for few numbers, a histogram with a stated relative error for many.
//!
//! A percentile interpolates between the two numbers next to its rank, as Postgres'
//! `percentile_cont` does. The histogram's bins are those of the binary representation of a
//! double: its exponent and the first six bits of its mantissa, so that the middle of a bin is
//! within 0.8 % of every number in it. With too many bins neighbours are joined two by two, which
//! doubles the error each time. Neither depends on the order of numbers.

use crate::bytes::{put, put_signed, Reader};
use crate::property::Property;
use crate::value_code::{put_number, take_number};
use crate::StateError;
use cdp_value::{Decimal, Value};

/// Percentiles over all time are exact up to so many numbers.
pub const PERCENTILE_EXACT: usize = 64;
/// Relative error of a percentile above that.
pub const PERCENTILE_ERROR: f64 = 0.008;

/// Bits of a double that are below a bin's: 46 of its 52 bits of mantissa.
const DROPPED_BITS: u32 = 46;
/// The bin of infinity.
const INFINITE: i64 = 0x7ff << 6;
/// Most bins of a histogram over all time, and of one bucket.
pub(crate) const BINS_EVER: usize = 256;
pub(crate) const BINS_BUCKET: usize = 128;
/// Enough to join all bins to two.
const MOST_SHIFT: u8 = 20;

/// A histogram.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Bins {
    /// 2^shift of the finest bins are one.
    shift: u8,
    /// Bin and number of numbers, ascending.
    bins: Vec<(i64, u64)>,
}

/// The double next to a number; finite.
fn double(number: &Decimal) -> f64 {
    if let Some(whole) = number.to_i64() {
        return whole as f64;
    }
    let double: f64 = number.to_string().parse().unwrap_or(0.0);
    double.clamp(f64::MIN, f64::MAX)
}

fn bin(number: &Decimal) -> i64 {
    let double = double(number);
    let bin = (double.abs().to_bits() >> DROPPED_BITS) as i64;
    if double < 0.0 {
        -1 - bin
    } else {
        bin
    }
}

impl Bins {
    pub(crate) fn add(&mut self, number: &Decimal, most: usize) {
        self.add_bin(bin(number) >> self.shift, 1);
        self.limit(most);
    }

    fn add_bin(&mut self, bin: i64, count: u64) {
        match self.bins.binary_search_by_key(&bin, |known| known.0) {
            Ok(position) => {
                if let Some(known) = self.bins.get_mut(position) {
                    known.1 = known.1.saturating_add(count);
                }
            }
            Err(position) => self.bins.insert(position, (bin, count)),
        }
    }

    /// Joins neighbours until there are few enough bins.
    fn limit(&mut self, most: usize) {
        while self.bins.len() > most && self.shift < MOST_SHIFT {
            self.widen(self.shift + 1);
        }
    }

    fn widen(&mut self, shift: u8) {
        let by = shift.saturating_sub(self.shift);
        if by == 0 {
            return;
        }
        self.shift = shift;
        for (bin, count) in std::mem::take(&mut self.bins) {
            let bin = bin >> by;
            match self.bins.last_mut() {
                Some(last) if last.0 == bin => last.1 = last.1.saturating_add(count),
                _ => self.bins.push((bin, count)),
            }
        }
    }

    pub(crate) fn merge(&mut self, other: &Bins, most: usize) {
        self.widen(other.shift);
        let by = self.shift - other.shift.min(self.shift);
        for (bin, count) in &other.bins {
            self.add_bin(bin >> by, *count);
        }
        self.limit(most);
    }

    /// The same histogram with `part` of `whole` of its numbers.
    pub(crate) fn part(&self, part: u64, whole: u64) -> Bins {
        let share = |count: u64| {
            let exact = u128::from(count) * u128::from(part);
            let rounded = (exact + u128::from(whole / 2)) / u128::from(whole.max(1));
            u64::try_from(rounded).unwrap_or(u64::MAX)
        };
        let bins = self.bins.iter().map(|(bin, count)| (*bin, share(*count)));
        Bins {
            shift: self.shift,
            bins: bins.filter(|(_, count)| *count > 0).collect(),
        }
    }

    /// The middle of a bin, to seven digits.
    fn middle(&self, bin: i64) -> Decimal {
        let (is_negative, low, high) = if bin >= 0 {
            (false, bin << self.shift, (bin + 1) << self.shift)
        } else {
            (true, -((bin + 1) << self.shift), -(bin << self.shift))
        };
        if low == 0 {
            return Decimal::zero();
        }
        let double = |bin: i64| {
            if bin >= INFINITE {
                f64::MAX
            } else {
                f64::from_bits((bin as u64) << DROPPED_BITS)
            }
        };
        let middle = double(low) / 2.0 + double(high) / 2.0;
        let middle = Decimal::parse(&format!("{middle:.6e}")).unwrap_or_else(Decimal::zero);
        if is_negative {
            middle.neg()
        } else {
            middle
        }
    }

    /// Number of bins, shift, bins as distances, numbers of numbers.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        put(out, self.bins.len() as u64);
        out.push(self.shift);
        let mut previous = 0;
        for (bin, count) in &self.bins {
            put_signed(out, bin - previous);
            put(out, *count);
            previous = *bin;
        }
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Bins, StateError> {
        let count = reader.count(2)?;
        let shift = reader.byte()?;
        let mut bins = Vec::with_capacity(count);
        let mut previous = 0i64;
        for i in 0..count {
            let step = reader.signed()?;
            previous = previous.saturating_add(step);
            let is_sorted = i == 0 || step > 0;
            if !is_sorted || previous.abs() > INFINITE + 1 || shift > MOST_SHIFT {
                return Err(StateError::Damaged("a histogram is out of order"));
            }
            bins.push((previous, reader.varint()?));
        }
        Ok(Bins { shift, bins })
    }
}

/// The numbers of all time.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Numbers {
    /// Ascending; empty once there is a histogram.
    exact: Vec<Decimal>,
    bins: Option<Bins>,
}

impl Numbers {
    pub(crate) fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.bins.is_none()
    }

    /// Whether there were too many numbers to keep them.
    pub(crate) fn is_estimate(&self) -> bool {
        self.bins.is_some()
    }

    pub(crate) fn add(&mut self, property: Property<'_>) {
        let Some(number) = property.number() else {
            return;
        };
        if let Some(bins) = &mut self.bins {
            return bins.add(number, BINS_EVER);
        }
        let position = self.exact.partition_point(|known| known <= number);
        self.exact.insert(position, number.clone());
        let is_large = matches!(property, Property::LargeNumber(_));
        if is_large || self.exact.len() > PERCENTILE_EXACT {
            self.estimate_from_now_on();
        }
    }

    fn estimate_from_now_on(&mut self) -> &mut Bins {
        let exact = std::mem::take(&mut self.exact);
        let bins = self.bins.get_or_insert_default();
        for number in &exact {
            bins.add(number, BINS_EVER);
        }
        bins
    }

    pub(crate) fn merge(&mut self, other: &Numbers) {
        if let Some(bins) = &other.bins {
            self.estimate_from_now_on().merge(bins, BINS_EVER);
        }
        for number in &other.exact {
            self.add(Property::Number(number));
        }
    }

    pub(crate) fn percentile(&self, percent: u8) -> Value {
        let mut ranks = Ranks::default();
        ranks
            .numbers
            .extend(self.exact.iter().map(|n| (n.clone(), 1)));
        if let Some(bins) = &self.bins {
            ranks.add_bins(bins);
        }
        ranks.percentile(percent)
    }

    /// Twice the number of numbers and the numbers, or 1 and the histogram.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        match &self.bins {
            None => {
                put(out, (self.exact.len() as u64) << 1);
                for number in &self.exact {
                    put_number(out, number);
                }
            }
            Some(bins) => {
                put(out, 1);
                bins.encode(out);
            }
        }
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Numbers, StateError> {
        let mut numbers = Numbers::default();
        let header = reader.varint()?;
        if header & 1 == 1 {
            numbers.bins = Some(Bins::decode(reader)?);
            return Ok(numbers);
        }
        for _ in 0..header >> 1 {
            numbers.exact.push(take_number(reader)?);
        }
        Ok(numbers)
    }
}

/// Numbers and how often each came, from which ranks are taken.
#[derive(Debug, Default)]
pub(crate) struct Ranks {
    numbers: Vec<(Decimal, u64)>,
}

impl Ranks {
    pub(crate) fn add(&mut self, number: &Decimal) {
        self.numbers.push((number.clone(), 1));
    }

    pub(crate) fn add_bins(&mut self, bins: &Bins) {
        let middles = bins.bins.iter();
        self.numbers
            .extend(middles.map(|(bin, count)| (bins.middle(*bin), *count)));
    }

    /// The number below which `percent` % of the numbers lie, interpolated; null without numbers.
    pub(crate) fn percentile(mut self, percent: u8) -> Value {
        self.numbers.sort();
        let total = self
            .numbers
            .iter()
            .fold(0u64, |sum, (_, count)| sum.saturating_add(*count));
        let Some(last) = total.checked_sub(1) else {
            return Value::Null;
        };
        // Counting from 0, the rank is percent/100 × (total - 1).
        let rank = u128::from(percent.min(100)) * u128::from(last);
        let low = self.at(rank / 100);
        let high = self.at(rank.div_ceil(100));
        let part = Decimal::from((rank % 100) as i64);
        let hundredth = Decimal::parse("0.01").unwrap_or_else(Decimal::zero);
        let step = high
            .checked_sub(low)
            .and_then(|step| step.checked_mul(&part)?.checked_mul(&hundredth));
        step.and_then(|step| low.checked_add(&step))
            .map_or(Value::Null, Value::Number)
    }

    /// The number with a rank.
    fn at(&self, rank: u128) -> &Decimal {
        static ZERO: std::sync::LazyLock<Decimal> = std::sync::LazyLock::new(Decimal::zero);
        let mut before = 0u128;
        for (number, count) in &self.numbers {
            before += u128::from(*count);
            if rank < before {
                return number;
            }
        }
        self.numbers.last().map_or(&ZERO, |(number, _)| number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig { rng_seed: proptest::test_runner::RngSeed::Fixed(3), failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn bins_are_within_the_stated_error(digits in any::<i64>(), scale in 0i64..30) {
            let number = Decimal::parse(&format!("{digits}e-{scale}")).unwrap();
            let mut bins = Bins::default();
            bins.add(&number, BINS_EVER);
            let (exact, middle) = (double(&number), double(&bins.middle(bins.bins[0].0)));
            prop_assert!((middle - exact).abs() <= PERCENTILE_ERROR * exact.abs());
        }

        #[test]
        fn bins_are_few_and_do_not_depend_on_order(
            numbers in prop::collection::vec((any::<i64>(), -30i64..30), 0..400),
            split in 0usize..400,
        ) {
            let numbers: Vec<Decimal> = numbers
                .iter()
                .map(|(digits, exponent)| Decimal::parse(&format!("{digits}e{exponent}")).unwrap())
                .collect();
            let fold = |numbers: &mut dyn Iterator<Item = &Decimal>| {
                let mut bins = Bins::default();
                numbers.for_each(|number| bins.add(number, BINS_BUCKET));
                bins
            };
            let forward = fold(&mut numbers.iter());
            prop_assert_eq!(&fold(&mut numbers.iter().rev()), &forward);
            let (left, right) = numbers.split_at(split.min(numbers.len()));
            let mut merged = fold(&mut left.iter());
            merged.merge(&fold(&mut right.iter()), BINS_BUCKET);
            prop_assert_eq!(&merged, &forward);
            prop_assert!(forward.bins.len() <= BINS_BUCKET);
            let mut out = Vec::new();
            forward.encode(&mut out);
            prop_assert_eq!(Bins::decode(&mut Reader::new(&out)).unwrap(), forward);
        }
    }

    #[test]
    fn percentiles_interpolate() {
        let mut numbers = Numbers::default();
        for n in [1, 2, 3, 10] {
            numbers.add(Property::Number(&Decimal::from(n)));
        }
        let number = |text| Value::Number(Decimal::parse(text).unwrap());
        assert_eq!(numbers.percentile(50), number("2.5"));
        assert_eq!(numbers.percentile(99), number("9.79"));
        for n in 0..10_000 {
            numbers.add(Property::Number(&Decimal::from(n)));
        }
        let Value::Number(median) = numbers.percentile(50) else {
            unreachable!();
        };
        assert!((double(&median) / 5_000.0 - 1.0).abs() < PERCENTILE_ERROR * 1.1);
    }
}
