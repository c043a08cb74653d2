//! Against values computed with scipy, numpy and statsmodels (`vectors.py`), and against what the tests promise.

use cdp_experiment::{adjusted, compare, covariate_center, sample_ratio, slope, Sample, Settings};
use serde_json::Value;

fn vectors() -> Value {
    serde_json::from_str(include_str!("vectors.json")).unwrap_or_default()
}

fn numbers(value: &Value) -> Vec<f64> {
    value
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_f64)
        .collect()
}

fn sample(value: &Value) -> Sample {
    let mut sample = Sample::default();
    for (y, x) in numbers(&value["y"]).into_iter().zip(numbers(&value["x"])) {
        sample.add(y, x);
    }
    sample
}

#[track_caller]
fn close(got: f64, expected: &Value, tolerance: f64, what: &str) {
    let expected = expected.as_f64().unwrap_or(f64::NAN);
    let scale = expected.abs().max(1e-300);
    assert!(
        (got - expected).abs() <= tolerance * scale,
        "{what}: {got} instead of {expected}"
    );
}

#[test]
fn comparisons_are_those_of_a_statistics_library() {
    let vectors = vectors();
    let cases = vectors["comparisons"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    assert_eq!(cases.len(), 7);
    for case in cases {
        let (control, treatment) = (sample(&case["control"]), sample(&case["treatment"]));
        let Some(got) = compare(&control, &treatment, &Settings::default()) else {
            panic!("no comparison")
        };
        close(got.p_value, &case["p_value"], 1e-9, "p-value");
        for (index, value) in [
            got.difference.value,
            got.difference.low,
            got.difference.high,
        ]
        .into_iter()
        .enumerate()
        {
            close(value, &case["difference"][index], 1e-9, "difference");
        }
        let Some(lift) = got.lift else {
            panic!("no lift")
        };
        for (index, value) in [lift.value, lift.low, lift.high].into_iter().enumerate() {
            close(value, &case["lift"][index], 1e-6, "lift");
        }
        close(
            got.sequential_p_value,
            &case["sequential"][0],
            1e-8,
            "sequential p-value",
        );
        close(
            got.sequential.0,
            &case["sequential"][1],
            1e-8,
            "sequential low",
        );
        close(
            got.sequential.1,
            &case["sequential"][2],
            1e-8,
            "sequential high",
        );
        // Looking at any time costs something.
        assert!(got.sequential.0 < got.difference.low && got.difference.high < got.sequential.1);

        let samples = [control, treatment];
        let slope = slope(&samples);
        close(slope, &case["slope"], 1e-9, "slope");
        let center = covariate_center(&samples);
        let [a0, a1] = samples.map(|sample| adjusted(&sample, slope, center));
        close(
            a1.mean() - a0.mean(),
            &case["adjusted_difference"],
            1e-8,
            "adjusted difference",
        );
        close(
            a0.variance(),
            &case["adjusted_variances"][0],
            1e-9,
            "adjusted variance",
        );
        close(
            a1.variance(),
            &case["adjusted_variances"][1],
            1e-9,
            "adjusted variance",
        );
        let p = compare(&a0, &a1, &Settings::default()).map_or(f64::NAN, |got| got.p_value);
        close(p, &case["adjusted_p_value"], 1e-7, "adjusted p-value");
    }
}

#[test]
fn sample_ratios_are_those_of_a_statistics_library() {
    for case in vectors()["ratios"].as_array().cloned().unwrap_or_default() {
        let counts: Vec<u64> = numbers(&case["counts"])
            .into_iter()
            .map(|n| n as u64)
            .collect();
        let p = sample_ratio(&counts, &numbers(&case["shares"])).unwrap_or(f64::NAN);
        close(p, &case["p_value"], 1e-9, "sample ratio");
    }
    assert_eq!(sample_ratio(&[0, 0], &[1.0, 1.0]), None);
    assert_eq!(sample_ratio(&[5, 5], &[1.0, 0.0]), None);
}

#[test]
fn samples_are_put_together_as_if_taken_at_once() {
    let case = &vectors()["comparisons"][2];
    let whole = sample(&case["control"]);
    let (y, x) = (
        numbers(&case["control"]["y"]),
        numbers(&case["control"]["x"]),
    );
    for cut in [0, 1, 333, y.len()] {
        let (mut a, mut b) = (Sample::default(), Sample::default());
        for (index, (y, x)) in y.iter().zip(&x).enumerate() {
            if index < cut { &mut a } else { &mut b }.add(*y, *x);
        }
        a.merge(&b);
        assert_eq!(a.count(), whole.count());
        assert!((a.mean() - whole.mean()).abs() < 1e-9);
        assert!((a.variance() - whole.variance()).abs() < 1e-7);
        assert!((slope(&[a]) - slope(&[whole])).abs() < 1e-12);
    }
}

#[test]
fn nothing_is_said_of_what_is_too_little_or_does_not_vary() {
    let (mut one, mut same) = (Sample::default(), Sample::default());
    one.add(1.0, 0.0);
    same.add(2.0, 0.0);
    same.add(2.0, 0.0);
    assert!(compare(&one, &same, &Settings::default()).is_none());
    assert!(compare(&same, &same, &Settings::default()).is_none());
    assert_eq!(slope(&[same]), 0.0);
}

/// A small generator with a fixed seed (xorshift64*), so that the test is the same each time.
struct Random(u64);

impl Random {
    fn uniform(&mut self) -> f64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11) as f64 / (1u64 << 53) as f64
    }

    fn normal(&mut self) -> f64 {
        (-2.0 * (1.0 - self.uniform()).ln()).sqrt() * (std::f64::consts::TAU * self.uniform()).cos()
    }
}

/// Without any difference, whoever looks after every 50 people and stops at p < 0.05 is wrong far too often with the
/// test for one look, and no more often than promised with the one for many.
#[test]
fn looking_early_is_honest() {
    let mut random = Random(0x5EED);
    let (mut wrong_once, mut wrong_always) = (0, 0);
    let runs = 400;
    for _ in 0..runs {
        let (mut a, mut b) = (Sample::default(), Sample::default());
        let (mut once, mut always) = (false, false);
        for people in 1..=3_000 {
            a.add(10.0 + random.normal(), 0.0);
            b.add(10.0 + random.normal(), 0.0);
            if people % 50 == 0 {
                if let Some(got) = compare(&a, &b, &Settings::default()) {
                    once |= got.p_value < 0.05;
                    always |= got.sequential_p_value < 0.05;
                }
            }
        }
        wrong_once += i32::from(once);
        wrong_always += i32::from(always);
    }
    assert!(wrong_once > runs / 5, "{wrong_once}");
    assert!(wrong_always <= runs / 20, "{wrong_always}");
}
