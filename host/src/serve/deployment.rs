//! A component that runs by itself, whichever of its generations serves: what gets which part of the calls, changed at once
//! for all cores.

use super::health::Health;
use crate::state::LoadedComponent;
use arc_swap::ArcSwap;
use http::{HeaderMap, HeaderName, HeaderValue};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Parts of a whole, as shares are counted.
pub const FULL_SHARE: u32 = 10_000;

/// A component that runs by itself.
pub struct Deployment {
    /// Its id.
    pub id: Arc<str>,
    traffic: ArcSwap<Traffic>,
    newest: AtomicU64,
}

/// One generation of a component: its code, linked and ready, and how it fares.
pub struct Generation {
    /// What is instantiated; it knows its number.
    pub component: Arc<LoadedComponent>,
    /// How it fares.
    pub health: Health,
}

/// Who gets which calls.
#[derive(Clone)]
pub struct Traffic {
    /// Whom all calls go to that nothing else is said of.
    pub stable: Arc<Generation>,
    /// A generation on trial.
    pub trial: Option<Trial>,
}

/// A generation on trial, and which calls it gets.
#[derive(Clone)]
pub struct Trial {
    /// Which one.
    pub generation: Arc<Generation>,
    /// Its share of all calls, of [`FULL_SHARE`]; all calls of one trace go the same way.
    pub share: u32,
    /// Requests with this header go to it, and the calls that they bring about.
    pub header: Option<(HeaderName, HeaderValue)>,
    /// It gets copies of calls that change nothing; nobody waits for what it answers.
    pub shadow: bool,
}

/// By what it is decided where a call goes.
#[derive(Clone, Copy, Debug, Default)]
pub struct RoutingKey<'a> {
    /// The 32 hexadecimal digits of its trace, or empty.
    pub trace_id: &'a str,
    /// The headers of a request.
    pub headers: Option<&'a HeaderMap>,
    /// Whether it comes of a request whose header chose the trial.
    pub header_selected: bool,
}

impl Deployment {
    /// With its first generation.
    pub fn new(first: Generation) -> Self {
        Self {
            id: first.component.id.clone(),
            newest: AtomicU64::new(first.number()),
            traffic: ArcSwap::from_pointee(Traffic {
                stable: Arc::new(first),
                trial: None,
            }),
        }
    }

    /// Who gets which calls now.
    pub fn traffic(&self) -> arc_swap::Guard<Arc<Traffic>> {
        self.traffic.load()
    }

    /// Whom all calls go to that nothing else is said of.
    pub fn stable(&self) -> Arc<Generation> {
        self.traffic.load().stable.clone()
    }

    /// From now on calls go this way.
    pub fn publish(&self, traffic: Traffic) {
        self.traffic.store(Arc::new(traffic));
    }

    /// The number of a new generation.
    pub fn next_number(&self) -> u64 {
        self.newest.fetch_add(1, Ordering::Relaxed) + 1
    }
}

impl Generation {
    /// Ready to serve.
    pub fn new(component: LoadedComponent) -> Self {
        Self {
            component: Arc::new(component),
            health: Health::default(),
        }
    }

    /// Counted from 1 for each component since the host started.
    pub fn number(&self) -> u64 {
        self.component.generation
    }
}

impl Drop for Generation {
    fn drop(&mut self) {
        self.component.metrics.forget();
    }
}

impl Traffic {
    /// The generation that a call goes to.
    pub fn choose(&self, key: &RoutingKey<'_>) -> &Arc<Generation> {
        match &self.trial {
            Some(trial) if !trial.shadow && trial.takes(key) => &trial.generation,
            _ => &self.stable,
        }
    }

    /// The generation that gets a copy of a call, if one does.
    pub fn shadow(&self, key: &RoutingKey<'_>) -> Option<&Arc<Generation>> {
        let trial = self.trial.as_ref().filter(|trial| trial.shadow)?;
        trial.takes(key).then_some(&trial.generation)
    }
}

impl Trial {
    /// Whether the header of a request chooses it.
    pub fn is_selected_by(&self, headers: &HeaderMap) -> bool {
        let named = self.header.as_ref();
        named.is_some_and(|(name, value)| headers.get(name) == Some(value))
    }

    fn takes(&self, key: &RoutingKey<'_>) -> bool {
        key.header_selected
            || key
                .headers
                .is_some_and(|headers| self.is_selected_by(headers))
            || sample(key.trace_id) < self.share
    }
}

/// A number below [`FULL_SHARE`] that is the same for all calls of a trace.
fn sample(trace_id: &str) -> u32 {
    if trace_id.is_empty() {
        return fastrand::u32(..FULL_SHARE);
    }
    // FNV-1a, mixed once more: clients may count their traces up.
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in trace_id.bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash = (hash ^ (hash >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let part = (hash >> 32) % u64::from(FULL_SHARE);
    u32::try_from(part).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_traces_is_that_share_and_a_trace_keeps_its_way() {
        let traces = (0..100_000_u32).map(|number| format!("{number:032x}"));
        let samples: Vec<u32> = traces.map(|trace| sample(&trace)).collect();
        for share in [100, 500, 5_000] {
            let taken = samples.iter().filter(|sample| **sample < share).count();
            let expected = 100_000 * share as usize / FULL_SHARE as usize;
            let off = taken.abs_diff(expected);
            assert!(off * 10 < expected, "{share}: {taken} of {expected}");
        }
        assert_eq!(sample("abc"), sample("abc"));
    }
}
