//! Medians, quartiles, and ratios of what was measured in the same round.

use serde::{Deserialize, Serialize};

/// A median and the quartiles around it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// A quarter of the values is below.
    pub low: f64,
    /// Half of the values are below.
    pub median: f64,
    /// A quarter of the values is above.
    pub high: f64,
}

impl Summary {
    /// Of values in any order; `None` if there are none, or one is no number.
    pub fn of(values: &[f64]) -> Option<Summary> {
        if values.is_empty() || values.iter().any(|value| value.is_nan()) {
            return None;
        }
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let quantile = |part: f64| quantile(&sorted, part);
        Some(Summary { low: quantile(0.25), median: quantile(0.5), high: quantile(0.75) })
    }

    /// How far the quartiles are apart, as a part of the median: the noise.
    pub fn spread(self) -> f64 {
        if self.median == 0.0 { 0.0 } else { (self.high - self.low) / self.median }
    }
}

/// The value below which a part of the sorted values lies, between two of them if need be.
fn quantile(sorted: &[f64], part: f64) -> f64 {
    let place = part * (sorted.len() - 1) as f64;
    let below = place.floor() as usize;
    let above = place.ceil() as usize;
    sorted[below] + (sorted[above] - sorted[below]) * (place - place.floor())
}

/// The ratio of each round; of rounds that both have.
pub fn ratios(numerators: &[f64], denominators: &[f64]) -> Vec<f64> {
    numerators
        .iter()
        .zip(denominators)
        .filter(|(_, denominator)| **denominator != 0.0)
        .map(|(numerator, denominator)| numerator / denominator)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{Summary, ratios};

    #[test]
    fn median_and_quartiles_are_those_of_the_sorted_values() {
        let summary = Summary::of(&[5.0, 1.0, 4.0, 2.0, 3.0]).expect("values");
        assert_eq!(summary, Summary { low: 2.0, median: 3.0, high: 4.0 });
    }

    #[test]
    fn between_two_values_the_quantile_is_between_them() {
        let summary = Summary::of(&[10.0, 20.0]).expect("values");
        assert_eq!(summary, Summary { low: 12.5, median: 15.0, high: 17.5 });
        assert!((summary.spread() - 5.0 / 15.0).abs() < 1e-12);
    }

    #[test]
    fn nothing_and_no_number_have_no_median() {
        assert_eq!(Summary::of(&[]), None);
        assert_eq!(Summary::of(&[1.0, f64::NAN]), None);
    }

    #[test]
    fn a_ratio_is_taken_within_a_round() {
        // The machine is half as fast in the second round, and of the third one side is missing.
        assert_eq!(ratios(&[30.0, 60.0, 1.0], &[10.0, 20.0]), [3.0, 3.0]);
        assert!(ratios(&[1.0], &[0.0]).is_empty());
    }
}
