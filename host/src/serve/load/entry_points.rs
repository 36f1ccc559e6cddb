//! The exports that the host can call, and the errors for imports that cannot be linked. Every error names what is
//! missing and what helps.

use crate::app::ComponentSpec;
use crate::capability::state::{EntryPoints, FunctionIndex, HostState, HttpIndices, InboundIndex};
use crate::link::function;
use crate::manifest::{ManifestError, Source};
use std::collections::BTreeMap;
use std::sync::Arc;
use wasmtime::Engine;
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, InstancePre};

/// The export of a component with a Redis trigger.
const INBOUND_REDIS: &str = "spin:redis/inbound-redis@3.0.0";
/// The older name of this export.
const INBOUND_REDIS_BEFORE: &str = "fermyon:spin/inbound-redis";

/// Finds the exports that the host can call. The exports that the component's triggers need must exist.
pub(super) fn find(
    engine: &Engine,
    pre: &InstancePre<HostState>,
    spec: &ComponentSpec,
    source: &Source,
) -> Result<EntryPoints, ManifestError> {
    let component = pre.component();
    let p3 = wasmtime_wasi_http::p3::bindings::ServiceIndices::new(pre).map(HttpIndices::P3);
    let http = p3
        .or_else(|_| wasmtime_wasi_http::p2::bindings::ProxyIndices::new(pre).map(HttpIndices::P2))
        .ok();
    let inbound = |interface: &str| {
        let interface = component.get_export_index(None, interface)?;
        component.get_export_index(Some(&interface), "handle-message")
    };
    let inbound_redis = inbound(INBOUND_REDIS).map(InboundIndex::V3);
    let inbound_redis =
        inbound_redis.or_else(|| inbound(INBOUND_REDIS_BEFORE).map(InboundIndex::V1));
    let missing = |trigger: &str, export: &str| {
        source.error(
            spec.source_span.clone(),
            format!("`{}` has {trigger} but does not export {export}", spec.id),
            "this file",
            "export it, or remove the trigger",
        )
    };
    if http.is_none() && spec.called_by_http {
        let export = "wasi:http/handler@0.3 or wasi:http/incoming-handler@0.2";
        return Err(missing("an HTTP trigger or a timer", export));
    }
    if inbound_redis.is_none() && spec.called_by_redis {
        return Err(missing("a Redis trigger", INBOUND_REDIS));
    }
    Ok(EntryPoints {
        http,
        inbound_redis,
        functions: Arc::new(functions(engine, component)),
    })
}

/// The entry points of a policy: its interfaces, and nothing for triggers.
pub(super) fn of_policy(engine: &Engine, component: &Component) -> EntryPoints {
    EntryPoints {
        http: None,
        inbound_redis: None,
        functions: Arc::new(functions(engine, component)),
    }
}

/// The functions of all exported interfaces.
fn functions(engine: &Engine, component: &Component) -> BTreeMap<String, FunctionIndex> {
    let mut functions = BTreeMap::new();
    let ty = component.component_type();
    for (interface, item) in ty.exports(engine) {
        let ComponentItem::ComponentInstance(exported) = item.ty else {
            continue;
        };
        let place = component.get_export_index(None, interface);
        for (name, item) in exported.exports(engine) {
            if let ComponentItem::ComponentFunc(function) = item.ty
                && let Some(index) = component.get_export_index(place.as_ref(), name)
            {
                let results = function.results().len();
                let linked = FunctionIndex { index, results };
                functions.insert(function::key(interface, name), linked);
            }
        }
    }
    functions
}

/// The error for an import that neither the host nor a link provides: its name, and what would provide it.
pub(super) fn missing_import(
    engine: &Engine,
    component: &Component,
    spec: &ComponentSpec,
    source: &Source,
    error: &wasmtime::Error,
) -> ManifestError {
    let reason = format!("{error:#}");
    let imports = component.component_type();
    let missing = imports
        .imports(engine)
        .map(|(name, _)| name.to_owned())
        .find(|name| reason.contains(name.as_str()));
    let Some(import) = missing else {
        let message = format!("`{}` cannot be linked: {reason}", spec.id);
        return source.error(
            spec.source_span.clone(),
            message,
            "this file",
            "build it again: localmart build",
        );
    };
    let help = if import.starts_with("localmart:testing/") {
        "it was built with test points; build it again without --points, or start with --point"
            .to_owned()
    } else if import.starts_with("wasi:")
        || import.starts_with("spin:")
        || import.starts_with("fermyon:")
    {
        "this host provides wasi 0.2 and 0.3, spin:sqlite@3.1, spin:postgres@4.2, spin:redis@3, spin:key-value@3, spin:variables@3, spin:mqtt@3, fermyon:spin@2 and wasi:keyvalue; the list is in docs/reference/manifest.md".to_owned()
    } else {
        let noun = import
            .split([':', '/'])
            .nth(1)
            .unwrap_or_default()
            .to_owned();
        format!(
            "add the component that exports it to its links: [component.{}.tool.localmart] links = [\"{noun}\"], then localmart build",
            spec.id
        )
    };
    source.error(
        spec.source_span.clone(),
        format!(
            "`{}` imports `{import}`, which neither the host nor a link provides: {reason}",
            spec.id
        ),
        "this file",
        help,
    )
}
