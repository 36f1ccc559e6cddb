//! HTTP connections: reads requests and passes each to the component whose route matches.

use super::answer::{HostProblem, full};
use super::core::Core;
use super::deployment::RoutingKey;
use super::pool::{CallError, Pool};
use super::routes::Matched;
use crate::allowed_hosts::CHAINING_SUFFIX;
use crate::app::Target;
use crate::guest_error::GuestError;
use crate::limits;
use crate::telemetry::Kind;
use crate::trace::Trace;
use bytes::{Buf as _, Bytes};
use http::{HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Instant, SystemTime};
use tokio::net::TcpStream;
use wasmtime_wasi_http::{Error, WasiBody};

/// Runs hyper's tasks on the core that accepted the connection.
#[derive(Clone, Copy)]
struct LocalExecutor;

impl<F: Future + 'static> hyper::rt::Executor<F> for LocalExecutor {
    fn execute(&self, task: F) {
        tokio::task::spawn_local(async move {
            task.await;
        });
    }
}

/// Serves a connection until it ends or the host drains.
pub async fn serve(core: &Rc<Core>, stream: TcpStream) {
    let Ok(peer) = stream.peer_addr() else { return };
    // Without it, responses can wait up to 40 ms for the client's acknowledgement.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY could not be set");
    }
    let service = hyper::service::service_fn(|request| {
        let core = core.clone();
        async move { Ok::<_, Infallible>(answer(&core, from_outside(request), peer).await) }
    });
    let mut builder = hyper_util::server::conn::auto::Builder::new(LocalExecutor);
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits::HEADER_READ_TIMEOUT);
    builder.http2().timer(TokioTimer::new());
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let mut stopped = core.stopped.clone();
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        _ = stopped.wait_for(|stopped| *stopped) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}

/// The paths that Spin reserves: the health check, and the name of the application.
fn well_known(path: &str, name: &str) -> Option<Response<WasiBody>> {
    let body = match path.strip_prefix("/.well-known/spin/")? {
        "health" => "OK".to_owned(),
        "info" => serde_json::json!({ "name": name }).to_string(),
        _ => return None,
    };
    Some(Response::new(full(body)))
}

/// Prepares a request from the network. A `Host` header that names a component is removed: component names are hosts
/// only inside the application.
fn from_outside(mut request: Request<Incoming>) -> Request<WasiBody> {
    let named = |host: &HeaderValue| {
        let name = host.to_str().unwrap_or_default();
        name.split(':')
            .next()
            .unwrap_or_default()
            .ends_with(CHAINING_SUFFIX)
    };
    if request.headers().get(http::header::HOST).is_some_and(named) {
        request.headers_mut().remove(http::header::HOST);
    }
    request.map(|body| {
        if body.is_end_stream() {
            super::answer::empty()
        } else {
            RequestBody { body: Some(body) }.boxed_unsync()
        }
    })
}

/// Finds the component for a request and returns its response.
pub(super) async fn answer(
    core: &Rc<Core>,
    request: Request<WasiBody>,
    peer: SocketAddr,
) -> Response<WasiBody> {
    let (start, begun) = (Instant::now(), SystemTime::now());
    let method = request.method().clone();
    let _under_way = core.request();
    let trace = Trace::of(request.headers().get("traceparent"));
    let loaded = &core.loaded;
    let path = request.uri().path();
    if let Some(response) = well_known(path, &loaded.name) {
        return response;
    }
    let routes = loaded.routes.iter().enumerate();
    let mut found = routes.filter_map(|(place, route)| {
        let matched = route.spec.pattern.matches(path)?;
        Some((place, route, matched))
    });
    let Some((place, route, matched)) = found.next() else {
        return match &loaded.overview {
            Some(overview) => overview.answer(&method, path, request.headers(), &trace),
            None => HostProblem::NotFound.response(loaded.ours, &trace),
        };
    };
    let component = match &route.spec.target {
        Target::Component(id) => id,
        Target::Fixed(response) => {
            if let Some(metrics) = &route.metrics {
                metrics.observe(response.status().as_u16(), start.elapsed());
            }
            return response.clone().map(full);
        }
    };
    let Some(local) = core.components.get(component) else {
        return HostProblem::NotFound.response(loaded.ours, &trace);
    };
    let _selection = core.select_by_header(trace.id(), request.headers());
    let key = RoutingKey {
        trace_id: trace.id(),
        headers: Some(request.headers()),
        header_selected: false,
    };
    let (pool, shadow) = (local.choose(&key), local.shadow(&key));
    let text = (!loaded.ours).then_some(route.spec.text.as_str());
    let headers = added_headers(&request, text, &matched, &trace, peer);
    let request = to_guest(request, headers);
    let generation = pool.generation.number();
    let copy = shadow.and_then(|shadow| Some((shadow, copy(&request)?)));
    let called = pool.call(request, trace.clone()).await;
    if let Some((shadow, copy)) = copy {
        let status = called.as_ref().map(Response::status).ok();
        mirror(shadow, copy, trace.clone(), status);
    }
    let response = match called {
        Ok(response) => response,
        Err(error) => {
            if let CallError::Guest(error) = &error {
                let GuestError { reason, stack } = GuestError::from(error);
                tracing::error!(component = %component, generation, trace_id = trace.id(), error = reason, stack, "the guest answered with an error");
            }
            HostProblem::from(&error).response(loaded.ours, &trace)
        }
    };
    let status = response.status().as_u16();
    let time = start.elapsed();
    if let Some(metrics) = pool.generation.component.routes.get(&place) {
        metrics.observe(status, time);
    }
    let name = || format!("{method} {}", route.spec.text);
    trace.ended(Kind::Server, name, begun, status >= 500, || {
        let attribute = |name: &str, value: String| (name.to_owned(), value);
        vec![
            attribute("http.request.method", method.to_string()),
            attribute("http.route", route.spec.text.clone()),
            attribute("http.response.status_code", status.to_string()),
            attribute("localmart.component", component.clone()),
            attribute("localmart.generation", generation.to_string()),
        ]
    });
    if status >= 500 {
        tracing::warn!(
            component = %component, generation, route = %route.spec.text, status, trace_id = trace.id(),
            ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX), "a request failed"
        );
    }
    response
}

