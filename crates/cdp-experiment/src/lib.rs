//! The statistics of experiments (docs/experiments.md): [`Sample`] takes what was measured, [`compare`] says what
//! differs and how sure that is, [`sample_ratio`] whether people were divided as they should, and [`adjusted`] takes
//! away what was known before. Each says where its formula is from; `tests/vectors.json` was computed by others.

mod compare;
mod sample;
mod special;

pub use compare::{compare, sample_ratio, Comparison, Estimate, Settings};
pub use sample::{adjusted, covariate_center, slope, Sample};
