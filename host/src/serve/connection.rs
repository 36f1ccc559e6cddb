//! HTTP connections: reads requests and passes each to the component whose route matches.

use super::activity::Activity;
use super::answer::{HostProblem, full};
use super::clients::Share;
use super::core::Core;
use super::deployment::RoutingKey;
use super::pool::Pool;
use super::request_body;
use super::transport::{self, Sent};
use crate::allowed_hosts::CHAINING_SUFFIX;
use crate::app::Target;
use crate::app::routes::Matched;
use crate::guest_error::GuestError;
use crate::link::not_answered::NotAnswered;
use crate::telemetry::Kind;
use crate::trace::Trace;
use http::uri::Scheme;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Instant, SystemTime};
use tokio::net::TcpStream;
use wasmtime_wasi_http::WasiBody;

/// Tells browsers to use HTTPS only, for a year (RFC 6797).
const HSTS: HeaderValue = HeaderValue::from_static("max-age=31536000");

/// Serves a connection until it ends or the host drains.
pub async fn serve(core: &Rc<Core>, stream: TcpStream, peer: SocketAddr) {
    let answer = |request: Request<Incoming>, activity: Rc<Activity>| {
        let core = core.clone();
        async move {
            let under_way = activity.request(request.version());
            let (mut response, share) = receive(&core, request, peer, &activity).await;
            if core.loaded.tls.is_some() {
                let headers = response.headers_mut();
                headers
                    .entry(http::header::STRICT_TRANSPORT_SECURITY)
                    .or_insert(HSTS);
            }
            response.map(|body| Sent::new(body, under_way, share))
        }
    };
    let (loaded, stopped) = (&core.loaded, core.stopped.clone());
    let clients = (&*loaded.clients, loaded.ours);
    let Some(tls) = &loaded.tls else {
        return transport::serve(stream, clients, stopped, answer).await;
    };
    let limits = &loaded.clients.limits;
    let patience = limits.head_timeout.min(loaded.clients.longest_silence());
    if let Some(stream) = tls.accept(stream, patience).await {
        transport::serve(stream, clients, stopped, answer).await;
    }
}

/// Receives the body of a request and answers it. The share counts the request for the client of a trusted proxy.
async fn receive(
    core: &Rc<Core>,
    request: Request<Incoming>,
    peer: SocketAddr,
    activity: &Rc<Activity>,
) -> (Response<WasiBody>, Option<Share>) {
    let loaded = &core.loaded;
    let client = loaded.clients.client_address(peer, request.headers());
    let trace_header = request.headers().get("traceparent").cloned();
    let refuse = |problem: HostProblem| {
        let trace = Trace::of(trace_header.as_ref());
        problem.response(loaded.ours, &trace)
    };
    if !names_one_host(&request) {
        return (refuse(HostProblem::InvalidHost), None);
    }
    if wants_websocket(&request) {
        return (refuse(HostProblem::Upgrade), None);
    }
    let Ok(share) = loaded.clients.admit(&client) else {
        return (refuse(HostProblem::Unavailable), None);
    };
    let by_address = loaded.clients.counts(client.address.ip());
    let sent = (request.method(), request.uri().path());
    if let Err(wait) = loaded.request_limits.count(sent, &client, by_address) {
        let trace = Trace::of(trace_header.as_ref());
        let problem = HostProblem::TooManyRequests;
        return (problem.response_after(loaded.ours, &trace, wait), share);
    }
    let (parts, body) = request.into_parts();
    let received = {
        let _receiving = activity.receiving();
        request_body::receive(body, &loaded.clients).await
    };
    let response = match received {
        Ok(body) => match core.gates.turn(&parts.method, parts.uri.path()).await {
            Some(_turn) => {
                let request = from_outside(Request::from_parts(parts, body));
                answer(core, request, client.address).await
            }
            None => refuse(HostProblem::Unavailable),
        },
        Err(problem) => refuse(problem),
    };
    (response, share)
}

/// Whether a request names exactly one host, as HTTP/1.1 requires (RFC 9112, section 3.2).
fn names_one_host<B>(request: &Request<B>) -> bool {
    let hosts = request.headers().get_all(http::header::HOST).iter().count();
    match request.version() {
        http::Version::HTTP_11 => hosts == 1,
        http::Version::HTTP_2 => hosts <= 1 && (hosts == 1 || request.uri().authority().is_some()),
        _ => hosts <= 1,
    }
}

/// Whether a request asks for a WebSocket connection (RFC 6455, section 4.1). Other upgrades are ignored, as HTTP allows.
fn wants_websocket<B>(request: &Request<B>) -> bool {
    let upgrade = request.headers().get(http::header::UPGRADE);
    let upgrade = upgrade.and_then(|upgrade| upgrade.to_str().ok());
    upgrade.is_some_and(|upgrade| upgrade.trim().eq_ignore_ascii_case("websocket"))
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
fn from_outside(mut request: Request<WasiBody>) -> Request<WasiBody> {
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
    request
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
    let scheme = loaded.scheme();
    let headers = added_headers(&request, (scheme.clone(), text), &matched, &trace, peer);
    let request = to_guest(request, scheme, headers);
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
            if let NotAnswered::Failed(GuestError { reason, stack }) = &error {
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
    (scheme, route): (Scheme, Option<&str>),
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
        let url = format!("{scheme}://{}{path}", host.unwrap_or("localhost"));
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
    scheme: Scheme,
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
        uri.scheme = Some(scheme);
        uri.authority =
            Some(authority.unwrap_or_else(|| http::uri::Authority::from_static("localhost")));
        parts.uri = http::Uri::from_parts(uri).unwrap_or_default();
    }
    Request::from_parts(parts, body)
}
