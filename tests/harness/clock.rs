//! The clock of a shop under test. It can be moved only if the shop was started with [`TEST_CLOCK`].

use super::{Shop, localmart, printed};
use serde_json::Value;
use std::process::Output;

/// The flag that allows a test to move the clock of its shop.
pub const TEST_CLOCK: &str = "--test-clock";

/// Longer than any lease in the shop, so that all leases of dead requests have expired.
pub const LEASES_EXPIRE: &str = "6s";

impl Shop {
    /// Moves the clock forward and runs every timer that is due.
    #[track_caller]
    pub fn advance(&self, by: &str) {
        let output = self.clock(&["advance", by]);
        assert!(output.status.success(), "{}", printed(&output));
    }

    /// Moves the clock forward without running timers.
    #[track_caller]
    pub fn advance_quietly(&self, by: &str) {
        let output = self.clock(&["advance", by, "--without-timers"]);
        assert!(output.status.success(), "{}", printed(&output));
    }

    /// The time that guests see, in Unix milliseconds.
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

    /// The result of `localmart clock` with these arguments.
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
