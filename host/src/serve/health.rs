//! How a generation fares: calls, failures and how long they took, since it serves and of late.

use crate::limits;
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Of one generation, over all cores.
#[derive(Debug)]
pub struct Health {
    calls: AtomicU64,
    errors: AtomicU64,
    traps: AtomicU64,
    differences: AtomicU64,
    recent: Mutex<Recent>,
}

/// What became of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was answered.
    Answered,
    /// It was answered with a failure of the component: a 5xx, or `unavailable`.
    Failed,
    /// The instance broke, or did not answer in time.
    Broken,
}

/// Durations in microseconds, of this while and the one before.
#[derive(Debug)]
struct Recent {
    since: Instant,
    now: Histogram<u32>,
    before: Histogram<u32>,
}

/// What is known of a generation at a moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HealthSnapshot {
    /// Calls that ended, since it serves.
    pub calls: u64,
    /// Those that failed, broken ones among them.
    pub errors: u64,
    /// Those during which the instance broke or that were not answered in time.
    pub traps: u64,
    /// Copies of calls that were answered otherwise than by the generation that serves.
    pub differences: u64,
    /// Calls whose durations are counted in the percentiles: the latest, see [`limits::HEALTH_WINDOW`].
    pub timed: u64,
    /// Median, in microseconds.
    pub p50_us: u64,
    /// In microseconds.
    pub p99_us: u64,
}

impl Default for Health {
    fn default() -> Self {
        let empty = || {
            #[expect(clippy::expect_used, reason = "the bounds are constants, and valid")]
            Histogram::new_with_bounds(1, LONGEST_US, 2).expect("valid bounds")
        };
        Self {
            calls: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            traps: AtomicU64::new(0),
            differences: AtomicU64::new(0),
            recent: Mutex::new(Recent {
                since: Instant::now(),
                now: empty(),
                before: empty(),
            }),
        }
    }
}

/// The longest duration that is told from longer ones, in microseconds.
const LONGEST_US: u64 = 120_000_000;

impl Health {
    /// Counts a call that ended.
    pub fn record(&self, outcome: Outcome, time: Duration) {
        self.calls.fetch_add(1, Ordering::Relaxed);
        if outcome != Outcome::Answered {
            self.errors.fetch_add(1, Ordering::Relaxed);
        }
        if outcome == Outcome::Broken {
            self.traps.fetch_add(1, Ordering::Relaxed);
        }
        if let Ok(mut recent) = self.recent.lock() {
            recent.rotate();
            let us = u64::try_from(time.as_micros()).unwrap_or(LONGEST_US);
            recent.now.saturating_record(us.clamp(1, LONGEST_US));
        }
    }

    /// Counts a copy of a call that was answered otherwise.
    pub fn record_difference(&self) {
        self.differences.fetch_add(1, Ordering::Relaxed);
    }

    /// What is known now.
    pub fn snapshot(&self) -> HealthSnapshot {
        let mut snapshot = HealthSnapshot {
            calls: self.calls.load(Ordering::Relaxed),
            errors: self.errors.load(Ordering::Relaxed),
            traps: self.traps.load(Ordering::Relaxed),
            differences: self.differences.load(Ordering::Relaxed),
            ..HealthSnapshot::default()
        };
        if let Ok(mut recent) = self.recent.lock() {
            recent.rotate();
            let mut all = recent.now.clone();
            // Both have the same bounds.
            let _ = all.add(&recent.before);
            snapshot.timed = all.len();
            snapshot.p50_us = all.value_at_quantile(0.5);
            snapshot.p99_us = all.value_at_quantile(0.99);
        }
        snapshot
    }
}

impl Recent {
    fn rotate(&mut self) {
        let age = self.since.elapsed();
        if age < limits::HEALTH_WINDOW {
            return;
        }
        std::mem::swap(&mut self.now, &mut self.before);
        self.now.reset();
        if age > limits::HEALTH_WINDOW * 2 {
            self.before.reset();
        }
        self.since = Instant::now();
    }
}
