//! Faults on purpose: errors, delays and traps on links and on what components ask of the host, to see what the others make of it.
//! Where there are none they cost a load.

use crate::serve::ended::Doom;
use crate::serve::unit::WHOLE;
use arc_swap::ArcSwap;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// What a component asks of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Capability {
    /// Databases in files.
    Sqlite,
    /// A Postgres server.
    Postgres,
    /// A Redis server.
    Redis,
    /// Key-value stores.
    KeyValue,
    /// Requests that go out.
    Http,
}

/// All of them.
const CAPABILITIES: [Capability; 5] = [
    Capability::Sqlite,
    Capability::Postgres,
    Capability::Redis,
    Capability::KeyValue,
    Capability::Http,
];

impl Capability {
    /// Its name.
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
            format!("`{text}` is no capability; there are {known}")
        })
    }
}

/// Where a fault strikes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// On calls over a link.
    Link {
        /// Who calls.
        caller: String,
        /// Who is called.
        callee: String,
    },
    /// On what components ask of the host.
    Capability {
        /// What they ask.
        capability: Capability,
        /// Of this component only.
        component: Option<String>,
    },
}

impl Place {
    fn is_link(&self, from: &str, to: &str) -> bool {
        matches!(self, Self::Link { caller, callee } if caller == from && callee == to)
    }
}

/// What a fault does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Blow {
    /// The call fails: `unavailable`, or the capability's own error.
    Error,
    /// It takes so much longer.
    Delay(Duration),
    /// The instance ends: of a link the callee's, of a capability the one that asks.
    Trap,
}

/// A fault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// Where it strikes.
    pub place: Place,
    /// What it does.
    pub blow: Blow,
    /// The part of the calls that it strikes, of [`WHOLE`].
    pub part: u32,
}

/// A fault with its number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Numbered {
    /// Counted from 1.
    pub number: u64,
    /// How often it struck.
    pub struck: u64,
    /// What it is.
    #[serde(flatten)]
    pub fault: Fault,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Link { caller, callee } => write!(f, "{caller}->{callee}: ")?,
            Place::Capability {
                capability,
                component: None,
            } => write!(f, "{}: ", capability.name())?,
            Place::Capability {
                capability,
                component: Some(component),
            } => write!(f, "{} of {component}: ", capability.name())?,
        }
        match self.blow {
            Blow::Error => write!(f, "error")?,
            Blow::Delay(time) => write!(f, "delay of {time:?}")?,
            Blow::Trap => write!(f, "trap")?,
        }
        write!(f, ", {}.{:02} %", self.part / 100, self.part % 100)
    }
}

/// The faults of a host.
#[derive(Default)]
pub struct Faults {
    any: AtomicBool,
    list: ArcSwap<Vec<(u64, Fault, Arc<AtomicU64>)>>,
    newest: AtomicU64,
}

impl Faults {
    /// Adds one; its number.
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

    /// All of them.
    pub fn list(&self) -> Vec<Numbered> {
        let list = self.list.load();
        let shown = list.iter().map(|(number, fault, struck)| Numbered {
            number: *number,
            struck: struck.load(Ordering::Relaxed),
            fault: fault.clone(),
        });
        shown.collect()
    }

    /// Removes one, or all; how many went.
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

    /// What strikes now: the delays together, and the first error or trap.
    fn now(&self, strikes: impl Fn(&Place) -> bool) -> (Duration, Option<Blow>) {
        let (mut delay, mut end) = (Duration::ZERO, None);
        if !self.any.load(Ordering::Acquire) {
            return (delay, end);
        }
        for (_, fault, struck) in self.list.load().iter() {
            if !strikes(&fault.place) || fastrand::u32(..WHOLE) >= fault.part {
                continue;
            }
            struck.fetch_add(1, Ordering::Relaxed);
            match fault.blow {
                Blow::Delay(time) => delay += time,
                blow => end = end.or(Some(blow)),
            }
        }
        (delay, end)
    }

