//! Requests from one component to another of the same application, and to the application itself: they stay on their core, and
//! on no network.

use super::connection;
use super::core::Core;
use crate::trace::Trace;
use futures::channel::oneshot;
use http::{HeaderName, HeaderValue, Request, Response};
use std::cell::RefCell;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::{Rc, Weak};
use wasmtime_wasi_http::{Error, WasiBody};

/// The client that such a request comes from, as Spin shows it.
const NOBODY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

thread_local! {
    static HERE: RefCell<Weak<Core>> = const { RefCell::new(Weak::new()) };
}

/// Makes a core the one that requests of this thread stay on.
pub(super) fn stay_on(core: &Rc<Core>) {
    HERE.with(|here| here.replace(Rc::downgrade(core)));
}

/// Whom a request is for.
pub enum To {
    /// A component, by id, whether it has a route or not.
    Component(String),
    /// Whoever answers its path.
    Routes,
}

/// Hands a request on; what comes of it.
pub fn ask(
    to: To,
    request: Request<WasiBody>,
) -> oneshot::Receiver<Result<Response<WasiBody>, Error>> {
    let (answer, answered) = oneshot::channel();
    let core = HERE.with(|here| here.borrow().upgrade());
    tokio::task::spawn_local(async move {
        let result = match (core, to) {
            // The host is ending.
            (None, _) => Err(Error::DestinationUnavailable),
            (Some(core), To::Routes) => Ok(connection::answer(&core, request, NOBODY).await),
            (Some(core), To::Component(id)) => neighbour(&core, &id, request).await,
        };
        // A guest that went away needs no answer.
        let _ = answer.send(result);
    });
    answered
}

async fn neighbour(
    core: &Rc<Core>,
    id: &str,
    request: Request<WasiBody>,
) -> Result<Response<WasiBody>, Error> {
    let by_name = || {
        let mut components = core.loaded.components.values();
        components.find(|component| component.spec.named == id && component.spec.called_by_http)
    };
    let known = core.loaded.components.get(id).or_else(by_name);
    let pool = known.and_then(|component| core.pools.get(&component.spec.id));
    let Some(pool) = pool else {
        tracing::warn!(
            "a request to {id}.spin.internal: there is no component of this name that answers HTTP"
        );
        return Err(Error::DestinationNotFound);
    };
    let trace = Trace::of(request.headers().get("traceparent"));
    let mut headers = vec![(HeaderName::from_static("traceparent"), trace.header())];
    let spin = [
        ("spin-client-addr", NOBODY.to_string()),
        ("spin-path-info", request.uri().path().to_owned()),
        ("spin-full-url", request.uri().to_string()),
        ("spin-matched-route", "/...".to_owned()),
        ("spin-base-path", "/".to_owned()),
        ("spin-raw-component-route", "/...".to_owned()),
        ("spin-component-route", String::new()),
    ];
    for (name, value) in spin {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.push((HeaderName::from_static(name), value));
        }
    }
    let request = connection::to_guest(request, headers);
    pool.call(request, trace).await.map_err(|error| {
        tracing::error!(
            component = id,
            ?error,
            "a request of another component failed"
        );
        Error::InternalError(Some(format!("`{id}` did not answer")))
    })
}
