//! A circuit breaker: after several failures in a row it rejects calls for a while, then lets one call through as a
//! test.

use crate::limits;
use std::cell::Cell;
use std::time::Instant;

/// The circuit breaker of one link to one generation on one core.
#[derive(Debug, Default)]
pub struct Breaker {
    failures: Cell<u32>,
    /// The end of the current pause; set while the breaker is open.
    open_until: Cell<Option<Instant>>,
}

impl Breaker {
    /// Whether a call may be made. The first call after the pause is a test; later calls are rejected until it succeeds
    /// or another pause has passed.
    pub fn allows(&self, now: Instant) -> bool {
        match self.open_until.get() {
            None => true,
            Some(until) if now < until => false,
            Some(_) => {
                self.open_until.set(Some(now + limits::BREAKER_OPEN_TIME));
                true
            }
        }
    }

    /// Records the result of a call.
    pub fn record(&self, answered: bool, now: Instant) {
        if answered {
            self.failures.set(0);
            self.open_until.set(None);
            return;
        }
        let failures = self.failures.get().saturating_add(1);
        self.failures.set(failures);
        if failures >= limits::BREAKER_FAILURES {
            self.open_until.set(Some(now + limits::BREAKER_OPEN_TIME));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_opens_after_failures_in_a_row_and_tries_one_call_after_the_pause() {
        let (breaker, start) = (Breaker::default(), Instant::now());
        for _ in 1..limits::BREAKER_FAILURES {
            breaker.record(false, start);
            assert!(breaker.allows(start));
        }
        breaker.record(true, start);
        for _ in 0..limits::BREAKER_FAILURES {
            assert!(breaker.allows(start));
            breaker.record(false, start);
        }
        assert!(!breaker.allows(start));
        let later = start + limits::BREAKER_OPEN_TIME;
        assert!(breaker.allows(later) && !breaker.allows(later));
        breaker.record(false, later);
        assert!(!breaker.allows(later));
        let again = later + limits::BREAKER_OPEN_TIME;
        assert!(breaker.allows(again));
        breaker.record(true, again);
        assert!(breaker.allows(again) && breaker.allows(again));
    }
}
