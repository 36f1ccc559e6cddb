//! Watches a new generation after a swap and rolls it back if it exceeds its limits.

use super::rollback_limits::Violation;
use super::{Phase, Swap, Swapper};
use crate::limits;
use crate::serve::health::HealthSnapshot;
use anyhow::Context as _;
use std::sync::{Arc, Weak};
use std::time::Instant;

/// One watch, with the statistics of the old generations at the time of the swap.
struct Watch {
    component: String,
    number: u64,
    until: Instant,
    before: Vec<HealthSnapshot>,
    /// How often each new generation was slow in a row.
    slow: Vec<u32>,
}

/// Starts a thread that watches the last swap of a component.
pub(super) fn begin(swapper: &Arc<Swapper>, component: &str) -> anyhow::Result<()> {
    let mut watch = {
        let swaps = swapper.swaps()?;
        let swap = swaps.get(component).context("it was not swapped")?;
        let before = swap.replaced.iter().map(|one| one.old.health.snapshot());
        let before: Vec<_> = before.collect();
        Watch {
            component: component.to_owned(),
            number: swap.number,
            until: Instant::now() + swap.request.limits.watch,
            slow: vec![0; before.len()],
            before,
        }
    };
    let swapper = Arc::downgrade(swapper);
    let thread = std::thread::Builder::new().name("watch".to_owned());
    let running = thread.spawn(move || while watch.goes_on(&swapper) {});
    running.context("starting the watcher thread").map(drop)
}

impl Watch {
    /// Checks once. Returns whether to check again.
    fn goes_on(&mut self, swapper: &Weak<Swapper>) -> bool {
        std::thread::sleep(limits::WATCH_INTERVAL);
        let Some(swapper) = swapper.upgrade() else {
            return false;
        };
        let Ok(mut swaps) = swapper.swaps() else {
            return false;
        };
        let swap = swaps.get_mut(&self.component);
        // A later swap of the component, or a decision, ends this watch.
        let is_this = |swap: &&mut Swap| swap.number == self.number && swap.phase == Phase::Watched;
        let Some(swap) = swap.filter(is_this) else {
            return false;
        };
        if let Some(why) = self.judge(swap) {
            swapper.roll_back(swap, &why);
            return false;
        }
        if Instant::now() < self.until {
            return true;
        }
        if swap.on_trial && !swap.request.promote {
            swap.phase = Phase::Passed;
        } else {
            swapper.keep(swap);
        }
        false
    }

    /// The reason to roll back, if one of the new generations exceeds its limits.
    fn judge(&mut self, swap: &Swap) -> Option<String> {
        let observed = swap.replaced.iter().zip(&self.before).zip(&mut self.slow);
        let mut reasons = observed.filter_map(|((one, before), slow)| {
            // During a trial both generations serve at the same time, which makes the better comparison.
            let live = one.old.health.snapshot();
            let old = if swap.on_trial && live.timed >= limits::WATCH_MIN_TIMED_CALLS {
                &live
            } else {
                before
            };
            let new = one.new.health.snapshot();
            let why = match swap.request.limits.judge(&new, old) {
                Some(Violation::Failing(why)) => why,
                Some(Violation::Slow(why)) => {
                    *slow += 1;
                    if *slow < limits::WATCH_SLOW_OBSERVATIONS {
                        one.new.health.forget_latencies();
                        return None;
                    }
                    why
                }
                None => {
                    if new.timed >= limits::WATCH_MIN_TIMED_CALLS {
                        *slow = 0;
                    }
                    return None;
                }
            };
            Some(format!(
                "generation {} of `{}`: {why}",
                one.new.number(),
                one.deployment.id
            ))
        });
        reasons.next()
    }
}
