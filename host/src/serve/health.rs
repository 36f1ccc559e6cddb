//! Call statistics of one generation: totals since it started to serve, and recent latencies.

use crate::limits;
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Statistics of one generation, over all cores.
#[derive(Debug)]
pub struct Health {
    calls: AtomicU64,
    errors: AtomicU64,
    traps: AtomicU64,
    differences: AtomicU64,
    recent: Mutex<Recent>,
}

/// The outcome of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The component answered.
    Answered,
    /// The component answered with a failure: a 5xx status, or `unavailable`.
    Failed,
    /// The instance trapped or did not answer in time.
    Broken,
}

/// Latencies in microseconds of the current window and the one before.
#[derive(Debug)]
struct Recent {
    since: Instant,
    now: Histogram<u32>,
    before: Histogram<u32>,
}

/// The statistics of a generation at one point in time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HealthSnapshot {
    /// Finished calls.
    pub calls: u64,
    /// Failed calls, including those counted in `traps`.
    pub errors: u64,
    /// Calls that ended with a trap or a timeout.
    pub traps: u64,
    /// Copies of calls that the shadow generation answered differently.
    pub differences: u64,
    /// Recent calls whose latencies the percentiles are computed from; see [`limits::HEALTH_WINDOW`].
    pub timed: u64,
    /// Median latency in microseconds.
    pub p50_us: u64,
    /// 99th percentile of the latency in microseconds.
    pub p99_us: u64,
}

impl Default for Health {
    fn default() -> Self {
        let empty = || {
            #[expect(clippy::expect_used, reason = "the bounds are valid constants")]
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

/// Longer latencies are counted as this one, in microseconds.
const LONGEST_US: u64 = 120_000_000;

impl Health {
    /// Counts a finished call.
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

    /// Counts an answer that the caller could not use, although the call itself succeeded.
    pub fn record_rejection(&self) {
        self.errors.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a copy of a call that was answered differently.
    pub fn record_difference(&self) {
        self.differences.fetch_add(1, Ordering::Relaxed);
    }

    /// Forgets the recent latencies, so that the next snapshot covers new calls only.
    pub fn forget_latencies(&self) {
        if let Ok(mut recent) = self.recent.lock() {
            recent.now.reset();
            recent.before.reset();
        }
    }

    /// The current statistics.
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
            // Both histograms have the same bounds.
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
