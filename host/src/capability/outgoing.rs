//! Outgoing `wasi:http` requests: only to allowed hosts, with timeouts, and within the trace of the request that is
//! being served. Requests to other components, or to the application itself, stay inside the host.

mod client;

use super::inside::{ChainTarget, Inside};
use crate::allowed_hosts::{AllowedHost, CHAINING_SUFFIX, SELF};
use crate::fault::{Capability, Injected, InstanceFaults};
use crate::limits;
use http::HeaderValue;
use std::sync::Arc;
use std::time::Duration;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};

/// The permissions and state for outgoing requests of one instance.
pub struct Outgoing {
    /// The id of the component, for logs.
    pub component: Arc<str>,
    /// Where it may connect to.
    pub allowed: Arc<[AllowedHost]>,
    /// The faults that apply to this instance.
    pub faults: InstanceFaults,
    /// Where requests to other components go.
    pub inside: &'static dyn Inside,
    /// The trace of the request that is being served; `None` unless there is exactly one.
    pub trace: Option<HeaderValue>,
}

type Sent = (
    http::Response<WasiBody>,
    Box<dyn Future<Output = Result<(), Error>> + Send>,
);

impl WasiHttpHooks for Outgoing {
    fn send_request(
        &mut self,
        mut request: http::Request<WasiBody>,
        options: Option<RequestOptions>,
        outcome: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<dyn Future<Output = Result<Sent, Error>> + Send> {
        drop(outcome);
        let uri = request.uri();
        let scheme = uri.scheme_str().unwrap_or("https").to_owned();
        let host = uri.host().unwrap_or_default().to_owned();
        let port = uri
            .port_u16()
            .unwrap_or(if scheme == "http" { 80 } else { 443 });
        let inside = match host.as_str() {
            "" | "self" | SELF => Some(ChainTarget::Routes),
            _ => host
                .strip_suffix(CHAINING_SUFFIX)
                .map(|id| ChainTarget::Component(id.to_owned())),
        };
        let granted = |allowed: &AllowedHost| match inside {
            Some(ChainTarget::Routes) => allowed.allows_self(),
            Some(ChainTarget::Component(_)) => allowed.allows_inside(&host),
            None => allowed.allows(&scheme, &host, port),
        };
        if !self.allowed.iter().any(granted) {
            let component = self.component.clone();
            tracing::warn!(%component, "an outgoing request to {scheme}://{host}:{port} is not allowed; add it to allowed_outbound_hosts");
            return Box::new(async { Err(Error::HttpRequestDenied) });
        }
        if let Some(trace) = &self.trace {
            request
                .headers_mut()
                .entry("traceparent")
                .or_insert_with(|| trace.clone());
        }
        let (faults, inside_host) = (self.faults.clone(), self.inside);
        if let Some(to) = inside {
            return Box::new(async move {
                faults.inject(Capability::Http).await.map_err(on_purpose)?;
                let answered = inside_host.send(to, request);
                let response = answered.await.unwrap_or(Err(Error::ConnectionTerminated))?;
                let io: Box<dyn Future<Output = Result<(), Error>> + Send> =
                    Box::new(std::future::ready(Ok(())));
                Ok((response, io))
            });
        }
        let options = options.unwrap_or_default();
        let options = RequestOptions {
            connect_timeout: at_most(options.connect_timeout, limits::OUTGOING_CONNECT_TIMEOUT),
            first_byte_timeout: at_most(options.first_byte_timeout, limits::OUTGOING_BYTE_TIMEOUT),
            between_bytes_timeout: at_most(
                options.between_bytes_timeout,
                limits::OUTGOING_BYTE_TIMEOUT,
            ),
        };
        Box::new(async move {
            faults.inject(Capability::Http).await.map_err(on_purpose)?;
            let response = client::send(request, options).await?;
            // The connection is a task of its own.
            let io: Box<dyn Future<Output = Result<(), Error>> + Send> =
                Box::new(std::future::ready(Ok(())));
            Ok((response, io))
        })
    }
}

fn on_purpose(injected: Injected) -> Error {
    Error::InternalError(Some(injected.to_string()))
}

fn at_most(asked: Option<Duration>, limit: Duration) -> Option<Duration> {
    Some(asked.map_or(limit, |asked| asked.min(limit)))
}
