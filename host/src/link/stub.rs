//! Calls between instances. The host defines the imported functions of a caller as stubs, which pass the arguments to
//! an instance of the callee on the same core and wait up to the deadline. If there is no answer, the stub returns the
//! interface's own `unavailable`, and the caller keeps running.

use super::binding::Binding;
use crate::limits;
use crate::serve::core;
use crate::state::HostState;
use futures::future::Either;
use send_wrapper::SendWrapper;
use std::sync::Arc;
use wasmtime::component::types::{ComponentFunc, ComponentInstance, ComponentItem, Type};
use wasmtime::component::{Component, Linker, Val};
use wasmtime::{Engine, Error};

/// A stub for a function of another component.
#[derive(Debug)]
pub struct LinkFunction {
    /// The calling component.
    pub caller: Arc<str>,
    /// The called component.
    pub callee: Arc<str>,
    /// The function, on its compatibility track: `package:name/interface@1#function`.
    pub key: Arc<str>,
    /// The interface as imported.
    pub interface: String,
    /// The name of the function.
    pub name: String,
    /// Its types as text; empty if the callee is on this host.
    pub shape: String,
    /// The type of its result.
    pub result: Option<Type>,
    /// How the interface reports that there is no answer.
    unavailable_form: UnavailableForm,
    /// Whether a list of bytes may be among the values.
    bytes: bool,
    /// Whether the callee is on another host.
    remote: bool,
}

/// How an interface reports that there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum UnavailableForm {
    /// `result<_, variant { unavailable(string), … }>`.
    Unavailable,
    /// `result<_, string>`.
    Text,
    /// The interface cannot report it, so the caller traps.
    Trap,
}

/// The key of a function, the same for all compatible versions of its interface.
pub fn key(interface: &str, function: &str) -> String {
    format!("{}#{function}", super::fit::track(interface))
}

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
                Binding::Remote => crate::remote::shape::function(&ty),
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
                let called = function.call(params);
                let function = function.clone();
                Box::pin(async move { function.write_results(called?.await, results) })
            })
        } else {
            instance.func_new_async(&name, move |_, _, params, results| {
                let called = function.call(params);
                let function = function.clone();
                Box::new(async move { function.write_results(called?.await, results) })
            })
        };
        defined.map_err(|error| format!("{error:#}"))?;
    }
    Ok(())
}

/// The functions of an interface. The error names an item that cannot be passed between instances.
fn functions(
    engine: &Engine,
    interface: &ComponentInstance,
) -> Result<Vec<(String, ComponentFunc)>, (String, String)> {
    let mut functions = Vec::new();
    for (name, item) in interface.exports(engine) {
        match item.ty {
            ComponentItem::ComponentFunc(ty) => {
                let types = ty.params().map(|(_, ty)| ty).chain(ty.results());
                if let Some(kind) = types.filter_map(|ty| instance_bound(&ty)).next() {
                    return Err((name.to_owned(), format!("it passes a {kind}")));
                }
                functions.push((name.to_owned(), ty));
            }
            ComponentItem::Resource(_) => {
                return Err((name.to_owned(), "it is a resource".to_owned()));
            }
            _ => {}
        }
    }
    Ok(functions)
}

/// The part of a type that belongs to one instance and cannot be passed to another.
fn instance_bound(ty: &Type) -> Option<&'static str> {
    match ty {
        Type::Own(_) | Type::Borrow(_) => Some("resource"),
        Type::Future(_) => Some("future"),
        Type::Stream(_) => Some("stream"),
        Type::ErrorContext => Some("error-context"),
        other => inner(other).iter().find_map(instance_bound),
    }
}

fn has_bytes(ty: Type) -> bool {
    match &ty {
        Type::List(list) if list.ty() == Type::U8 => true,
        other => inner(other).into_iter().any(has_bytes),
    }
}

/// The types that a type contains.
fn inner(ty: &Type) -> Vec<Type> {
    match ty {
        Type::List(list) => vec![list.ty()],
        Type::Record(record) => record.fields().map(|field| field.ty).collect(),
        Type::Tuple(tuple) => tuple.types().collect(),
        Type::Variant(variant) => variant.cases().filter_map(|case| case.ty).collect(),
        Type::Option(option) => vec![option.ty()],
        Type::Result(result) => result.ok().into_iter().chain(result.err()).collect(),
        Type::Map(map) => vec![map.key(), map.value()],
        _ => Vec::new(),
    }
}

fn unavailable_form(ty: &ComponentFunc) -> UnavailableForm {
    let Some(Type::Result(result)) = ty.results().next() else {
        return UnavailableForm::Trap;
    };
    match result.err() {
        Some(Type::String) => UnavailableForm::Text,
        Some(Type::Variant(variant)) => {
            let is_unavailable = |case: wasmtime::component::types::Case<'_>| {
                case.name == "unavailable" && case.ty == Some(Type::String)
            };
            if variant.cases().any(is_unavailable) {
                UnavailableForm::Unavailable
            } else {
                UnavailableForm::Trap
            }
        }
        _ => UnavailableForm::Trap,
    }
}

