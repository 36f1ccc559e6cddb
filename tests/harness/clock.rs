//! The clock of a shop under test, which moves only where the shop was started with [`TEST_CLOCK`].

use super::{Shop, localmart, printed};
use serde_json::Value;
use std::process::Output;

/// The flag by which a test may move the clock of its shop.
pub const TEST_CLOCK: &str = "--test-clock";

/// Longer than any lease of the shop: whoever died holds nothing any more.
pub const LEASES_LAPSE: &str = "6s";

impl Shop {
    /// Lets time pass, and every timer have its turn.
    #[track_caller]
    pub fn advance(&self, by: &str) {
        let output = self.clock(&["advance", by]);
        assert!(output.status.success(), "{}", printed(&output));
    }

    /// Lets time pass, and nothing happen of itself, until a timer is due.
    #[track_caller]
    pub fn advance_quietly(&self, by: &str) {
        let output = self.clock(&["advance", by, "--without-timers"]);
        assert!(output.status.success(), "{}", printed(&output));
    }

    /// The time of its guests, in Unix milliseconds.
    pub fn now_ms(&self) -> i64 {
        self.status()["clock"]["now_ms"].as_i64().unwrap()
    }

    /// What `localmart status --json` says.
    pub fn status(&self) -> Value {
        let listen = self.base.trim_start_matches("http://");
        let mut status = localmart();
        status.args(["status", "--json", "--listen", listen]);
        serde_json::from_slice(&status.output().unwrap().stdout).unwrap()
    }

    /// What `localmart clock` says.
    pub fn clock(&self, words: &[&str]) -> Output {
        let listen = self.base.trim_start_matches("http://");
        let mut clock = localmart();
        clock.arg("clock").args(words).args(["--listen", listen]);
        clock.output().unwrap()
    }
}