/// A copy of a request with a safe method and no body; `None` for every other request.
fn copy(request: &Request<WasiBody>) -> Option<Request<WasiBody>> {
    if !request.method().is_safe() || !request.body().is_end_stream() {
        return None;
    }
    let mut copy = Request::new(super::answer::empty());
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    Some(copy)
}

/// Sends a copy of a request to a shadow generation and counts whether the status differs.
fn mirror(shadow: Rc<Pool>, copy: Request<WasiBody>, trace: Trace, expected: Option<StatusCode>) {
    tokio::task::spawn_local(async move {
        let answered = shadow.call(copy, trace).await;
        let status = answered.as_ref().map(Response::status).ok();
        if status != expected {
            shadow.generation.health.record_difference();
        }
        if let Ok(response) = answered {
            let mut body = response.into_body();
            while let Some(Ok(_)) = body.frame().await {}
        }
    });
}

/// The headers that the host adds for the guest: the trace, the client address and, if `route` is set, Spin's other
/// `spin-*` headers.
pub(super) fn added_headers(
    request: &Request<WasiBody>,
    route: Option<&str>,
    matched: &Matched<'_>,
    trace: &Trace,
    peer: SocketAddr,
) -> Vec<(HeaderName, HeaderValue)> {
    let mut headers = vec![(HeaderName::from_static("traceparent"), trace.header())];
    let mut add = |name: &str, value: &str| {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::from_str(value)) {
            headers.push((name, value));
        }
    };
    add("spin-client-addr", &peer.to_string());
    if let Some(text) = route {
        let authority = request
            .uri()
            .authority()
            .map(|authority| authority.as_str());
        let header = request.headers().get("host");
        let host = authority.or_else(|| header?.to_str().ok());
        let path = request.uri().path_and_query();
        let path = path.map_or("/", |path| path.as_str());
        let url = format!("http://{}{path}", host.unwrap_or("localhost"));
        add("spin-path-info", &matched.rest);
        add("spin-full-url", &url);
        add("spin-matched-route", text);
        add("spin-base-path", "/");
        add("spin-raw-component-route", text);
        add(
            "spin-component-route",
            text.trim_end_matches("/...").trim_end_matches("/*"),
        );
        for (name, value) in &matched.named {
            add(
                &format!("spin-path-match-{}", name.to_ascii_lowercase()),
                value,
            );
        }
    }
    headers
}

/// The request as the guest receives it: with an absolute URI and without headers that only the host may set.
pub(super) fn to_guest(
    request: Request<WasiBody>,
    added: Vec<(HeaderName, HeaderValue)>,
) -> Request<WasiBody> {
    let (mut parts, body) = request.into_parts();
    let forged: Vec<HeaderName> = parts
        .headers
        .keys()
        .filter(|name| name.as_str().starts_with("spin-"))
        .cloned()
        .collect();
    for name in forged {
        parts.headers.remove(name);
    }
    for (name, value) in added {
        parts.headers.insert(name, value);
    }
    if parts.uri.authority().is_none() {
        let authority = parts
            .headers
            .get("host")
            .and_then(|host| host.to_str().ok())
            .and_then(|host| host.parse().ok());
        let mut uri = std::mem::take(&mut parts.uri).into_parts();
        uri.scheme = Some(http::uri::Scheme::HTTP);
        uri.authority =
            Some(authority.unwrap_or_else(|| http::uri::Authority::from_static("localhost")));
        parts.uri = http::Uri::from_parts(uri).unwrap_or_default();
    }
    Request::from_parts(parts, body)
}

/// A request body. When it is dropped, the rest is read and discarded within limits, so that the client can read an
/// early response.
struct RequestBody {
    body: Option<Incoming>,
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let Some(body) = &mut self.body else {
            return Poll::Ready(None);
        };
        let frame = std::task::ready!(Pin::new(body).poll_frame(cx));
        if !matches!(frame, Some(Ok(_))) {
            self.body = None;
        }
        Poll::Ready(frame.map(|frame| frame.map_err(|_| Error::ConnectionTerminated)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map(Body::size_hint).unwrap_or_default()
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        let Some(body) = self.body.take().filter(|body| !body.is_end_stream()) else {
            return;
        };
        let discard = async move {
            let (mut body, mut bytes) = (body, 0);
            while bytes < limits::DISCARD_BYTES
                && let Some(Ok(frame)) = body.frame().await
            {
                bytes += frame.into_data().map_or(0, |data| data.remaining() as u64);
            }
        };
        tokio::task::spawn_local(async move {
            // A client that sends more, or more slowly, is disconnected.
            let _ = tokio::time::timeout(limits::DISCARD_TIMEOUT, discard).await;
        });
    }
}
