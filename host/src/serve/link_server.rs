//! Answers link calls from other hosts, on an address of its own.

use super::external_call::CallRequest;
use super::load::Loaded;
use super::transport;
use crate::limits;
use crate::link::{fit, function};
use crate::remote::sign::Key;
use crate::remote::{CALLER, ExportedFunction, ExportedInterfaces, SHAPE, SIGNATURE, shape};
use anyhow::Context as _;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use std::collections::BTreeMap;
use std::net::TcpListener;
use std::sync::Arc;
use tokio::sync::watch;
use wasm_wave::untyped::UntypedFuncCall;
use wasmtime::component::Val;
use wasmtime::component::types::{ComponentFunc, ComponentItem};

/// Starts the thread that answers calls.
pub fn start(
    loaded: Arc<Loaded>,
    key: Key,
    listener: TcpListener,
    stopped: watch::Receiver<bool>,
) -> anyhow::Result<std::thread::JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let thread = std::thread::Builder::new().name("links".to_owned());
    thread
        .spawn(move || {
            let tls = loaded.link_tls.as_ref().map(|tls| tls.server.clone());
            let answer = move |request: Request<Incoming>| {
                let (loaded, key) = (loaded.clone(), key.clone());
                async move { answer(&loaded, &key, request).await }
            };
            let serving = transport::serve_internal(
                (listener, tls),
                "the address for links",
                stopped,
                answer,
            );
            tokio::task::LocalSet::new().block_on(&runtime, serving);
        })
        .context("starting the thread for link calls")
}

type Answer = Result<String, (StatusCode, String)>;

async fn answer(loaded: &Loaded, key: &Key, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let (status, text) = match carry_out(loaded, key, request).await {
        Ok(text) => (StatusCode::OK, text),
        Err((status, reason)) => (status, reason),
    };
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response
}

async fn carry_out(loaded: &Loaded, key: &Key, request: Request<Incoming>) -> Answer {
    let (parts, body) = request.into_parts();
    let refused = |status: StatusCode, reason: &str| Err((status, reason.to_owned()));
    let body = Limited::new(body, limits::REMOTE_BYTES).collect();
    let Ok(body) = tokio::time::timeout(limits::BODY_TIMEOUT, body).await else {
        return refused(
            StatusCode::REQUEST_TIMEOUT,
            "the call did not arrive in time",
        );
    };
    let Ok(body) = body else {
        return refused(
            StatusCode::PAYLOAD_TOO_LARGE,
            "the call is larger than the limit for links",
        );
    };
    let (path, body) = (parts.uri.path(), body.to_bytes());
    let header = |name: &str| {
        let value = parts
            .headers
            .get(name)
            .and_then(|value| value.to_str().ok());
        value.unwrap_or_default()
    };
    if !key.verifies(header(SIGNATURE), path, &body) {
        return refused(
            StatusCode::UNAUTHORIZED,
            "the signature is wrong or expired: both hosts need the same link key and correct clocks",
        );
    }
    let Some(rest) = path.strip_prefix("/links/") else {
        return refused(
            StatusCode::NOT_FOUND,
            "unknown path; there is /links/<component>",
        );
    };
    let (component, function) = rest.split_once('/').unwrap_or((rest, ""));
    let Some(known) = functions(loaded, component) else {
        let reason = format!("`{component}` does not run here");
        return Err((StatusCode::NOT_FOUND, reason));
    };
    if parts.method == Method::GET {
        let offered = offered(loaded, component, &known);
        let text = serde_json::to_string(&offered);
        return text.map_err(|error| (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()));
    }
    let (interface, name) = function.rsplit_once('/').unwrap_or_default();
    let asked = function::key(interface, name);
    let found = known.iter().find(|function| function.key == asked);
    let Some(function) = found else {
        let reason = format!("`{component}` does not export `{name}` in `{interface}`");
        return Err((StatusCode::CONFLICT, reason));
    };
    if header(SHAPE) != shape::hash(&shape::function(&function.ty)) {
        let reason = format!(
            "`{name}` of `{component}` has other types now: {}",
            shape::function(&function.ty)
        );
        return Err((StatusCode::CONFLICT, reason));
    }
    let wrong = |error: String| (StatusCode::BAD_REQUEST, error);
    let text = std::str::from_utf8(&body).map_err(|error| wrong(error.to_string()))?;
    let params = params(text, &function.ty).map_err(wrong)?;
    let answered = loaded.submit(CallRequest {
        component: component.to_owned(),
        key: asked.as_str().into(),
        params,
        caller: Some(header(CALLER).into()),
    });
    let unavailable = |reason: String| (StatusCode::SERVICE_UNAVAILABLE, reason);
    let answered = answered.map_err(|error| unavailable(format!("{error:#}")))?;
    let values = answered
        .await
        .map_err(|_| unavailable("the host is shutting down".to_owned()))?;
    let values = values.map_err(|reason| unavailable(reason.to_string()))?;
    let shown = values.first().map(wasm_wave::to_string).transpose();
    let shown = shown.map_err(|error| (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    Ok(shown.unwrap_or_default())
}

/// A function that a component exports.
struct Exported {
    interface: String,
    name: String,
    key: String,
    ty: ComponentFunc,
}

fn functions(loaded: &Loaded, component: &str) -> Option<Vec<Exported>> {
    let generation = loaded.deployments.get(component)?.stable();
    let engine = &generation.component.engine;
    let ty = generation.component.component.component_type();
    let mut functions = Vec::new();
    for (interface, item) in ty.exports(engine) {
        let ComponentItem::ComponentInstance(exported) = item.ty else {
            continue;
        };
        if fit::is_host_interface(interface) {
            continue;
        }
        for (name, item) in exported.exports(engine) {
            if let ComponentItem::ComponentFunc(ty) = item.ty {
                functions.push(Exported {
                    interface: interface.to_owned(),
                    name: name.to_owned(),
                    key: function::key(interface, name),
                    ty,
                });
            }
        }
    }
    Some(functions)
}

fn offered(loaded: &Loaded, component: &str, known: &[Exported]) -> ExportedInterfaces {
    let generation = loaded
        .deployments
        .get(component)
        .map(|deployment| deployment.stable());
    let mut offered: ExportedInterfaces = BTreeMap::new();
    for function in known {
        let promise = generation
            .as_ref()
            .and_then(|generation| generation.component.promise(&function.key));
        let of = offered.entry(function.interface.clone()).or_default();
        of.insert(
            function.name.clone(),
            ExportedFunction {
                shape: shape::function(&function.ty),
                promise,
            },
        );
    }
    offered
}

/// Reads the arguments of a call, written as `name(first, second)`.
fn params(text: &str, ty: &ComponentFunc) -> Result<Vec<Val>, String> {
    let call = UntypedFuncCall::parse(text).map_err(|error| error.to_string())?;
    let types: Vec<_> = ty.params().map(|(_, ty)| ty).collect();
    call.to_wasm_params(&types)
        .map_err(|error| error.to_string())
}
