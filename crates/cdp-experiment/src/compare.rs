//! Whether a variant differs from another, and by how much.

use crate::sample::Sample;
use crate::special::{chi_square_tail, student_quantile, student_two_sided};

/// A number and the interval it lies in with the confidence asked for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    pub value: f64,
    pub low: f64,
    pub high: f64,
}

/// A variant beside the control.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Comparison {
    /// Of the means.
    pub difference: Estimate,
    /// The difference relative to the control's mean; None where that is 0.
    pub lift: Option<Estimate>,
    /// How likely a difference at least as large would be if there were none; for one look at a size decided before.
    pub p_value: f64,
    /// The same, however often one looks.
    pub sequential_p_value: f64,
    /// The interval of the difference that holds however often one looks.
    pub sequential: (f64, f64),
}

/// What to be how sure of.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// How often an interval may miss: 0.05 for 95 % confidence.
    pub alpha: f64,
    /// The number of people for which the sequential interval is narrowest. It holds for any other number too.
    pub tuned_for: f64,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            alpha: 0.05,
            tuned_for: 5_000.0,
        }
    }
}

/// Compares two samples; None where one of them is too small, or nothing varies.
///
/// - Difference and p-value: B. L. Welch, "The generalization of 'Student's' problem when several different population
///   variances are involved", Biometrika 34 (1947), with the degrees of freedom of F. E. Satterthwaite, Biometrics
///   Bulletin 2 (1946).
/// - Lift: the delta method, A. Deng, U. Knoblich, J. Lu, "Applying the delta method in metric analytics", KDD 2018,
///   with the same degrees of freedom.
/// - Sequential: see [`sequential`].
pub fn compare(control: &Sample, treatment: &Sample, settings: &Settings) -> Option<Comparison> {
    if control.count() < 2 || treatment.count() < 2 {
        return None;
    }
    let (n0, n1) = (control.count() as f64, treatment.count() as f64);
    let (v0, v1) = (control.variance() / n0, treatment.variance() / n1);
    let variance = v0 + v1;
    if variance <= 0.0 || !variance.is_finite() {
        return None;
    }
    let degrees = variance * variance / (v0 * v0 / (n0 - 1.0) + v1 * v1 / (n1 - 1.0));
    let quantile = student_quantile(settings.alpha, degrees);
    let difference = treatment.mean() - control.mean();
    let reach = quantile * variance.sqrt();
    let (m0, m1) = (control.mean(), treatment.mean());
    let lift = (m0 != 0.0).then(|| {
        let value = difference / m0.abs();
        let reach = quantile * (v1 + v0 * (m1 / m0).powi(2)).sqrt() / m0.abs();
        Estimate {
            value,
            low: value - reach,
            high: value + reach,
        }
    });
    let (sequential_p_value, reach_always) = sequential(difference, variance, n0 + n1, settings);
    Some(Comparison {
        difference: Estimate {
            value: difference,
            low: difference - reach,
            high: difference + reach,
        },
        lift: lift
            .filter(|lift| lift.value.is_finite() && lift.low.is_finite() && lift.high.is_finite()),
        p_value: student_two_sided(difference / variance.sqrt(), degrees),
        sequential_p_value,
        sequential: (difference - reach_always, difference + reach_always),
    })
}

/// The p-value and the reach of the interval of a difference that hold at all sizes of the sample together, so that one
/// may look at any time and stop at will.
///
/// The mixture sequential probability ratio test with a normal mixture: R. Johari, P. Koomen, L. Pekelis, D. Walsh,
/// "Always valid inference: continuous monitoring of A/B tests", Operations Research 70 (2022), of which
/// I. Waudby-Smith, D. Arbour, R. Sinha, E. H. Kennedy, A. Ramdas, "Time-uniform central limit theory and asymptotic
/// confidence sequences", Annals of Statistics 52 (2024), show that it holds with estimated variances. The variance of
/// the mixture is theirs too: it makes the interval narrowest at about `settings.tuned_for` people.
fn sequential(difference: f64, variance: f64, people: f64, settings: &Settings) -> (f64, f64) {
    let log = -2.0 * settings.alpha.ln();
    let mixture = variance * people * (log + (log + 1.0).ln()) / settings.tuned_for;
    let together = variance + mixture;
    let log_ratio = 0.5 * (variance / together).ln()
        + mixture * difference * difference / (2.0 * variance * together);
    let reach = (variance * together / mixture * ((together / variance).ln() + log)).sqrt();
    ((-log_ratio).exp().min(1.0), reach)
}

/// How likely counts at least as far from the expected shares are if people were divided as they should: Pearson's
/// chi-square test of goodness of fit. A very small value says that the division or the counting is broken, and that no
/// other number of the experiment can be trusted: A. Fabijan et al., "Diagnosing sample ratio mismatch in online
/// controlled experiments", KDD 2019. None without people, or where a share that is 0 has some.
pub fn sample_ratio(counts: &[u64], shares: &[f64]) -> Option<f64> {
    let people = counts.iter().sum::<u64>() as f64;
    let all: f64 = shares.iter().sum();
    let groups = shares.iter().filter(|share| **share > 0.0).count();
    let is_impossible = counts
        .iter()
        .zip(shares)
        .any(|(count, share)| *count > 0 && *share <= 0.0);
    if people == 0.0 || all <= 0.0 || groups < 2 || is_impossible || counts.len() != shares.len() {
        return None;
    }
    let distance = counts
        .iter()
        .zip(shares)
        .filter(|(_, share)| **share > 0.0)
        .map(|(count, share)| {
            let expected = people * share / all;
            (*count as f64 - expected).powi(2) / expected
        });
    Some(chi_square_tail(distance.sum(), (groups - 1) as f64))
}
