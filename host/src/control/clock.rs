//! The clock of a running host, as the control socket shows and moves it.

use crate::clock::Clock;
use crate::serve::load::Loaded;
use crate::serve::timer::Fired;
use serde::{Deserialize, Serialize};

/// What the clock shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockStatus {
    /// The time of the guests, in Unix milliseconds.
    pub now_ms: u64,
    /// How far a test clock is ahead of the machine's, in milliseconds; absent where no test clock runs.
    pub ahead_ms: Option<u64>,
}

/// How a test clock is to be moved.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Advance {
    /// By how many milliseconds, forwards.
    pub by_ms: i64,
    /// Whether every timer has its turn at once.
    pub fire: bool,
}

/// A test clock that was moved.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Advanced {
    /// What it shows now.
    pub clock: ClockStatus,
    /// The timers that had their turn.
    pub fired: Vec<Fired>,
}

/// What a clock shows now.
pub fn status(clock: &Clock) -> ClockStatus {
    let ahead_ms = u64::try_from(clock.ahead().as_millis()).unwrap_or(u64::MAX);
    ClockStatus {
        now_ms: clock.now_ms(),
        ahead_ms: clock.is_test().then_some(ahead_ms),
    }
}

/// Moves a test clock.
pub(super) fn advance(loaded: &Loaded, asked: &Advance) -> anyhow::Result<Advanced> {
    let fired = loaded.advance(asked.by_ms, asked.fire)?;
    Ok(Advanced {
        clock: status(&loaded.clock),
        fired,
    })
}
