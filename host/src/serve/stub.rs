//! Calls between instances. The host defines the imported functions of a caller as stubs, which pass the arguments to
//! an instance of the callee on the same core and wait up to the deadline. If there is no answer, the stub returns the
//! interface's own `unavailable`, and the caller keeps running.

use super::core;
use crate::capability::state::HostState;
use crate::link::binding::Binding;
use crate::link::function::{
    CallResult, LinkFunction, functions, has_bytes, has_too_many, key, unavailable_form,
};
use crate::link::not_answered::NotAnswered;
use crate::remote::shape;
use futures::future::Either;
use send_wrapper::SendWrapper;
use std::sync::Arc;
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, Linker, Val};
use wasmtime::{Engine, Error};

/// Defines stubs for an import of a component. The error says what cannot be passed between instances, and why.
pub fn define(
    linker: &mut Linker<HostState>,
    engine: &Engine,
    component: &Component,
    import: &str,
    (caller, callee, binding): (&Arc<str>, &Arc<str>, Binding),
) -> Result<(), String> {
    let ty = component.component_type();
    let Some(ComponentItem::ComponentInstance(interface)) =
        ty.get_import(engine, import).map(|import| import.ty)
    else {
        return Err(format!("`{import}` is not an interface"));
    };
    let functions = functions(engine, &interface).map_err(|(item, reason)| {
        format!("`{item}` of `{import}` cannot be called in another instance: {reason}; bind this link fused")
    })?;
    let mut instance = linker
        .instance(import)
        .map_err(|error| format!("{error:#}"))?;
    for (name, ty) in functions {
        let function = Arc::new(LinkFunction {
            caller: caller.clone(),
            callee: callee.clone(),
            key: key(import, &name).into(),
            interface: import.to_owned(),
            shape: match binding {
                Binding::Remote => shape::function(&ty),
                _ => String::new(),
            },
            result: ty.results().next(),
            unavailable_form: unavailable_form(&ty),
            bytes: ty
                .params()
                .map(|(_, ty)| ty)
                .chain(ty.results())
                .any(has_bytes),
            remote: binding == Binding::Remote,
            name: name.clone(),
        });
        let defined = if binding == Binding::Policy {
            if ty.async_() {
                return Err(format!(
                    "`{name}` of `{import}` is async, and policies are synchronous"
                ));
            }
            instance.func_new(&name, move |_, _, params, results| {
                let core =
                    core::current().ok_or_else(|| Error::msg("the host is shutting down"))?;
                function.write_results(core.decide(&function, params), results)
            })
        } else if ty.async_() {
            instance.func_new_concurrent(&name, move |_, _, params, results| {
                let called = call(&function, params);
                let function = function.clone();
                Box::pin(async move { function.write_results(called?.await, results) })
            })
        } else {
            instance.func_new_async(&name, move |_, _, params, results| {
                let called = call(&function, params);
                let function = function.clone();
                Box::new(async move { function.write_results(called?.await, results) })
            })
        };
        defined.map_err(|error| format!("{error:#}"))?;
    }
    Ok(())
}

/// Starts the call at once and returns a future for the result.
fn call(
    function: &Arc<LinkFunction>,
    params: &[Val],
) -> wasmtime::Result<impl Future<Output = CallResult> + Send + use<>> {
    let core = core::current().ok_or_else(|| Error::msg("the host is shutting down"))?;
    let (function, too_many) = (function.clone(), function.bytes && has_too_many(params));
    // The future is created and polled on the thread of this core only.
    let asked = (!too_many).then(|| {
        let params = params.to_vec();
        if function.remote {
            Either::Left(SendWrapper::new(core.remote(function, params)))
        } else {
            Either::Right(SendWrapper::new(core.link(function, params)))
        }
    });
    Ok(async move {
        match asked {
            Some(asked) => asked.await,
            None => Err(NotAnswered::TooManyBytes),
        }
    })
}
