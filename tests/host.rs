//! The host from the outside: invalid manifests, the observe address, draining, and the verbs of the command line.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may stop at once"
)]

mod harness;

/// The stores for the shops of this binary.
const STORES: harness::Stores = harness::Stores::EMBEDDED;

/// How their links are bound.
const BINDING: &str = "isolated";

#[path = "host/bench.rs"]
mod bench;
#[path = "host/builds.rs"]
mod builds;
#[path = "host/clock.rs"]
mod clock;
#[path = "host/conformance.rs"]
mod conformance;
#[path = "host/contracts.rs"]
mod contracts;
#[path = "host/damage.rs"]
mod damage;
#[path = "host/declared.rs"]
mod declared;
#[path = "host/examples.rs"]
mod examples;
#[path = "host/faults.rs"]
mod faults;
#[path = "host/finding.rs"]
mod finding;
#[path = "host/first_page.rs"]
mod first_page;
#[path = "host/guests.rs"]
mod guests;
#[path = "host/hostile.rs"]
mod hostile;
#[path = "host/languages.rs"]
mod languages;
#[path = "host/links.rs"]
mod links;
#[path = "host/logs.rs"]
mod logs;
#[path = "host/manifests.rs"]
mod manifests;
#[path = "host/mistaken.rs"]
mod mistaken;
#[path = "host/older.rs"]
mod older;
#[path = "host/own_keys.rs"]
mod own_keys;
#[path = "host/policies.rs"]
mod policies;
#[path = "host/portable.rs"]
mod portable;
#[path = "host/registry.rs"]
mod registry;
#[path = "host/remotes.rs"]
mod remotes;
#[path = "host/running.rs"]
mod running;
#[path = "host/starting.rs"]
mod starting;
#[path = "host/swaps.rs"]
mod swaps;
#[path = "host/tls.rs"]
mod tls;
#[path = "host/tls_stores.rs"]
mod tls_stores;
#[path = "host/top.rs"]
mod top;
#[path = "host/traffic.rs"]
mod traffic;
#[path = "host/verbs.rs"]
mod verbs;
#[path = "host/watch.rs"]
mod watch;
