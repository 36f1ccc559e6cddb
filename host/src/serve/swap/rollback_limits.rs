//! When a new generation is rolled back: when it traps, fails more often than allowed, or is slower than the old one.

use crate::limits;
use crate::serve::health::HealthSnapshot;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// When a new generation is rolled back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RollbackLimits {
    /// How long the new generation is watched.
    pub watch: Duration,
    /// The share of its calls that may fail, from 0 to 1.
    pub max_error_rate: f64,
    /// The highest ratio of its p99 latency to that of the old generation.
    pub max_p99_ratio: f64,
}

impl Default for RollbackLimits {
    fn default() -> Self {
        Self {
            watch: limits::WATCH_TIME,
            max_error_rate: limits::WATCH_ERROR_RATE,
            max_p99_ratio: limits::WATCH_P99_RATIO,
        }
    }
}

/// How a generation exceeds its limits, as text for the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Violation {
    /// Its calls fail. One observation is enough, because it already covers several failures.
    Failing(String),
    /// Its calls are slow. One busy moment of the machine looks the same, so new calls must confirm it
    /// [`limits::WATCH_SLOW_OBSERVATIONS`] times in a row.
    Slow(String),
}

impl Violation {
    /// The reason that an operator reads.
    pub fn into_reason(self) -> String {
        match self {
            Self::Failing(reason) | Self::Slow(reason) => reason,
        }
    }
}

impl RollbackLimits {
    /// Compares a generation with the old one; `None` if it is within the limits.
    pub fn judge(&self, new: &HealthSnapshot, old: &HealthSnapshot) -> Option<Violation> {
        let (rate, before) = (part(new.errors, new.calls), part(old.errors, old.calls));
        if new.errors >= limits::WATCH_MIN_ERRORS && rate > self.max_error_rate && rate > before {
            let what = if new.traps * 2 > new.errors {
                "trapped or timed out"
            } else {
                "failed"
            };
            return Some(Violation::Failing(format!(
                "{} of {} calls {what}: {:.1} %, allowed are {:.1} %",
                new.errors,
                new.calls,
                rate * 100.0,
                self.max_error_rate * 100.0
            )));
        }
        let known = new.timed >= limits::WATCH_MIN_TIMED_CALLS
            && old.timed >= limits::WATCH_MIN_TIMED_CALLS;
        let slower = new.p99_us.saturating_sub(old.p99_us);
        let ratio = part(new.p99_us, old.p99_us);
        if known && ratio > self.max_p99_ratio && slower > us(limits::WATCH_MIN_SLOWDOWN) {
            return Some(Violation::Slow(format!(
                "p99 is {:.1} ms, {ratio:.1} times the {:.1} ms before; allowed is {}",
                ms(new.p99_us),
                ms(old.p99_us),
                self.max_p99_ratio
            )));
        }
        None
    }
}

fn us(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[expect(clippy::cast_precision_loss, reason = "for people to read")]
fn ms(us: u64) -> f64 {
    us as f64 / 1000.0
}

#[expect(clippy::cast_precision_loss, reason = "a ratio")]
fn part(some: u64, all: u64) -> f64 {
    some as f64 / all.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(calls: u64, errors: u64, traps: u64, p99_us: u64) -> HealthSnapshot {
        HealthSnapshot {
            calls,
            errors,
            traps,
            timed: calls,
            p99_us,
            ..HealthSnapshot::default()
        }
    }

    #[test]
    fn a_generation_is_rolled_back_for_errors_and_slowness_but_not_for_bad_luck() {
        let limits = RollbackLimits {
            max_error_rate: 0.01,
            max_p99_ratio: 1.5,
            ..RollbackLimits::default()
        };
        let good = snapshot(10_000, 5, 0, 4_000);
        for (new, why) in [
            (snapshot(1_000, 5, 0, 4_500), None),
            (snapshot(2, 2, 2, 0), None),
            (
                snapshot(5, 5, 5, 0),
                Some("5 of 5 calls trapped or timed out: 100.0 %, allowed are 1.0 %"),
            ),
            (
                snapshot(1_000, 30, 0, 0),
                Some("30 of 1000 calls failed: 3.0 %, allowed are 1.0 %"),
            ),
            (
                snapshot(1_000, 0, 0, 40_000),
                Some("p99 is 40.0 ms, 10.0 times the 4.0 ms before; allowed is 1.5"),
            ),
            (snapshot(20, 0, 0, 40_000), None),
            (snapshot(1_000, 0, 0, 6_500), None),
        ] {
            let verdict = limits.judge(&new, &good).map(Violation::into_reason);
            assert_eq!(verdict.as_deref(), why, "{new:?}");
        }
        // Failures that the old generation has as well do not count against the new one.
        let bad = snapshot(1_000, 50, 0, 4_000);
        assert_eq!(limits.judge(&snapshot(1_000, 40, 0, 4_000), &bad), None);
    }
}
