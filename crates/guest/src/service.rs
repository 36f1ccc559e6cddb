//! A service: wired once per instance, and the same for its three doors: HTTP, WIT and messages.

use crate::config::ConfigError;
use crate::events::{Consumer, Event, Refusal};
use crate::http::{Problem, Routes};
use crate::ports::Ports;
use crate::wit::Context;
use serde_json::{Map, Value};
use std::any::Any;
use std::cell::RefCell;
use std::rc::Rc;

/// Something that an instance makes once, with its stores, links and settings.
#[allow(async_fn_in_trait, reason = "components have one thread")]
pub trait Wire: Sized + 'static {
    /// Reads the settings and makes the service.
    ///
    /// # Errors
    /// A setting is missing or not valid. The next call tries again.
    async fn wire(ports: Ports) -> Result<Self, ConfigError>;
}

/// The part of a declaration that the kit needs when the service runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Declared {
    /// The noun of the service.
    pub noun: &'static str,
    /// The kinds of events that it tells.
    pub tells: &'static [&'static str],
    /// The channels that it reads.
    pub hears: &'static [&'static str],
    /// The prefixes of its own keys in the short-lived store. The sweep deletes those that have expired.
    pub expires: &'static [&'static str],
}

/// A service of the shop. What it needs is declared in its `component.toml`; what it does is here.
#[allow(async_fn_in_trait, reason = "components have one thread")]
pub trait Service: Wire {
    /// What `component.toml` declares: `crate::DECLARED`, which [`crate::component!`] makes.
    const DECLARED: Declared;
    /// The noun: the name of the component, its folder, its database and its metrics.
    const NOUN: &'static str = Self::DECLARED.noun;

    /// The HTTP API.
    fn routes() -> Routes<Self>;

    /// Handles an event. The same event may arrive several times; it must take effect once.
    async fn handle(&self, _event: &Event) -> Result<(), Refusal> {
        Ok(())
    }

    /// The periodic work that only this service knows. Events and expired keys are looked after by the kit. The members of
    /// the result are part of the answer of the sweep route.
    async fn sweep(&self, _context: &Context) -> Result<Map<String, Value>, Problem> {
        Ok(Map::new())
    }
}

impl<S: Service> Consumer for S {
    const GROUP: &'static str = S::NOUN;
    const CHANNELS: &'static [&'static str] = S::DECLARED.hears;

    async fn handle(&self, event: &Event) -> Result<(), Refusal> {
        Service::handle(self, event).await
    }
}

/// One number as the result of [`Service::sweep`].
pub fn count(name: &str, number: impl Into<Value>) -> Map<String, Value> {
    Map::from_iter([(name.to_owned(), number.into())])
}

thread_local! {
    /// What this instance has wired: usually one service.
    static WIRED: RefCell<Vec<Rc<dyn Any>>> = const { RefCell::new(Vec::new()) };
}

/// The one `W` of this instance.
///
/// # Errors
/// It cannot be wired; see [`Wire::wire`].
pub async fn instance<W: Wire>() -> Result<Rc<W>, ConfigError> {
    if let Some(known) = known::<W>() {
        return Ok(known);
    }
    let made = Rc::new(W::wire(Ports::real()).await?);
    // Another call may have wired one while this one read its settings. All calls use the first.
    Ok(known::<W>().unwrap_or_else(|| {
        WIRED.with_borrow_mut(|all| all.push(made.clone()));
        made
    }))
}

fn known<W: Wire>() -> Option<Rc<W>> {
    let cast = |one: &Rc<dyn Any>| one.clone().downcast::<W>().ok();
    WIRED.with_borrow(|all| all.iter().find_map(cast))
}
