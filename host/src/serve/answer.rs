//! Responses made by the host itself: problem+json for applications with a `[application.tool.localmart]` table, empty
//! bodies as in Spin for all others.

use crate::limits;
use crate::link::not_answered::NotAnswered;
use crate::trace::Trace;
use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Empty, Full};
use std::time::Duration;
use wasmtime_wasi_http::WasiBody;

/// An error response of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostProblem {
    /// No route matches.
    NotFound,
    /// The address does not have the method.
    MethodNotAllowed,
    /// The head of the request is not valid HTTP.
    InvalidHead,
    /// The request does not have exactly one `Host` header.
    InvalidHost,
    /// The body of the request was cut off.
    BadRequest,
    /// The body of the request did not arrive in time.
    BodyTimeout,
    /// The client wants another protocol, such as WebSocket.
    Upgrade,
    /// The client sends such requests too often.
    TooManyRequests,
    /// The component has no capacity left, or no instance could be started.
    Unavailable,
    /// The component did not respond in time.
    Timeout,
    /// The guest trapped or failed.
    Internal,
}

impl From<&NotAnswered> for HostProblem {
    fn from(reason: &NotAnswered) -> Self {
        match reason {
            NotAnswered::Full | NotAnswered::BreakerOpen | NotAnswered::Unavailable(_) => {
                Self::Unavailable
            }
            NotAnswered::TimedOut(_) | NotAnswered::DeadlinePassed => Self::Timeout,
            NotAnswered::Unknown
            | NotAnswered::TooManyBytes
            | NotAnswered::Trapped
            | NotAnswered::Failed(_)
            | NotAnswered::Lost { .. }
            | NotAnswered::Mismatch(_)
            | NotAnswered::Injected => Self::Internal,
        }
    }
}

impl HostProblem {
    fn parts(self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::NotFound => (
                StatusCode::NOT_FOUND,
                "not_found",
                "There is nothing at this address.",
            ),
            Self::MethodNotAllowed => (
                StatusCode::METHOD_NOT_ALLOWED,
                "method_not_allowed",
                "This address does not have this method.",
            ),
            Self::InvalidHead => (
                StatusCode::BAD_REQUEST,
                "bad_request",
                "The request is not valid HTTP.",
            ),
            Self::InvalidHost => (
                StatusCode::BAD_REQUEST,
                "bad_request",
                "A request must have exactly one Host header.",
            ),
            Self::BadRequest => (
                StatusCode::BAD_REQUEST,
                "bad_request",
                "The body of the request could not be read.",
            ),
            Self::BodyTimeout => (
                StatusCode::REQUEST_TIMEOUT,
                "request_timeout",
                "The body of the request did not arrive in time.",
            ),
            Self::Upgrade => (
                StatusCode::NOT_IMPLEMENTED,
                "not_implemented",
                "This host does not support WebSocket connections yet.",
            ),
            Self::TooManyRequests => (
                StatusCode::TOO_MANY_REQUESTS,
                "too_many_requests",
                "There were too many such requests. Try again later.",
            ),
            Self::Unavailable => (
                StatusCode::SERVICE_UNAVAILABLE,
                "unavailable",
                "The service is busy. Try again shortly.",
            ),
            Self::Timeout => (
                StatusCode::GATEWAY_TIMEOUT,
                "timeout",
                "The request timed out.",
            ),
            Self::Internal => (
                StatusCode::INTERNAL_SERVER_ERROR,
                "internal",
                "Something went wrong on our side.",
            ),
        }
    }

    /// The HTTP response. `ours` selects problem+json.
    pub fn response(self, ours: bool, trace: &Trace) -> Response<WasiBody> {
        let (status, _, detail) = self.parts();
        let mut response = match ours {
            true => self.problem(detail, trace),
            // A client that gets no connection should learn why, whatever the application.
            false if self == Self::Upgrade => Response::new(full(format!("{detail}\n"))),
            false => Response::new(empty()),
        };
        *response.status_mut() = status;
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, limits::RETRY_AFTER_SECONDS.into());
        }
        if status == StatusCode::REQUEST_TIMEOUT {
            // HTTP/2 has no such header: hyper removes it and resets the stream.
            response
                .headers_mut()
                .insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    /// The HTTP response to a client that may try again after some time.
    pub fn response_after(self, ours: bool, trace: &Trace, wait: Duration) -> Response<WasiBody> {
        let mut response = self.response(ours, trace);
        let seconds = wait.as_secs().saturating_add(1);
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, seconds.into());
        response
    }

    /// The usual `detail` of the problem.
    pub fn detail(self) -> &'static str {
        let (_, _, detail) = self.parts();
        detail
    }

    /// The body of the problem as problem+json, with this status and `detail`.
    pub fn body(self, status: StatusCode, detail: &str, trace: &Trace) -> String {
        let (_, code, _) = self.parts();
        let body = serde_json::json!({
            "type": format!("urn:localmart:problem:{code}"),
            "title": status.canonical_reason().unwrap_or_default(),
            "status": status.as_u16(),
            "detail": detail,
            "code": code,
            "trace_id": trace.id(),
        });
        body.to_string()
    }

    /// The problem as problem+json, with this `detail`.
    pub fn problem(self, detail: &str, trace: &Trace) -> Response<WasiBody> {
        let (status, ..) = self.parts();
        let mut response = Response::new(full(self.body(status, detail, trace)));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        if let Ok(id) = HeaderValue::from_str(trace.id()) {
            headers.insert("x-request-id", id);
        }
        response
    }
}

/// A body with these bytes.
pub fn full(bytes: impl Into<Bytes>) -> WasiBody {
    Full::new(bytes.into())
        .map_err(|never| match never {})
        .boxed_unsync()
}

/// An empty body.
pub fn empty() -> WasiBody {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}
