//! The coding of a series: newest first, as distances from the slot's latest event.

use crate::bytes::{put, put_signed, Reader};
use crate::ladder::Block;
use crate::partial::{Dated, Partial, Runs};
use crate::property::Held;
use crate::quantile::Bins;
use crate::sample::Sample;
use crate::series::{Bucket, Series, Single};
use crate::spec::{column, Parts};
use crate::totals::{decode_sum, encode_sum};
use crate::value_code::{
    put_dictionary, put_held, put_number, take_dictionary, take_held, take_number,
};
use crate::StateError;
use cdp_value::{Timestamp, Value};
use std::sync::Arc;

/// The single events' times are whole milliseconds, as those of most clients are.
const MILLISECONDS: u64 = 1;
const MILLISECOND: i64 = 1000;

/// Levels of blocks that can occur.
const LEVELS: std::ops::RangeInclusive<u8> = 16..=62;

impl Series {
    fn has_values(&self) -> bool {
        self.columns.has(column::OF_NUMBERS | column::OF_VALUES)
    }

    /// Every text, array and object that is kept, each once.
    fn dictionary(&self) -> Vec<Arc<Value>> {
        let mut dictionary: Vec<Arc<Value>> = Vec::new();
        if !self.columns.has(column::OF_VALUES) {
            return dictionary;
        }
        let partials = || self.buckets.iter().filter_map(|b| b.partial.as_deref());
        let firsts = partials().filter_map(|partial| partial.first.as_ref());
        let singles = self.singles.iter().map(|single| &single.held);
        for held in singles.chain(firsts.map(|dated| &dated.held)) {
            if let Held::Other(value) = held {
                dictionary.push(Arc::clone(value));
            }
        }
        for value in partials()
            .filter_map(|partial| partial.sample.as_ref())
            .flat_map(|sample| sample.values())
            .filter(|value| !matches!(***value, Value::Number(_)))
        {
            dictionary.push(Arc::clone(value));
        }
        dictionary.sort_by(|a, b| a.total_cmp(b));
        dictionary.dedup();
        dictionary
    }

    /// Appends the series; `last` is the slot's latest event.
    pub(crate) fn encode(&self, last: Timestamp, out: &mut Vec<u8>) {
        out.push(self.columns.0);
        let dictionary = self.dictionary();
        if self.columns.has(column::OF_VALUES) {
            put_dictionary(out, &dictionary);
        }
        let whole = last % MILLISECOND == 0 && self.singles.iter().all(|s| s.ts % MILLISECOND == 0);
        let unit = if whole { MILLISECOND as u64 } else { 1 };
        put(out, ((self.singles.len() as u64) << 1) | u64::from(whole));
        let mut previous = last;
        for single in self.singles.iter().rev() {
            put(out, (previous.wrapping_sub(single.ts) as u64) / unit);
            if self.has_values() {
                put_held(out, &single.held, &dictionary);
            }
            previous = single.ts;
        }
        put(out, self.buckets.len() as u64);
        let mut previous = last;
        let mut level = 0;
        for bucket in self.buckets.iter().rev() {
            let block = bucket.block;
            let distance = (previous >> block.level).wrapping_sub(block.start >> block.level);
            let is_same = level == block.level;
            put(out, ((distance as u64) << 1) | u64::from(is_same));
            if !is_same {
                out.push(block.level);
            }
            out.push(bucket.first_part);
            out.push(bucket.last_part.wrapping_sub(bucket.first_part));
            put(out, bucket.count);
            if let Some(partial) = &bucket.partial {
                encode_partial(partial, self.columns, block, &dictionary, out);
            } else if self.columns != Parts::default() {
                encode_partial(&Partial::default(), self.columns, block, &dictionary, out);
            }
            (previous, level) = (block.start.wrapping_sub(1), block.level);
        }
    }

