//! The clock of a shop under test. It can be moved if the shop was started with [`TEST_CLOCK`].

use super::{Shop, localmart, printed};
use serde_json::Value;
use std::process::Output;

/// The flag that gives a shop a test clock.
pub const TEST_CLOCK: &str = "--test-clock";

/// Longer than any lease of the shop. After this time a dead request holds no lease.
pub const LEASES_EXPIRE: &str = "6s";

impl Shop {
    /// Moves the clock, and fires every timer.
    #[track_caller]
    pub fn advance(&self, by: &str) {
        let output = self.clock(&["advance", by]);
        assert!(output.status.success(), "{}", printed(&output));
    }

    /// Moves the clock without firing the timers. They still fire at their usual intervals.
    #[track_caller]
    pub fn advance_without_timers(&self, by: &str) {
        let output = self.clock(&["advance", by, "--without-timers"]);
        assert!(output.status.success(), "{}", printed(&output));
    }

    /// The time of the shop, in Unix milliseconds.
    pub fn now_ms(&self) -> i64 {
        self.status()["clock"]["now_ms"].as_i64().unwrap()
    }

    /// The output of `localmart status --json`.
    pub fn status(&self) -> Value {
        let listen = self.base.trim_start_matches("http://");
        let mut status = localmart();
        status.args(["status", "--json", "--listen", listen]);
        serde_json::from_slice(&status.output().unwrap().stdout).unwrap()
    }

    /// The output of `localmart clock`.
    pub fn clock(&self, arguments: &[&str]) -> Output {
        let listen = self.base.trim_start_matches("http://");
        let mut clock = localmart();
        clock
            .arg("clock")
            .args(arguments)
            .args(["--listen", listen]);
        clock.output().unwrap()
    }
}
