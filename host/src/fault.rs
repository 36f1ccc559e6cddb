//! Fault injection: errors, delays and traps on links and on host capabilities, to test how components cope. Without
//! faults a check costs one atomic load.

use crate::limits::FULL_SHARE;
use crate::link::not_answered::INJECTED;
use crate::termination::Termination;
use arc_swap::ArcSwap;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// A capability that the host provides to components.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Capability {
    /// SQLite databases.
    Sqlite,
    /// Postgres.
    Postgres,
    /// Redis.
    Redis,
    /// Key-value stores.
    KeyValue,
    /// Outgoing HTTP requests.
    Http,
}

/// All capabilities.
const CAPABILITIES: [Capability; 5] = [
    Capability::Sqlite,
    Capability::Postgres,
    Capability::Redis,
    Capability::KeyValue,
    Capability::Http,
];

impl Capability {
    /// The name in options and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Postgres => "postgres",
            Self::Redis => "redis",
            Self::KeyValue => "key-value",
            Self::Http => "http",
        }
    }
}

impl FromStr for Capability {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let named = CAPABILITIES.into_iter().find(|one| one.name() == text);
        named.ok_or_else(|| {
            let known = CAPABILITIES.map(Self::name).join(", ");
            format!("`{text}` is not a capability; use one of {known}")
        })
    }
}

/// Where a fault is injected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultTarget {
    /// Calls over a link.
    Link {
        /// The calling component.
        caller: String,
        /// The called component.
        callee: String,
    },
    /// Uses of a capability.
    Capability {
        /// The capability.
        capability: Capability,
        /// Only uses by this component.
        component: Option<String>,
    },
}

impl FaultTarget {
    fn is_link(&self, from: &str, to: &str) -> bool {
        matches!(self, Self::Link { caller, callee } if caller == from && callee == to)
    }
}

/// What a fault does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultEffect {
    /// The call fails with `unavailable`, or with the capability's own error.
    Error,
    /// The call is delayed.
    Delay(Duration),
    /// An instance traps: the callee's on a link, the caller's on a capability.
    Trap,
}

/// A fault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// Where it is injected.
    pub target: FaultTarget,
    /// What it does.
    pub effect: FaultEffect,
    /// The share of matching calls that it affects, in parts of [`FULL_SHARE`].
    pub rate: u32,
}

/// A fault that is active in a host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActiveFault {
    /// Its number, counted from 1.
    pub number: u64,
    /// How many calls it has affected.
    pub hits: u64,
    /// The fault.
    #[serde(flatten)]
    pub fault: Fault,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.target {
            FaultTarget::Link { caller, callee } => write!(f, "{caller}->{callee}: ")?,
            FaultTarget::Capability {
                capability,
                component: None,
            } => write!(f, "{}: ", capability.name())?,
            FaultTarget::Capability {
                capability,
                component: Some(component),
            } => write!(f, "{} of {component}: ", capability.name())?,
        }
        match self.effect {
            FaultEffect::Error => write!(f, "error")?,
            FaultEffect::Delay(time) => write!(f, "delay of {time:?}")?,
            FaultEffect::Trap => write!(f, "trap")?,
        }
        write!(f, ", {}.{:02} %", self.rate / 100, self.rate % 100)
    }
}

/// All active faults of a host.
#[derive(Default)]
pub struct Faults {
    any: AtomicBool,
    list: ArcSwap<Vec<(u64, Fault, Arc<AtomicU64>)>>,
    newest: AtomicU64,
}

impl Faults {
    /// Adds a fault and returns its number.
    pub fn add(&self, fault: Fault) -> u64 {
        let number = self.newest.fetch_add(1, Ordering::Relaxed) + 1;
        self.list.rcu(|list| {
            let mut list = Vec::clone(list);
            list.push((number, fault.clone(), Arc::default()));
            list
        });
        self.any.store(true, Ordering::Release);
        number
    }

    /// All active faults.
    pub fn list(&self) -> Vec<ActiveFault> {
        let list = self.list.load();
        let shown = list.iter().map(|(number, fault, hits)| ActiveFault {
            number: *number,
            hits: hits.load(Ordering::Relaxed),
            fault: fault.clone(),
        });
        shown.collect()
    }

    /// Removes one fault, or all of them. Returns how many were removed.
    pub fn clear(&self, number: Option<u64>) -> usize {
        let before = self.list.load().len();
        self.list.rcu(|list| {
            let mut list = Vec::clone(list);
            list.retain(|(known, _, _)| number.is_some_and(|number| number != *known));
            list
        });
        let left = self.list.load().len();
        self.any.store(left > 0, Ordering::Release);
        before.saturating_sub(left)
    }

