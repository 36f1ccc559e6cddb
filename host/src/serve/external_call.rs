//! Calls to exported functions from outside the cores: from the control socket and from other hosts. Values are in
//! WAVE, the text format for component values.

use super::core::{Core, CoreCommand};
use super::deployment::RoutingKey;
use super::instance::LinkedCall;
use super::load::Loaded;
use super::local;
use super::pool::{LinkOutcome, Pool};
use crate::capability::state::Code;
use crate::limits;
use crate::link::binding::Binding;
use crate::link::function::CallResult;
use crate::link::not_answered::NotAnswered;
use crate::link::{fit, function};
use anyhow::{Context as _, bail};
use futures::channel::oneshot;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use wasmtime::component::Val;
use wasmtime::component::types::{ComponentFunc, ComponentItem};

/// A call to a function of a component.
pub struct CallRequest {
    /// The component to call.
    pub component: String,
    /// The function; see [`function::key`].
    pub key: Arc<str>,
    /// The arguments.
    pub params: Vec<Val>,
    /// The calling component, if the call comes from another host.
    pub caller: Option<Arc<str>>,
}

/// A call and the sender for its result.
pub struct PendingCall {
    request: CallRequest,
    answer: oneshot::Sender<CallResult>,
}

impl Loaded {
    /// Calls a function that a component exports and waits for the result.
    pub fn call(
        &self,
        component: &str,
        function: &str,
        arguments: &[&str],
    ) -> anyhow::Result<String> {
        let (key, ty) = self.function(component, function)?;
        let mut params = Vec::new();
        let mut given = arguments.iter();
        for (name, ty) in ty.params() {
            let text = given
                .next()
                .with_context(|| format!("the argument `{name}` is missing"))?;
            let value = wasm_wave::from_str::<Val>(&ty, text);
            params.push(value.with_context(|| format!("`{text}` is not a value for `{name}`"))?);
        }
        if given.next().is_some() {
            bail!("`{function}` takes {} arguments", params.len());
        }
        let answered = self.submit(CallRequest {
            component: component.to_owned(),
            key: key.as_str().into(),
            params,
            caller: None,
        })?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()?;
        let patience = limits::LINK_CALL_TIMEOUT * 2;
        let answered = runtime.block_on(async { tokio::time::timeout(patience, answered).await });
        let values = answered
            .context("no answer")?
            .context("the host is shutting down")?;
        let values = values?;
        let shown = values.first().map(wasm_wave::to_string).transpose()?;
        Ok(shown.unwrap_or_default())
    }

    /// Submits a call to one of the cores. The receiver resolves to the result.
    pub fn submit(&self, request: CallRequest) -> anyhow::Result<oneshot::Receiver<CallResult>> {
        let (answer, answered) = oneshot::channel();
        self.send_to_one(CoreCommand::Call(PendingCall { request, answer }))?;
        Ok(answered)
    }

    /// Finds an exported function by its name, in any interface.
    fn function(&self, component: &str, name: &str) -> anyhow::Result<(String, ComponentFunc)> {
        let deployment = self.deployments.get(component);
        let deployment =
            deployment.with_context(|| format!("there is no component `{component}`"))?;
        let (generation, mut known) = (deployment.stable(), Vec::new());
        let engine = &generation.component.engine;
        let ty = generation.component.component.component_type();
        for (interface, item) in ty.exports(engine) {
            let ComponentItem::ComponentInstance(exported) = item.ty else {
                continue;
            };
            if fit::is_host_interface(interface) {
                continue;
            }
            for (function, item) in exported.exports(engine) {
                match item.ty {
                    ComponentItem::ComponentFunc(ty) if function == name => {
                        return Ok((function::key(interface, name), ty));
                    }
                    ComponentItem::ComponentFunc(_) => known.push(function.to_owned()),
                    _ => {}
                }
            }
        }
        bail!(
            "`{component}` exports no function `{name}`; it exports {}",
            known.join(", ")
        )
    }
}

impl Core {
    /// Runs a call from outside the cores.
    pub(super) fn run_external_call(self: &Rc<Self>, call: PendingCall) {
        let PendingCall { request, answer } = call;
        let context = function::call_context(&request.params);
        let trace_id = context.trace_parent.get(3..35).unwrap_or_default();
        let key = RoutingKey {
            trace_id,
            ..RoutingKey::default()
        };
        let component = self.components.get(&request.component);
        let pool = component.map(|component| component.choose(&key));
        let timeout = local::patience(context.deadline, &self.loaded.clock);
        tokio::task::spawn_local(async move {
            let answered = match (pool, timeout) {
                (None, _) => Err(NotAnswered::Unknown),
                (_, None) => Err(NotAnswered::DeadlinePassed),
                (Some(pool), Some(timeout)) => call_pool(&pool, request, timeout).await,
            };
            // The receiver is gone if the caller gave up waiting.
            let _ = answer.send(answered);
        });
    }
}

async fn call_pool(pool: &Rc<Pool>, request: CallRequest, timeout: Duration) -> CallResult {
    let CallRequest {
        key,
        params,
        caller,
        ..
    } = request;
    let begun = Instant::now();
    let answered = match pool.generation.component.code {
        Code::Policy(..) => pool.decide(&key, &params, |_| false),
        Code::Component(_) => {
            let called = pool.call_function(LinkedCall { key, params }, None, timeout, |_| false);
            called.await
        }
    };
    if let Some(caller) = caller {
        let outcome = answered.as_ref();
        let outcome = outcome.map_or_else(LinkOutcome::from, |_| LinkOutcome::Answered);
        pool.link(&caller, Binding::Remote).record(begun, outcome);
    }
    answered
}
