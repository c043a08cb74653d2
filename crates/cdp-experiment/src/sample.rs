//! What was measured in one variant, as sums that can be taken one by one and put together.

/// Counts, means and squared distances of a metric and of a covariate beside it.
///
/// Updated and merged as B. P. Welford, "Note on a method for calculating corrected sums of squares and products",
/// Technometrics 4 (1962), and T. F. Chan, G. H. Golub, R. J. LeVeque, "Updating formulae and a pairwise algorithm for
/// computing sample variances", Stanford STAN-CS-79-773 (1979) have it: stable, whatever the size of the numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Sample {
    count: u64,
    mean: f64,
    squares: f64,
    covariate_mean: f64,
    covariate_squares: f64,
    products: f64,
}

impl Sample {
    /// Takes one person.
    pub fn add(&mut self, value: f64, covariate: f64) {
        self.merge(&Sample {
            count: 1,
            mean: value,
            covariate_mean: covariate,
            ..Sample::default()
        });
    }

    /// Takes all of another sample.
    pub fn merge(&mut self, other: &Sample) {
        if other.count == 0 {
            return;
        }
        let (here, there) = (self.count as f64, other.count as f64);
        let all = here + there;
        let (y, x) = (
            other.mean - self.mean,
            other.covariate_mean - self.covariate_mean,
        );
        let weight = here * there / all;
        self.squares += other.squares + y * y * weight;
        self.covariate_squares += other.covariate_squares + x * x * weight;
        self.products += other.products + y * x * weight;
        self.mean += y * there / all;
        self.covariate_mean += x * there / all;
        self.count += other.count;
    }

    pub fn count(&self) -> u64 {
        self.count
    }

    pub fn mean(&self) -> f64 {
        self.mean
    }

    /// Of the sample, with n - 1; 0 for fewer than two people.
    pub fn variance(&self) -> f64 {
        if self.count < 2 {
            return 0.0;
        }
        self.squares / (self.count - 1) as f64
    }
}

/// How much of the metric goes along with the covariate: the slope within the variants, so that a difference between
/// them is not mistaken for it. 0 where the covariate does not vary.
pub fn slope(samples: &[Sample]) -> f64 {
    let products: f64 = samples.iter().map(|s| s.products).sum();
    let squares: f64 = samples.iter().map(|s| s.covariate_squares).sum();
    if squares > 0.0 && products.is_finite() {
        products / squares
    } else {
        0.0
    }
}

/// The sample without what the covariate explains: A. Deng, Y. Xu, R. Kohavi, T. Walker, "Improving the sensitivity of
/// online controlled experiments by utilizing pre-experiment data", WSDM 2013 (CUPED). `center` is the mean
/// of the covariate over all variants.
pub fn adjusted(sample: &Sample, slope: f64, center: f64) -> Sample {
    let squares =
        sample.squares - 2.0 * slope * sample.products + slope * slope * sample.covariate_squares;
    Sample {
        count: sample.count,
        mean: sample.mean - slope * (sample.covariate_mean - center),
        squares: squares.max(0.0),
        ..Sample::default()
    }
}

/// The mean of the covariate over all variants.
pub fn covariate_center(samples: &[Sample]) -> f64 {
    let mut all = Sample::default();
    samples.iter().for_each(|sample| all.merge(sample));
    all.covariate_mean
}
