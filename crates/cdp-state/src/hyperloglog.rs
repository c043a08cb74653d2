//! The HyperLogLog sketch: registers of hashes, and how many different hashes they show.
//!
//! The estimator is Ertl's "improved raw estimator" (O. Ertl, New cardinality estimation
//! algorithms for HyperLogLog sketches, 2017, algorithm 6).

/// Bits of a hash that are used.
pub(crate) const HASH_BITS: u32 = 48;

/// The register of a hash, and the position of its first one bit among the rest.
pub(crate) fn register(hash: u64, bits: u32) -> (usize, u8) {
    let rest = HASH_BITS - bits;
    let index = usize::try_from(hash >> rest).unwrap_or(0);
    let zeros = (hash << (64 - rest)).leading_zeros().min(rest);
    (index, zeros as u8 + 1)
}

/// Estimates the number of distinct hashes from their registers.
pub(crate) fn estimate(registers: &[u8], bits: u32) -> u64 {
    let longest = (HASH_BITS - bits) as usize;
    let mut counts = vec![0u32; longest + 2];
    for register in registers {
        if let Some(count) = counts.get_mut(usize::from(*register).min(longest + 1)) {
            *count += 1;
        }
    }
    let number = registers.len() as f64;
    let share = |index: usize| f64::from(counts.get(index).copied().unwrap_or(0)) / number;
    let mut z = tau(1.0 - share(longest + 1));
    for index in (1..=longest).rev() {
        z = 0.5 * (z + share(index));
    }
    z += sigma(share(0));
    (number / (2.0 * std::f64::consts::LN_2 * z)).round() as u64
}

fn sigma(mut x: f64) -> f64 {
    let (mut y, mut z) = (1.0, x);
    loop {
        x *= x;
        let before = z;
        z += x * y;
        y += y;
        // With every register at zero, z grows without end.
        if z == before || !z.is_finite() {
            return z;
        }
    }
}

fn tau(mut x: f64) -> f64 {
    if x <= 0.0 || x >= 1.0 {
        return 0.0;
    }
    let (mut y, mut z) = (1.0, 1.0 - x);
    loop {
        x = x.sqrt();
        let before = z;
        y *= 0.5;
        z -= (1.0 - x).powi(2) * y;
        if z == before {
            return z / 3.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_register_at_zero_estimates_zero() {
        assert_eq!(estimate(&[0; 256], 8), 0);
    }
}