    /// The faults that apply to this call: the sum of the delays, and the first error or trap.
    fn current(&self, matches: impl Fn(&FaultTarget) -> bool) -> (Duration, Option<FaultEffect>) {
        let (mut delay, mut end) = (Duration::ZERO, None);
        if !self.any.load(Ordering::Acquire) {
            return (delay, end);
        }
        for (_, fault, hits) in self.list.load().iter() {
            if !matches(&fault.target) || fastrand::u32(..FULL_SHARE) >= fault.rate {
                continue;
            }
            hits.fetch_add(1, Ordering::Relaxed);
            match fault.effect {
                FaultEffect::Delay(time) => delay += time,
                effect => end = end.or(Some(effect)),
            }
        }
        (delay, end)
    }

    /// The fault to inject into a policy decision. Decisions are synchronous, so delays are ignored.
    pub fn on_decision(&self, caller: &str, callee: &str) -> Option<FaultEffect> {
        self.current(|target| target.is_link(caller, callee)).1
    }

    /// Waits for the delays of a link and returns the error or trap to inject into the call.
    pub async fn on_link(&self, caller: &str, callee: &str) -> Option<FaultEffect> {
        let (delay, end) = self.current(|target| target.is_link(caller, callee));
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        end
    }
}

/// The faults that apply to the capabilities of one instance.
#[derive(Clone)]
pub struct InstanceFaults {
    faults: Arc<Faults>,
    component: Arc<str>,
    termination: Arc<Termination>,
}

/// A failure that somebody asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{INJECTED}")]
pub struct Injected;

impl InstanceFaults {
    /// The faults of one instance. A trap ends it through `termination`.
    pub fn new(faults: Arc<Faults>, component: Arc<str>, termination: Arc<Termination>) -> Self {
        Self {
            faults,
            component,
            termination,
        }
    }

    /// Injects the faults of a capability: waits for the delays, then fails or traps. The error says that it was
    /// injected.
    pub async fn inject(&self, asked: Capability) -> Result<(), Injected> {
        let applies = |target: &FaultTarget| match target {
            FaultTarget::Capability {
                capability,
                component,
            } => {
                let is_this_component = component
                    .as_deref()
                    .is_none_or(|only| *only == *self.component);
                *capability == asked && is_this_component
            }
            FaultTarget::Link { .. } => false,
        };
        let (delay, end) = self.faults.current(applies);
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        match end {
            None | Some(FaultEffect::Delay(_)) => Ok(()),
            Some(FaultEffect::Error) => Err(Injected),
            Some(FaultEffect::Trap) => {
                self.termination.request();
                Err(Injected)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::binding::Link;

    fn on(
        capability: Capability,
        component: Option<&str>,
        effect: FaultEffect,
        rate: u32,
    ) -> Fault {
        let component = component.map(str::to_owned);
        Fault {
            target: FaultTarget::Capability {
                capability,
                component,
            },
            effect,
            rate,
        }
    }

    #[tokio::test]
    async fn faults_apply_to_their_target_at_their_rate() {
        let faults = Arc::new(Faults::default());
        let faults_of =
            |component: &str| InstanceFaults::new(faults.clone(), component.into(), Arc::default());
        let (mine, others) = (faults_of("a"), faults_of("b"));
        assert_eq!(mine.inject(Capability::Sqlite).await, Ok(()));
        let number = faults.add(on(
            Capability::Sqlite,
            Some("a"),
            FaultEffect::Error,
            FULL_SHARE,
        ));
        assert!(mine.inject(Capability::Sqlite).await.is_err());
        assert_eq!(mine.inject(Capability::Redis).await, Ok(()));
        assert_eq!(others.inject(Capability::Sqlite).await, Ok(()));
        assert_eq!(
            faults.list().first().map(|one| (one.number, one.hits)),
            Some((number, 1))
        );
        assert_eq!((faults.clear(Some(99)), faults.clear(Some(number))), (0, 1));
        assert_eq!(mine.inject(Capability::Sqlite).await, Ok(()));
        faults.add(on(
            Capability::Sqlite,
            None,
            FaultEffect::Error,
            FULL_SHARE / 4,
        ));
        let mut hits = 0;
        for _ in 0..4_000 {
            hits += u32::from(others.inject(Capability::Sqlite).await.is_err());
        }
        assert!((800..1_200).contains(&hits), "{hits}");
        faults.clear(None);
        faults.add(on(Capability::Http, None, FaultEffect::Trap, FULL_SHARE));
        assert!(mine.inject(Capability::Http).await.is_err() && mine.termination.is_requested());
    }

    #[test]
    fn links_and_faults_are_shown_as_they_are_written() {
        let link: Link = "order->payment".parse().unwrap();
        let fault = Fault {
            target: FaultTarget::Link {
                caller: link.caller,
                callee: link.callee,
            },
            effect: FaultEffect::Delay(Duration::from_millis(200)),
            rate: 1_050,
        };
        assert_eq!(fault.to_string(), "order->payment: delay of 200ms, 10.50 %");
    }
}
