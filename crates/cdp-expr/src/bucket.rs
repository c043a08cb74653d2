//! Random buckets that stay the same for a person.

use cdp_value::Decimal;
use sha2::{Digest, Sha256};

/// A stable number from 0 to `count - 1` for a person: the first 60 bits of
/// SHA-256(`salt:key`), modulo `count`. The same in SQL:
/// `mod(('x' || left(encode(sha256(convert_to(salt || ':' || key, 'UTF8')), 'hex'), 15))::bit(60)::bigint, count)`.
///
/// 60 bits over at most 2^32 buckets: no bucket is likelier than another by more than 2^-28.
pub fn bucket(salt: &str, key: &str, count: u32) -> u32 {
    let mut hash = Sha256::new();
    hash.update(salt.as_bytes());
    hash.update(b":");
    hash.update(key.as_bytes());
    let digest = hash.finalize();
    let first = digest
        .iter()
        .take(8)
        .fold(0u64, |bits, byte| (bits << 8) | u64::from(*byte));
    u32::try_from((first >> 4) % u64::from(count.max(1))).unwrap_or(0)
}

/// Buckets that `bucket` without a number divides people into: hundredths of a percent.
pub(crate) const HUNDREDTHS: u32 = 10_000;

/// A stable number from 0 to 99.99 for a person: comparing it with a percentage keeps everybody
/// who was in when the percentage grows.
pub(crate) fn hundredths(salt: &str, key: &str) -> Decimal {
    let number = Decimal::from(i64::from(bucket(salt, key, HUNDREDTHS)));
    number
        .checked_div(&Decimal::from(100))
        .unwrap_or_else(Decimal::zero)
}

/// Buckets that `percentage` divides people into: it counts in millionths.
pub(crate) const PERCENTAGE_BUCKETS: u32 = 1_000_000;

/// Whether a person belongs to a stable `percent` of all people. Growing the percentage keeps
/// everybody who was in.
pub(crate) fn in_percentage(salt: &str, key: &str, percent: &Decimal) -> bool {
    let number = i64::from(bucket(salt, key, PERCENTAGE_BUCKETS));
    percent
        .checked_mul(&Decimal::from(i64::from(PERCENTAGE_BUCKETS / 100)))
        .is_some_and(|bound| Decimal::from(number) < bound)
}
