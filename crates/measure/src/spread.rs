//! What several turns of one measurement come to: their mean, and how sure it is.

use serde::Serialize;

/// Student's t for 95 % by degrees of freedom, from 1; beyond them the normal distribution will do.
const T_95: [f64; 30] = [
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160,
    2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056,
    2.052, 2.048, 2.045, 2.042,
];
/// The same for many.
const NORMAL_95: f64 = 1.960;

/// Turns of one measurement.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// Their mean.
    pub mean: f64,
    /// Where the mean of endless turns would be, in 95 of 100 such runs: from here. The same as the mean where there is one turn only.
    pub low: f64,
    /// To here.
    pub high: f64,
    /// Every turn, in order.
    pub turns: Vec<f64>,
}

impl Spread {
    /// Of turns; of none all is zero.
    pub fn of(turns: Vec<f64>) -> Self {
        let (mean, half) = interval(&turns);
        Self {
            mean,
            low: mean - half,
            high: mean + half,
            turns,
        }
    }

    /// How many times as much as another this is: of turns that were made beside each other, so that what disturbed both
    /// disturbs the ratio little. `None` where a turn is not above zero.
    pub fn ratio(&self, other: &Self) -> Option<Self> {
        let pairs = self.turns.iter().zip(&other.turns);
        let above = |(mine, theirs): (&f64, &f64)| *mine > 0.0 && *theirs > 0.0;
        if self.turns.is_empty() || !pairs.clone().all(above) {
            return None;
        }
        let ratios: Vec<f64> = pairs.map(|(mine, theirs)| mine / theirs).collect();
        // Twice as much and half as much are as far from one.
        let logarithms: Vec<f64> = ratios.iter().map(|ratio| ratio.ln()).collect();
        let (mean, half) = interval(&logarithms);
        Some(Self {
            mean: mean.exp(),
            low: (mean - half).exp(),
            high: (mean + half).exp(),
            turns: ratios,
        })
    }

    /// Whether it is sure that this is not one.
    pub fn differs_from_one(&self) -> bool {
        self.turns.len() > 1 && (self.low > 1.0 || self.high < 1.0)
    }
}

/// The mean, and half of the width of its 95 % confidence interval.
fn interval(turns: &[f64]) -> (f64, f64) {
    let count = turns.len() as f64;
    if turns.is_empty() {
        return (0.0, 0.0);
    }
    let mean = turns.iter().sum::<f64>() / count;
    let Some(freedom) = turns.len().checked_sub(2) else {
        return (mean, 0.0);
    };
    let squares: f64 = turns.iter().map(|turn| (turn - mean).powi(2)).sum();
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
    fn the_interval_is_students() {
        // By hand: mean 3, standard deviation 1.5811, error 0.7071, t(4) 2.776.
        let spread = Spread::of(vec![1.0, 2.0, 3.0, 4.0, 5.0]);
        assert!(near(spread.mean, 3.0), "{spread:?}");
        assert!(near(spread.low, 3.0 - 1.963), "{spread:?}");
        assert!(near(spread.high, 3.0 + 1.963), "{spread:?}");
    }

    #[test]
    fn one_turn_says_nothing_of_others() {
        let spread = Spread::of(vec![7.0]);
        assert_eq!((spread.low, spread.high), (7.0, 7.0));
        let ratio = spread.ratio(&Spread::of(vec![3.5]));
        assert!(ratio.is_some_and(|ratio| !ratio.differs_from_one()));
    }

    #[test]
    fn a_ratio_is_of_turns_beside_each_other() {
        // Both slow down together; the ratio is 2 in every turn.
        let fast = Spread::of(vec![10.0, 20.0, 40.0]);
        let slow = Spread::of(vec![5.0, 10.0, 20.0]);
        let ratio = fast.ratio(&slow);
        let ratio = ratio.filter(|ratio| ratio.differs_from_one());
        assert!(ratio.is_some_and(|ratio| near(ratio.low, 2.0) && near(ratio.high, 2.0)));
        assert_eq!(fast.ratio(&Spread::of(vec![0.0, 1.0, 1.0])), None);
    }
}
