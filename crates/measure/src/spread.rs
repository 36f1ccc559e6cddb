//! The mean of several rounds of one measurement, and its 95 % confidence interval.

use serde::Serialize;

/// Student's t for 95 % by degrees of freedom, from 1 to 30. For more the normal distribution is close enough.
const T_95: [f64; 30] = [
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160,
    2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056,
    2.052, 2.048, 2.045, 2.042,
];
/// The 95 % quantile of the normal distribution, two-sided.
const NORMAL_95: f64 = 1.960;

/// The rounds of one measurement with their mean.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// The mean of the rounds.
    pub mean: f64,
    /// The lower bound of the 95 % confidence interval. With a single round both bounds equal the mean.
    pub low: f64,
    /// The upper bound of the 95 % confidence interval.
    pub high: f64,
    /// The value of every round, in order.
    #[serde(rename = "turns")]
    pub rounds: Vec<f64>,
}

impl Spread {
    /// From the values of rounds. Without rounds everything is zero.
    pub fn of(rounds: Vec<f64>) -> Self {
        let (mean, half) = interval(&rounds);
        Self {
            mean,
            low: mean - half,
            high: mean + half,
            rounds,
        }
    }

    /// The ratio to another measurement. Rounds that ran next to each other are compared, so that a disturbance that
    /// affects both hardly affects the ratio. `None` if a round is not above zero.
    pub fn ratio(&self, other: &Self) -> Option<Self> {
        let pairs = self.rounds.iter().zip(&other.rounds);
        let above = |(mine, theirs): (&f64, &f64)| *mine > 0.0 && *theirs > 0.0;
        if self.rounds.is_empty() || !pairs.clone().all(above) {
            return None;
        }
        let ratios: Vec<f64> = pairs.map(|(mine, theirs)| mine / theirs).collect();
        // On a logarithmic scale, twice and half are equally far from one.
        let logarithms: Vec<f64> = ratios.iter().map(|ratio| ratio.ln()).collect();
        let (mean, half) = interval(&logarithms);
        Some(Self {
            mean: mean.exp(),
            low: (mean - half).exp(),
            high: (mean + half).exp(),
            rounds: ratios,
        })
    }

    /// Whether the confidence interval excludes one.
    pub fn differs_from_one(&self) -> bool {
        self.rounds.len() > 1 && (self.low > 1.0 || self.high < 1.0)
    }
}

/// The mean and half the width of its 95 % confidence interval.
fn interval(rounds: &[f64]) -> (f64, f64) {
    let count = rounds.len() as f64;
    if rounds.is_empty() {
        return (0.0, 0.0);
    }
    let mean = rounds.iter().sum::<f64>() / count;
    let Some(freedom) = rounds.len().checked_sub(2) else {
        return (mean, 0.0);
    };
    let squares: f64 = rounds.iter().map(|round| (round - mean).powi(2)).sum();
    let error = (squares / (count - 1.0) / count).sqrt();
    (
        mean,
        error * T_95.get(freedom).copied().unwrap_or(NORMAL_95),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(value: f64, expected: f64) -> bool {
        (value - expected).abs() < 0.001 * expected.abs().max(1.0)
    }

    #[test]
    fn the_interval_uses_students_t() {
        // Computed by hand: mean 3, standard deviation 1.5811, standard error 0.7071, t(4) 2.776.
        let spread = Spread::of(vec![1.0, 2.0, 3.0, 4.0, 5.0]);
        assert!(near(spread.mean, 3.0), "{spread:?}");
        assert!(near(spread.low, 3.0 - 1.963), "{spread:?}");
        assert!(near(spread.high, 3.0 + 1.963), "{spread:?}");
    }

    #[test]
    fn one_round_gives_no_interval() {
        let spread = Spread::of(vec![7.0]);
        assert_eq!((spread.low, spread.high), (7.0, 7.0));
        let ratio = spread.ratio(&Spread::of(vec![3.5]));
        assert!(ratio.is_some_and(|ratio| !ratio.differs_from_one()));
    }

    #[test]
    fn a_ratio_compares_rounds_that_ran_next_to_each_other() {
        // Both slow down together; the ratio is 2 in every round.
        let fast = Spread::of(vec![10.0, 20.0, 40.0]);
        let slow = Spread::of(vec![5.0, 10.0, 20.0]);
        let ratio = fast.ratio(&slow);
        let ratio = ratio.filter(|ratio| ratio.differs_from_one());
        assert!(ratio.is_some_and(|ratio| near(ratio.low, 2.0) && near(ratio.high, 2.0)));
        assert_eq!(fast.ratio(&Spread::of(vec![0.0, 1.0, 1.0])), None);
    }
}
