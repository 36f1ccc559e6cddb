//! Asks a running component for a function of its interfaces, from outside of the cores. Values are in WAVE, the text format of
//! component values.

use super::core::{Core, Tell};
use super::here;
use super::instance::LinkedCall;
use super::load::Loaded;
use super::pool::{Became, Pool};
use super::unit::Signs;
use crate::limits;
use crate::link::binding::Binding;
use crate::link::{cross, fit};
use crate::state::Code;
use anyhow::{Context as _, bail};
use futures::channel::oneshot;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use wasmtime::component::Val;
use wasmtime::component::types::{ComponentFunc, ComponentItem};

/// A question to a component.
pub struct Question {
    /// Its id.
    pub component: String,
    /// What is called; see [`cross::key`].
    pub key: Arc<str>,
    /// With what.
    pub params: Vec<Val>,
    /// The component of another host that asks, if one does.
    pub caller: Option<Arc<str>>,
}

/// A question, and where its answer goes.
pub struct Asked {
    question: Question,
    answer: oneshot::Sender<Called>,
}

/// What a component answers, or why it does not.
type Called = Result<Vec<Val>, String>;

impl Loaded {
    /// Calls a function of an interface that a component exports; what it answers.
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
                .with_context(|| format!("`{name}` is missing"))?;
            let value = wasm_wave::from_str::<Val>(&ty, text);
            params.push(value.with_context(|| format!("`{name}` cannot be {text}"))?);
        }
        if given.next().is_some() {
            bail!("`{function}` has {} parameters", params.len());
        }
        let answered = self.ask(Question {
            component: component.to_owned(),
            key: key.as_str().into(),
            params,
            caller: None,
        })?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()?;
        let patience = limits::LINK_CALL * 2;
        let answered = runtime.block_on(async { tokio::time::timeout(patience, answered).await });
        let values = answered
            .context("no answer")?
            .context("the host is ending")?;
        let values = values.map_err(anyhow::Error::msg)?;
        let shown = values.first().map(wasm_wave::to_string).transpose()?;
        Ok(shown.unwrap_or_default())
    }

    /// Asks a component; what it answers can be waited for.
    pub fn ask(&self, question: Question) -> anyhow::Result<oneshot::Receiver<Called>> {
        let (answer, answered) = oneshot::channel();
        self.tell_one(Tell::Ask(Asked { question, answer }))?;
        Ok(answered)
    }

    /// The key and the type of a function that a component exports, by its name.
    fn function(&self, component: &str, name: &str) -> anyhow::Result<(String, ComponentFunc)> {
        let unit = self.units.get(component);
        let unit = unit.with_context(|| format!("there is no component `{component}`"))?;
        let (generation, mut known) = (unit.stable(), Vec::new());
        let engine = &generation.component.engine;
        let ty = generation.component.component.component_type();
        for (interface, item) in ty.exports(engine) {
            let ComponentItem::ComponentInstance(exported) = item.ty else {
                continue;
            };
            if fit::is_of_the_host(interface) {
                continue;
            }
            for (function, item) in exported.exports(engine) {
                match item.ty {
                    ComponentItem::ComponentFunc(ty) if function == name => {
                        return Ok((cross::key(interface, name), ty));
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
    /// Lets a component answer a question from outside.
    pub(super) fn answer(self: &Rc<Self>, asked: Asked) {
        let Asked { question, answer } = asked;
        let said = cross::said(&question.params);
        let trace_id = said.trace_parent.get(3..35).unwrap_or_default();
        let signs = Signs {
            trace_id,
            ..Signs::default()
        };
        let here = self.units.get(&question.component);
        let pool = here.map(|here| here.choose(&signs));
        let timeout = here::patience(said.deadline, &self.loaded.clock);
        tokio::task::spawn_local(async move {
            let answered = match (pool, timeout) {
                (None, _) => Err("there is no such component".to_owned()),
                (_, None) => Err("the deadline has passed".to_owned()),
                (Some(pool), Some(timeout)) => asked_of(&pool, question, timeout).await,
            };
            // Whoever asked may have given up.
            let _ = answer.send(answered);
        });
    }
}

async fn asked_of(pool: &Rc<Pool>, question: Question, timeout: Duration) -> Called {
    let Question {
        key,
        params,
        caller,
        ..
    } = question;
    let begun = Instant::now();
    let answered = match pool.generation.component.code {
        Code::Policy(..) => pool.decide(&key, &params, |_| false),
        Code::Component(_) => {
            let called = pool.linked(LinkedCall { key, params }, None, timeout, |_| false);
            called.await.map_err(|error| error.reason(timeout))
        }
    };
    if let Some(caller) = caller {
        let became = answered.as_ref();
        let became = became.map_or(Became::Broken, |_| Became::Answered);
        pool.caller(&caller, Binding::Remote).ended(begun, became);
    }
    answered
}
