//! The distributions that tests are made of. Numbers of formulas are those of the NIST Digital Library of
//! Mathematical Functions (dlmf.nist.gov).

use std::f64::consts::PI;

/// Relative change below which a series or a fraction has converged.
const CONVERGED: f64 = 1e-16;
const MOST_TERMS: usize = 10_000;

/// ln Γ(x) for x > 0: Stirling's series (5.11.1) from 10 on, and the recurrence Γ(x+1) = xΓ(x) (5.5.1) below.
fn ln_gamma(x: f64) -> f64 {
    // B(2k) / (2k(2k-1)) for k = 1 … 8.
    const TERMS: [f64; 8] = [
        1.0 / 12.0,
        -1.0 / 360.0,
        1.0 / 1260.0,
        -1.0 / 1680.0,
        1.0 / 1188.0,
        -691.0 / 360_360.0,
        1.0 / 156.0,
        -3617.0 / 122_400.0,
    ];
    let mut shift = 0.0;
    let mut z = x;
    while z < 10.0 {
        shift -= z.ln();
        z += 1.0;
    }
    let series = TERMS
        .iter()
        .rev()
        .fold(0.0, |sum, term| sum / (z * z) + term)
        / z;
    shift + (z - 0.5) * z.ln() - z + 0.5 * (2.0 * PI).ln() + series
}

/// The regularised upper incomplete gamma function Q(a, x): by the series of P (8.11.4) below a + 1, by the continued
/// fraction (8.9.2) above.
fn upper_gamma(a: f64, x: f64) -> f64 {
    if x <= 0.0 {
        return 1.0;
    }
    let scale = (a * x.ln() - x - ln_gamma(a)).exp();
    if x < a + 1.0 {
        let mut term = 1.0 / a;
        let mut sum = term;
        for k in 1..MOST_TERMS {
            term *= x / (a + k as f64);
            sum += term;
            if term < sum * CONVERGED {
                break;
            }
        }
        return (1.0 - scale * sum).clamp(0.0, 1.0);
    }
    // x + 1 - a - 1(1-a)/(x + 3 - a - 2(2-a)/(x + 5 - a - …)).
    let fraction = continued_fraction(x + 1.0 - a, |k| {
        let k = k as f64;
        (-k * (k - a), x + 2.0 * k + 1.0 - a)
    });
    (scale / fraction).clamp(0.0, 1.0)
}

/// b0 + a1/(b1 + a2/(b2 + …)) with (ak, bk) = `term(k)`: Lentz's algorithm as modified by Thompson and Barnett (3.10).
fn continued_fraction(b0: f64, term: impl Fn(usize) -> (f64, f64)) -> f64 {
    const TINY: f64 = 1e-300;
    let away = |value: f64| if value.abs() < TINY { TINY } else { value };
    let mut value = away(b0);
    let (mut c, mut d) = (value, 0.0);
    for k in 1..MOST_TERMS {
        let (a, b) = term(k);
        d = 1.0 / away(b + a * d);
        c = away(b + a / c);
        let change = c * d;
        value *= change;
        if (change - 1.0).abs() < CONVERGED * 4.0 {
            break;
        }
    }
    value
}

/// The regularised incomplete beta function I_x(a, b) (8.17.22), on the side where its fraction converges fast.
fn incomplete_beta(a: f64, b: f64, x: f64) -> f64 {
    if x <= 0.0 {
        return 0.0;
    }
    if x >= 1.0 {
        return 1.0;
    }
    if x > (a + 1.0) / (a + b + 2.0) {
        return 1.0 - incomplete_beta(b, a, 1.0 - x);
    }
    let scale =
        (ln_gamma(a + b) - ln_gamma(a) - ln_gamma(b) + a * x.ln() + b * (-x).ln_1p()).exp() / a;
    let fraction = continued_fraction(1.0, |k| {
        let m = (k / 2) as f64;
        let term = if k % 2 == 0 {
            m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m))
        } else {
            -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0))
        };
        (term, 1.0)
    });
    (scale / fraction).clamp(0.0, 1.0)
}

/// How likely a chi-square with this many degrees of freedom is at least `x`.
pub fn chi_square_tail(x: f64, degrees: f64) -> f64 {
    upper_gamma(degrees / 2.0, x / 2.0)
}

/// How likely Student's t with this many degrees of freedom is at least as far from 0 as `t`.
pub fn student_two_sided(t: f64, degrees: f64) -> f64 {
    if !t.is_finite() {
        return 0.0;
    }
    incomplete_beta(degrees / 2.0, 0.5, degrees / (degrees + t * t))
}

/// The distance from 0 that Student's t exceeds on either side with probability `p` together.
pub fn student_quantile(p: f64, degrees: f64) -> f64 {
    let mut high = 1.0;
    while student_two_sided(high, degrees) > p && high < 1e12 {
        high *= 2.0;
    }
    let mut low = 0.0;
    for _ in 0..200 {
        let middle = 0.5 * (low + high);
        if student_two_sided(middle, degrees) > p {
            low = middle;
        } else {
            high = middle;
        }
    }
    0.5 * (low + high)
}
