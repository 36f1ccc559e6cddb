//! Helpers that several groups of tests use.

#![allow(dead_code, reason = "not every test binary runs every group")]

use crate::harness::{Reply, Shop, Stores, localmart, printed, root};
use serde_json::Value;
use std::time::{Duration, Instant};

/// How long recovery may take after a server is back.
pub(crate) const RECOVERY: Duration = Duration::from_secs(30);

/// Whether `localmart verify` found no violation, and its output.
pub(crate) fn verify(shop: &Shop, stores: Stores) -> (bool, String) {
    let mut command = localmart();
    command
        .arg("verify")
        .arg("-f")
        .arg(root().join("spin.toml"))
        .arg("--state-dir")
        .arg(&shop.state);
    let output = command.args(stores.flags(&shop.state)).output().unwrap();
    (output.status.success(), printed(&output))
}

/// The output of `localmart events` for this shop.
pub(crate) fn events(shop: &Shop, arguments: &[&str]) -> String {
    let mut command = localmart();
    command
        .arg("events")
        .args(arguments)
        .arg("-f")
        .arg(root().join("spin.toml"))
        .arg("--state-dir")
        .arg(&shop.state);
    let output = command
        .args(crate::STORES.flags(&shop.state))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", printed(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// The events of a channel, as they were published.
pub(crate) fn history(shop: &Shop, channel: &str) -> Vec<Value> {
    let lines = events(shop, &["list", channel, "--limit", "1000", "--json"]);
    lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// Repeats a request until it is not answered with 503 and its key is not in flight.
pub(crate) fn until_up(what: &str, ask: impl Fn() -> Reply) -> Reply {
    let give_up = Instant::now() + RECOVERY;
    loop {
        let reply = ask();
        if reply.status < 500 && reply.code() != "idempotency_key_in_flight" {
            return reply;
        }
        assert!(
            Instant::now() < give_up,
            "{what} did not recover: {reply:?}"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}
