//! Functions of other components: which can be called in another instance, how their interfaces say that there is no answer,
//! and the context that their calls carry.

use super::not_answered::{Answered, NotAnswered};
use crate::limits;
use std::sync::Arc;
use wasmtime::component::Val;
use wasmtime::component::types::{ComponentFunc, ComponentInstance, ComponentItem, Type};
use wasmtime::{Engine, Error};

/// A function of another component.
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
    pub(crate) unavailable_form: UnavailableForm,
    /// Whether a list of bytes may be among the values.
    pub(crate) bytes: bool,
    /// Whether the callee is on another host.
    pub(crate) remote: bool,
}

/// How an interface reports that there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UnavailableForm {
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

/// The functions of an interface. The error names an item that cannot be passed between instances.
pub(crate) fn functions(
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

pub(crate) fn has_bytes(ty: Type) -> bool {
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

pub(crate) fn unavailable_form(ty: &ComponentFunc) -> UnavailableForm {
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
pub type CallResult = Answered<Vec<Val>>;

impl LinkFunction {
    /// Stores the result of the call, or the interface's `unavailable`.
    pub(crate) fn write_results(
        &self,
        called: CallResult,
        results: &mut [Val],
    ) -> wasmtime::Result<()> {
        let called = match called {
            Ok(values) if self.bytes && has_too_many(&values) => Err(NotAnswered::TooManyBytes),
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

pub(crate) fn has_too_many(values: &[Val]) -> bool {
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
