//! Named points: what `--point name=action` does when a component comes there. Only offered to tests.

use super::Capabilities;
use super::bindings::localmart::testing::points as wit;
use crate::state::HostState;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use wasmtime::component::Accessor;

/// What happens at a point.
#[derive(Debug)]
pub enum Action {
    /// The whole host dies at once, as by `kill -9`.
    Kill,
    /// The first call there waits; the others pass.
    DelayFirst(Duration, AtomicBool),
    /// Every call there waits.
    Delay(Duration),
}

impl Action {
    /// The same action, not used yet.
    pub fn again(&self) -> Self {
        match self {
            Self::Kill => Self::Kill,
            Self::DelayFirst(time, _) => Self::DelayFirst(*time, AtomicBool::new(false)),
            Self::Delay(time) => Self::Delay(*time),
        }
    }
}

/// The points that do something, by name.
pub type Points = BTreeMap<String, Action>;

/// Reads `name=kill`, `name=delay:200ms` or `name=delay-first:200ms`.
pub fn parse(text: &str) -> Result<(String, Action), String> {
    let usage = || {
        format!(
            "`{text}` is not name=kill, name=delay:MILLISECONDS or name=delay-first:MILLISECONDS"
        )
    };
    let (name, action) = text.split_once('=').ok_or_else(usage)?;
    let action = match action.split_once(':') {
        None if action == "kill" => Action::Kill,
        Some(("delay", ms)) => {
            Action::Delay(Duration::from_millis(ms.parse().map_err(|_| usage())?))
        }
        Some(("delay-first", ms)) => Action::DelayFirst(
            Duration::from_millis(ms.parse().map_err(|_| usage())?),
            AtomicBool::new(false),
        ),
        _ => return Err(usage()),
    };
    Ok((name.to_owned(), action))
}

impl wit::Host for HostState {}

impl<T: Send + 'static> wit::HostWithStore<T> for Capabilities {
    async fn hit(accessor: &Accessor<T, Self>, name: String) -> wasmtime::Result<()> {
        let points = accessor.with(|mut access| access.get().component.points.clone());
        match points.get(&name) {
            None => {}
            Some(Action::Kill) => {
                eprintln!("point {name}: kill");
                std::process::abort();
            }
            Some(Action::Delay(time)) => tokio::time::sleep(*time).await,
            Some(Action::DelayFirst(time, used)) if !used.swap(true, Ordering::Relaxed) => {
                tokio::time::sleep(*time).await;
            }
            Some(Action::DelayFirst(..)) => {}
        }
        Ok(())
    }
}
