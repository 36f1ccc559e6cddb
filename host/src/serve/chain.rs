//! Service chaining: HTTP requests from a component to another component of the application, or to the application
//! itself. They stay on their core and never reach the network.

use super::connection;
use super::core::{self, Core};
use super::deployment::RoutingKey;
use crate::app::routes::Matched;
use crate::capability::inside::{ChainAnswer, ChainTarget, Inside};
use crate::trace::Trace;
use futures::channel::oneshot;
use http::uri::Scheme;
use http::{Request, Response};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use wasmtime_wasi_http::{Error, WasiBody};

/// The client address of such requests, as in Spin.
const INTERNAL_CLIENT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// The cores of this process, as capabilities see them.
#[derive(Debug)]
pub struct Cores;

impl Inside for Cores {
    fn send(&self, to: ChainTarget, request: Request<WasiBody>) -> ChainAnswer {
        send(to, request)
    }

    fn record_rejection(&self, caller: &str, callee: &str, trace_id: &str) {
        if let Some(core) = core::current() {
            core.record_rejection(caller, callee, trace_id);
        }
    }
}

/// Sends a request. The receiver resolves to the response.
fn send(to: ChainTarget, request: Request<WasiBody>) -> ChainAnswer {
    let (answer, answered) = oneshot::channel();
    let core = core::current();
    tokio::task::spawn_local(async move {
        let result = match (core, to) {
            // The host is shutting down.
            (None, _) => Err(Error::DestinationUnavailable),
            (Some(core), ChainTarget::Routes) => {
                Ok(connection::answer(&core, request, INTERNAL_CLIENT).await)
            }
            (Some(core), ChainTarget::Component(id)) => call_component(&core, &id, request).await,
        };
        // The receiver is gone if the guest dropped the request.
        let _ = answer.send(result);
    });
    answered
}

async fn call_component(
    core: &Rc<Core>,
    id: &str,
    request: Request<WasiBody>,
) -> Result<Response<WasiBody>, Error> {
    let by_name = || {
        let mut components = core.components.values();
        components.find(|component| {
            let spec = &component.deployment.stable().component.spec;
            spec.manifest_id == id && spec.called_by_http
        })
    };
    let Some(component) = core.components.get(id).or_else(by_name) else {
        tracing::warn!("request to {id}.spin.internal: no component with this id answers HTTP");
        return Err(Error::DestinationNotFound);
    };
    let trace = Trace::of(request.headers().get("traceparent"));
    let everything = Matched {
        named: Vec::new(),
        rest: request.uri().path().to_owned(),
    };
    let headers = connection::added_headers(
        &request,
        (Scheme::HTTP, Some("/...")),
        &everything,
        &trace,
        INTERNAL_CLIENT,
    );
    let request = connection::to_guest(request, Scheme::HTTP, headers);
    let pool = component.choose(&RoutingKey {
        trace_id: trace.id(),
        headers: Some(request.headers()),
        header_selected: core.is_selected_by_header(trace.id(), &component.deployment.id),
    });
    pool.call(request, trace.clone()).await.map_err(|error| {
        tracing::error!(
            component = id,
            trace_id = trace.id(),
            ?error,
            "a request from another component failed"
        );
        Error::InternalError(Some(format!("`{id}` did not answer")))
    })
}
