//! Requests from one component to another of the same application, and to the application itself: they stay on their core, and
//! on no network.

use super::connection;
use super::core::{self, Core};
use super::deployment::RoutingKey;
use super::routes::Matched;
use crate::trace::Trace;
use futures::channel::oneshot;
use http::{Request, Response};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use wasmtime_wasi_http::{Error, WasiBody};

/// The client that such a request comes from, as Spin shows it.
const INTERNAL_CLIENT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// Whom a request is for.
pub enum ChainTarget {
    /// A component, by id, whether it has a route or not.
    Component(String),
    /// Whoever answers its path.
    Routes,
}

/// Hands a request on; what comes of it.
pub fn send(
    to: ChainTarget,
    request: Request<WasiBody>,
) -> oneshot::Receiver<Result<Response<WasiBody>, Error>> {
    let (answer, answered) = oneshot::channel();
    let core = core::current();
    tokio::task::spawn_local(async move {
        let result = match (core, to) {
            // The host is ending.
            (None, _) => Err(Error::DestinationUnavailable),
            (Some(core), ChainTarget::Routes) => {
                Ok(connection::answer(&core, request, INTERNAL_CLIENT).await)
            }
            (Some(core), ChainTarget::Component(id)) => call_component(&core, &id, request).await,
        };
        // A guest that went away needs no answer.
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
        tracing::warn!(
            "a request to {id}.spin.internal: there is no component of this name that answers HTTP"
        );
        return Err(Error::DestinationNotFound);
    };
    let trace = Trace::of(request.headers().get("traceparent"));
    let everything = Matched {
        named: Vec::new(),
        rest: request.uri().path().to_owned(),
    };
    let headers =
        connection::added_headers(&request, Some("/..."), &everything, &trace, INTERNAL_CLIENT);
    let request = connection::to_guest(request, headers);
    let pool = component.choose(&RoutingKey {
        trace_id: trace.id(),
        headers: Some(request.headers()),
        header_selected: core.is_selected_by_header(trace.id(), &component.deployment.id),
    });
    pool.call(request, trace).await.map_err(|error| {
        tracing::error!(
            component = id,
            ?error,
            "a request of another component failed"
        );
        Error::InternalError(Some(format!("`{id}` did not answer")))
    })
}
