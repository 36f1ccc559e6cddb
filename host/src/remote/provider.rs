//! What answers for a component that does not run here.

use super::client::{Http, RemoteComponent};
use super::fake::Fake;
use crate::link::function::LinkFunction;
use crate::link::not_answered::Answered;
use std::sync::Arc;
use std::time::Duration;
use wasmtime::component::Val;
use wasmtime::component::types::Type;

/// A function of an imported interface.
pub struct ImportedFunction {
    /// Its name.
    pub name: String,
    /// Its types as text.
    pub shape: String,
    /// The type of its result.
    pub result: Option<Type>,
}

/// What answers for a component that does not run here.
#[derive(Clone)]
pub enum Provider {
    /// The component on another host.
    Host(RemoteComponent),
    /// A file of answers.
    File(Arc<Fake>),
}

impl Provider {
    /// The interface that matches an import best.
    pub fn best(&self, import: &str) -> Option<&str> {
        match self {
            Self::Host(remote) => remote.best(import),
            Self::File(fake) => fake.best(import),
        }
    }

    /// Whether it can answer a function. The error says what differs.
    pub fn fits(&self, interface: &str, function: &ImportedFunction) -> Result<(), String> {
        match self {
            Self::Host(remote) => remote.fits(interface, &function.name, &function.shape),
            Self::File(fake) => fake.fits(interface, &function.name, function.result.as_ref()),
        }
    }

    /// Calls a function. Waits for `patience` at most.
    pub async fn call(
        &self,
        client: &Http,
        function: &LinkFunction,
        params: &[Val],
        patience: Duration,
    ) -> Answered<Vec<Val>> {
        match self {
            Self::Host(remote) => remote.call(client, function, params, patience).await,
            Self::File(fake) => fake.call(function, params),
        }
    }
}