    /// What strikes a decision of a policy. A decision is made at once, so that a delay does not.
    pub fn on_decision(&self, caller: &str, callee: &str) -> Option<Blow> {
        self.now(|place| place.is_link(caller, callee)).1
    }

    /// What strikes a call over a link; it takes as long as its delays.
    pub async fn on_link(&self, caller: &str, callee: &str) -> Option<Blow> {
        let (delay, end) = self.now(|place| place.is_link(caller, callee));
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        end
    }
}

/// The faults that one instance meets when it asks something of the host.
#[derive(Clone)]
pub struct Strikes {
    faults: Arc<Faults>,
    component: Arc<str>,
    doom: Arc<Doom>,
}

/// What an error on purpose says.
pub const ON_PURPOSE: &str = "a fault was put here on purpose; localmart fault list shows it";

impl Strikes {
    /// Of an instance, which `doom` ends.
    pub fn new(faults: Arc<Faults>, component: Arc<str>, doom: Arc<Doom>) -> Self {
        Self {
            faults,
            component,
            doom,
        }
    }

    /// What strikes a question to the host; it takes as long as its delays. The error says that it was on purpose.
    pub async fn strike(&self, asked: Capability) -> Result<(), String> {
        let here = |place: &Place| match place {
            Place::Capability {
                capability,
                component,
            } => {
                let mine = component
                    .as_deref()
                    .is_none_or(|only| *only == *self.component);
                *capability == asked && mine
            }
            Place::Link { .. } => false,
        };
        let (delay, end) = self.faults.now(here);
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        match end {
            None | Some(Blow::Delay(_)) => Ok(()),
            Some(Blow::Error) => Err(ON_PURPOSE.to_owned()),
            Some(Blow::Trap) => {
                self.doom.seal();
                Err(ON_PURPOSE.to_owned())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::binding::Link;

    fn on(capability: Capability, component: Option<&str>, blow: Blow, part: u32) -> Fault {
        let component = component.map(str::to_owned);
        Fault {
            place: Place::Capability {
                capability,
                component,
            },
            blow,
            part,
        }
    }

    #[tokio::test]
    async fn faults_strike_where_they_are_put_and_as_often() {
        let faults = Arc::new(Faults::default());
        let strikes =
            |component: &str| Strikes::new(faults.clone(), component.into(), Arc::default());
        let (mine, others) = (strikes("a"), strikes("b"));
        assert_eq!(mine.strike(Capability::Sqlite).await, Ok(()));
        let number = faults.add(on(Capability::Sqlite, Some("a"), Blow::Error, WHOLE));
        assert!(mine.strike(Capability::Sqlite).await.is_err());
        assert_eq!(mine.strike(Capability::Redis).await, Ok(()));
        assert_eq!(others.strike(Capability::Sqlite).await, Ok(()));
        assert_eq!(
            faults.list().first().map(|one| (one.number, one.struck)),
            Some((number, 1))
        );
        assert_eq!((faults.clear(Some(99)), faults.clear(Some(number))), (0, 1));
        assert_eq!(mine.strike(Capability::Sqlite).await, Ok(()));
        faults.add(on(Capability::Sqlite, None, Blow::Error, WHOLE / 4));
        let mut struck = 0;
        for _ in 0..4_000 {
            struck += u32::from(others.strike(Capability::Sqlite).await.is_err());
        }
        assert!((800..1_200).contains(&struck), "{struck}");
        faults.clear(None);
        faults.add(on(Capability::Http, None, Blow::Trap, WHOLE));
        assert!(mine.strike(Capability::Http).await.is_err() && mine.doom.is_sealed());
    }

    #[test]
    fn links_and_faults_are_shown_as_they_are_written() {
        let link: Link = "order->payment".parse().unwrap();
        let fault = Fault {
            place: Place::Link {
                caller: link.caller,
                callee: link.callee,
            },
            blow: Blow::Delay(Duration::from_millis(200)),
            part: 1_050,
        };
        assert_eq!(fault.to_string(), "order->payment: delay of 200ms, 10.50 %");
    }
}
