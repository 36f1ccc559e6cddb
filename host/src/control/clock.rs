//! The clock of a running host: what the control socket reports, and how it moves a test clock.

use crate::clock::Clock;
use crate::serve::load::Loaded;
use crate::serve::timer::Fired;
use serde::{Deserialize, Serialize};

/// The state of the clock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockStatus {
    /// The time of the guests, in Unix milliseconds.
    pub now_ms: u64,
    /// How far the test clock is ahead of the machine's, in milliseconds; `None` without a test clock.
    pub ahead_ms: Option<u64>,
}

/// A request to move the test clock.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Advance {
    /// By how many milliseconds; more than zero.
    pub by_ms: i64,
    /// Whether every timer fires at once.
    pub fire: bool,
}

/// The result of a move.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Advanced {
    /// The clock after the move.
    pub clock: ClockStatus,
    /// The timers that fired.
    pub fired: Vec<Fired>,
}

/// The state of a clock.
pub fn status(clock: &Clock) -> ClockStatus {
    let ahead_ms = u64::try_from(clock.ahead().as_millis()).unwrap_or(u64::MAX);
    ClockStatus {
        now_ms: clock.now_ms(),
        ahead_ms: clock.is_test().then_some(ahead_ms),
    }
}

/// Moves the test clock.
pub(super) fn advance(loaded: &Loaded, request: &Advance) -> anyhow::Result<Advanced> {
    let fired = loaded.advance(request.by_ms, request.fire)?;
    Ok(Advanced {
        clock: status(&loaded.clock),
        fired,
    })
}