/// The returned values, or the reason why there are none.
type CallResult = Result<Vec<Val>, String>;

impl LinkFunction {
    /// Starts the call at once and returns a future for the result.
    fn call(
        self: &Arc<Self>,
        params: &[Val],
    ) -> wasmtime::Result<impl Future<Output = CallResult> + Send + use<>> {
        let core = core::current().ok_or_else(|| Error::msg("the host is shutting down"))?;
        let (function, too_many) = (self.clone(), self.bytes && has_too_many(params));
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
                None => Err(TOO_MANY.to_owned()),
            }
        })
    }

    /// Stores the result of the call, or the interface's `unavailable`.
    fn write_results(&self, called: CallResult, results: &mut [Val]) -> wasmtime::Result<()> {
        let called = match called {
            Ok(values) if self.bytes && has_too_many(&values) => Err(TOO_MANY.to_owned()),
            called => called,
        };
        match called {
            Ok(values) => {
                for (slot, value) in results.iter_mut().zip(values) {
                    *slot = value;
                }
                Ok(())
            }
            Err(reason) => {
                let reason = format!("{}: {reason}", self.callee);
                let refused = self.error_value(reason)?;
                if let Some(slot) = results.first_mut() {
                    *slot = refused;
                }
                Ok(())
            }
        }
    }

    /// The value that reports `reason` through the interface; an error if the interface cannot report it.
    fn error_value(&self, reason: String) -> wasmtime::Result<Val> {
        let text = Box::new(Val::String(reason));
        let error = match self.unavailable_form {
            UnavailableForm::Unavailable => Val::Variant("unavailable".to_owned(), Some(text)),
            UnavailableForm::Text => *text,
            UnavailableForm::Trap => {
                let text = if let Val::String(text) = *text {
                    text
                } else {
                    String::new()
                };
                return Err(Error::msg(format!("{}: {text}", self.key)));
            }
        };
        Ok(Val::Result(Err(Some(Box::new(error)))))
    }

    /// Whether the callee itself answered `unavailable`.
    pub fn is_unavailable_answer(&self, values: &[Val]) -> bool {
        let Some(Val::Result(Err(Some(error)))) = values.first() else {
            return false;
        };
        self.unavailable_form == UnavailableForm::Unavailable
            && matches!(&**error, Val::Variant(case, _) if case == "unavailable")
    }
}

const TOO_MANY: &str = "a list has more bytes than may cross a link (256 KiB)";

fn has_too_many(values: &[Val]) -> bool {
    let too_many = |value: &Val| match value {
        Val::List(list) => {
            (matches!(list.first(), Some(Val::U8(_))) && list.len() > limits::LINK_LIST_BYTES)
                || (!matches!(list.first(), Some(Val::U8(_))) && has_too_many(list))
        }
        Val::Record(fields) => fields
            .iter()
            .any(|(_, value)| has_too_many(std::slice::from_ref(value))),
        Val::Tuple(values) => has_too_many(values),
        Val::Variant(_, Some(value))
        | Val::Option(Some(value))
        | Val::Result(Ok(Some(value)) | Err(Some(value))) => {
            has_too_many(std::slice::from_ref(value))
        }
        _ => false,
    };
    values.iter().any(too_many)
}

/// The context of a call: the first parameter, if it is a record with `trace-parent` and `deadline`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CallContext<'v> {
    /// The W3C `traceparent`; may be empty.
    pub trace_parent: &'v str,
    /// The deadline in Unix milliseconds; 0 means none.
    pub deadline: u64,
}

/// Whether a parameter is the context of a call.
pub fn is_context(param: &Val) -> bool {
    match param {
        Val::Record(fields) => fields.iter().any(|(name, _)| name == "trace-parent"),
        _ => false,
    }
}

/// Reads the context of a call.
pub fn call_context(params: &[Val]) -> CallContext<'_> {
    let mut context = CallContext::default();
    if let Some(Val::Record(fields)) = params.first() {
        for (name, value) in fields {
            match value {
                Val::String(text) if name == "trace-parent" => context.trace_parent = text,
                Val::U64(deadline) if name == "deadline" => context.deadline = *deadline,
                _ => {}
            }
        }
    }
    context
}

/// Replaces the `trace-parent` in the context of a call, if there is one.
pub fn set_trace_parent(params: &mut [Val], trace_parent: &str) {
    if let Some(Val::Record(fields)) = params.first_mut() {
        for (name, value) in fields {
            if let Val::String(text) = value
                && name == "trace-parent"
            {
                trace_parent.clone_into(text);
            }
        }
    }
}
