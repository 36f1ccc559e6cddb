//! A component and its generations: which generation gets which share of the calls. Changes apply to all cores at once.

use super::health::Health;
use crate::capability::state::LoadedComponent;
use crate::limits::FULL_SHARE;
use arc_swap::ArcSwap;
use http::{HeaderMap, HeaderName, HeaderValue};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A component that runs in its own instances.
pub struct Deployment {
    /// The id of the component.
    pub id: Arc<str>,
    traffic: ArcSwap<Traffic>,
    newest: AtomicU64,
}

/// One generation of a component: its linked code, and statistics of its calls.
pub struct Generation {
    /// The code to instantiate; it contains the generation number.
    pub component: Arc<LoadedComponent>,
    /// Statistics of its calls.
    pub health: Health,
}

/// How calls are divided between generations.
#[derive(Clone)]
pub struct Traffic {
    /// The generation that gets every call that the trial does not get.
    pub stable: Arc<Generation>,
    /// A generation on trial.
    pub trial: Option<Trial>,
}

/// A generation on trial, and which calls it gets.
#[derive(Clone)]
pub struct Trial {
    /// The generation.
    pub generation: Arc<Generation>,
    /// Its share of all calls, in parts of [`FULL_SHARE`]. All calls of one trace are treated alike.
    pub share: u32,
    /// Requests with this header go to the trial, and so do the calls that they cause.
    pub header: Option<(HeaderName, HeaderValue)>,
    /// The trial only gets copies of calls without side effects. Its answers are compared and dropped.
    pub shadow: bool,
}

/// The properties of a call that decide which generation gets it.
#[derive(Clone, Copy, Debug, Default)]
pub struct RoutingKey<'a> {
    /// The trace id of 32 hexadecimal digits; may be empty.
    pub trace_id: &'a str,
    /// The headers of an HTTP request.
    pub headers: Option<&'a HeaderMap>,
    /// Whether the call belongs to a request whose header selected the trial.
    pub header_selected: bool,
}

impl Deployment {
    /// A deployment with its first generation.
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

    /// The current division of calls.
    pub fn traffic(&self) -> arc_swap::Guard<Arc<Traffic>> {
        self.traffic.load()
    }

    /// The generation that gets every call that the trial does not get.
    pub fn stable(&self) -> Arc<Generation> {
        self.traffic.load().stable.clone()
    }

    /// Replaces the division of calls.
    pub fn publish(&self, traffic: Traffic) {
        self.traffic.store(Arc::new(traffic));
    }

    /// The number for the next generation.
    pub fn next_number(&self) -> u64 {
        self.newest.fetch_add(1, Ordering::Relaxed) + 1
    }
}

impl Generation {
    /// A generation that is ready to serve.
    pub fn new(component: LoadedComponent) -> Self {
        Self {
            component: Arc::new(component),
            health: Health::default(),
        }
    }

    /// The generation number, counted from 1 for each component since the host started.
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
    /// The generation that gets a call.
    pub fn choose(&self, key: &RoutingKey<'_>) -> &Arc<Generation> {
        match &self.trial {
            Some(trial) if !trial.shadow && trial.gets(key) => &trial.generation,
            _ => &self.stable,
        }
    }

    /// The generation that gets a copy of a call, if there is one.
    pub fn shadow(&self, key: &RoutingKey<'_>) -> Option<&Arc<Generation>> {
        let trial = self.trial.as_ref().filter(|trial| trial.shadow)?;
        trial.gets(key).then_some(&trial.generation)
    }
}

impl Trial {
    /// Whether the headers of a request select this trial.
    pub fn is_selected_by(&self, headers: &HeaderMap) -> bool {
        let named = self.header.as_ref();
        named.is_some_and(|(name, value)| headers.get(name) == Some(value))
    }

    fn gets(&self, key: &RoutingKey<'_>) -> bool {
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
    // FNV-1a with one more mixing step, because clients may use consecutive trace ids.
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
    fn a_share_of_traces_is_accurate_and_stable_per_trace() {
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