    pub(crate) fn decode(last: Timestamp, reader: &mut Reader<'_>) -> Result<Series, StateError> {
        let columns = Parts(reader.byte()?);
        let mut series = Series {
            columns,
            ..Series::default()
        };
        let dictionary = if columns.has(column::OF_VALUES) {
            take_dictionary(reader)?
        } else {
            Vec::new()
        };
        let header = reader.varint()?;
        let unit = if header & MILLISECONDS == 0 {
            1
        } else {
            MILLISECOND as u64
        };
        let count = usize::try_from(header >> 1).unwrap_or(usize::MAX);
        if count > reader.remaining() {
            return Err(StateError::Damaged("a series ends too early"));
        }
        series.singles.reserve_exact(count);
        let mut previous = last;
        for _ in 0..count {
            let distance = reader.varint()?.wrapping_mul(unit);
            let ts = before(previous, distance)?;
            let held = if series.has_values() {
                take_held(reader, &dictionary)?
            } else {
                Held::Absent
            };
            series.singles.push(Single { ts, held });
            previous = ts;
        }
        series.singles.reverse();
        let count = reader.count(4)?;
        series.buckets.reserve_exact(count);
        let (mut previous, mut level) = (last, 0);
        for _ in 0..count {
            let header = reader.varint()?;
            if header & 1 == 0 {
                level = reader.byte()?;
            }
            if !LEVELS.contains(&level) {
                return Err(StateError::Damaged("a bucket has an unknown width"));
            }
            let index = before(previous >> level, header >> 1)?;
            let block = Block {
                level,
                start: index << level,
            };
            if block.start >> level != index {
                return Err(OUT_OF_ORDER);
            }
            let first_part = reader.byte()?;
            let last_part = first_part.wrapping_add(reader.byte()?);
            let count = reader.varint()?;
            let partial = if columns == Parts::default() {
                None
            } else {
                let mut partial = Box::<Partial>::default();
                decode_partial(&mut partial, columns, block, &dictionary, reader)?;
                Some(partial)
            };
            series.buckets.push(Bucket {
                block,
                first_part,
                last_part,
                count,
                partial,
            });
            previous = block.start.checked_sub(1).ok_or(OUT_OF_ORDER)?;
        }
        series.buckets.reverse();
        Ok(series)
    }
}

const OUT_OF_ORDER: StateError = StateError::Damaged("a series is out of order");

fn before(previous: i64, distance: u64) -> Result<i64, StateError> {
    previous.checked_sub_unsigned(distance).ok_or(OUT_OF_ORDER)
}

fn encode_partial(
    partial: &Partial,
    columns: Parts,
    block: Block,
    dictionary: &[Arc<Value>],
    out: &mut Vec<u8>,
) {
    if columns.has(column::OF_NUMBERS) {
        let flags = [
            partial.has_large_number,
            partial.minimum.is_some(),
            partial.maximum.is_some(),
        ];
        out.push(
            flags
                .iter()
                .rev()
                .fold(0, |bits, f| bits << 1 | u8::from(*f)),
        );
    }
    if columns.has(column::SUM) {
        encode_sum(&partial.sum, out);
    }
    for number in partial.minimum.iter().chain(&partial.maximum) {
        put_number(out, number);
    }
    if columns.has(column::FIRST) {
        match &partial.first {
            None => out.push(0),
            Some(dated) => {
                put(
                    out,
                    dated.ts.wrapping_sub(block.start).wrapping_add(1) as u64,
                );
                put_held(out, &dated.held, dictionary);
            }
        }
    }
    if columns.has(column::EXTENT | column::RUNS) {
        let runs = partial.runs.unwrap_or(Runs {
            first: block.start,
            last: block.start,
            number: 0,
        });
        put_signed(out, runs.first.wrapping_sub(block.start));
        put_signed(out, runs.last.wrapping_sub(runs.first));
        if columns.has(column::RUNS) {
            put(out, runs.number);
        }
    }
    if columns.has(column::SAMPLE) {
        match &partial.sample {
            Some(sample) => sample.encode(dictionary, out),
            None => Sample::default().encode(dictionary, out),
        }
    }
    if columns.has(column::BINS) {
        match &partial.bins {
            Some(bins) => bins.encode(out),
            None => Bins::default().encode(out),
        }
    }
}

fn decode_partial(
    partial: &mut Partial,
    columns: Parts,
    block: Block,
    dictionary: &[Arc<Value>],
    reader: &mut Reader<'_>,
) -> Result<(), StateError> {
    let mut flags = 0;
    if columns.has(column::OF_NUMBERS) {
        flags = reader.byte()?;
        partial.has_large_number = flags & 1 != 0;
    }
    if columns.has(column::SUM) {
        partial.sum = decode_sum(reader)?;
    }
    if flags & 2 != 0 {
        partial.minimum = Some(take_number(reader)?);
    }
    if flags & 4 != 0 {
        partial.maximum = Some(take_number(reader)?);
    }
    if columns.has(column::FIRST) {
        let offset = reader.varint()?;
        if offset > 0 {
            let ts = block.start.wrapping_add(offset as i64).wrapping_sub(1);
            partial.first = Dated::new(ts, take_held(reader, dictionary)?);
        }
    }
    if columns.has(column::EXTENT | column::RUNS) {
        let first = block.start.wrapping_add(reader.signed()?);
        let last = first.wrapping_add(reader.signed()?);
        let number = if columns.has(column::RUNS) {
            reader.varint()?
        } else {
            0
        };
        partial.runs = Some(Runs {
            first,
            last,
            number,
        });
    }
    if columns.has(column::SAMPLE) {
        partial.sample = Some(Box::new(Sample::decode(dictionary, reader)?));
    }
    if columns.has(column::BINS) {
        partial.bins = Some(Box::new(Bins::decode(reader)?));
    }
    Ok(())
}
