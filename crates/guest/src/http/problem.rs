//! Error answers: `application/problem+json` (RFC 9457) with a stable code.

use super::Response;
use crate::config::ConfigError;
use crate::events::bus::BusError;
use crate::log::{self, Level, trace_id};
use crate::short_lived::StoreError;
use crate::sql::SqlError;
use serde_json::{Map, Value, json};

/// The most entries of `errors` in one answer.
const MAX_ERRORS: usize = 20;

/// What is wrong with one field of a body or one parameter of a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldProblem {
    /// The path of the field, as `items[0].quantity`.
    pub field: String,
    /// A stable code in lower snake case.
    pub code: String,
    /// An explanation for people.
    pub detail: String,
}

/// An error answer. Everything in it is shown to the client; internal reasons go to the log instead.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    /// The HTTP status.
    pub status: u16,
    /// A stable code in lower snake case; `type` is `urn:localmart:problem:<code>`.
    pub code: &'static str,
    /// An explanation for people.
    pub detail: String,
    /// One entry per invalid field or line.
    pub errors: Vec<FieldProblem>,
    /// Additional members, for example the `order_id` of a completed cart.
    pub extra: Vec<(&'static str, Value)>,
    /// Additional headers, for example `Allow`.
    pub headers: Vec<(&'static str, String)>,
    /// The internal reason, for the log alone.
    pub cause: Option<String>,
    /// Whether the problem is a result of the operation. Such an answer is stored under the idempotency key.
    pub business: bool,
}

impl Problem {
    /// A problem of the request or of the infrastructure. It is not stored under an idempotency key.
    pub fn new(status: u16, code: &'static str, detail: impl Into<String>) -> Self {
        Self {
            status,
            code,
            detail: detail.into(),
            errors: Vec::new(),
            extra: Vec::new(),
            headers: Vec::new(),
            cause: None,
            business: false,
        }
    }

    /// A refusal by the operation (402, 404, 409, 422 with a business code). It is stored under an idempotency key.
    pub fn business(status: u16, code: &'static str, detail: impl Into<String>) -> Self {
        Self {
            business: true,
            ..Self::new(status, code, detail)
        }
    }

    /// 404: it does not exist, or the caller may not see it.
    pub fn not_found(what: &str) -> Self {
        Self::business(404, "not_found", format!("There is no such {what}."))
    }

    /// `412 version_conflict`: `If-Match` names another version. Not stored under an idempotency key, because the same
    /// request may succeed later.
    pub fn version_conflict() -> Self {
        Self::new(
            412,
            "version_conflict",
            "The version is not current: another request changed it in the meantime. Read it again.",
        )
    }

    /// 422 with one entry per invalid field.
    pub fn invalid(errors: Vec<FieldProblem>) -> Self {
        Self {
            errors,
            ..Self::new(422, "invalid", "Some fields are not valid; see errors.")
        }
    }

    /// 503: try again later. The reason goes to the log, not to the client.
    pub fn unavailable() -> Self {
        let problem = Self::new(
            503,
            "unavailable",
            "The shop cannot answer this right now; try again.",
        );
        problem.with_header("retry-after", "1".to_owned())
    }

    /// 500: a fault of the shop.
    pub fn internal() -> Self {
        Self::new(500, "internal", "Something went wrong on our side.")
    }

    /// Adds a member.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.extra.push((name, value.into()));
        self
    }

    /// Adds a header.
    #[must_use]
    pub fn with_header(mut self, name: &'static str, value: String) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Adds entries for fields or lines.
    #[must_use]
    pub fn with_errors(mut self, errors: Vec<FieldProblem>) -> Self {
        self.errors = errors;
        self
    }

    /// Adds the internal reason, which is logged together with the trace id that the client gets.
    #[must_use]
    pub fn caused_by(mut self, cause: &dyn std::fmt::Display) -> Self {
        self.cause = Some(cause.to_string());
        self
    }

    /// Converts to a response. Its `trace_id` comes from `trace_parent` and is also on the log line with the cause.
    pub fn into_response(self, trace_parent: &str) -> Response {
        if let Some(cause) = &self.cause {
            log::write(Level::Error, trace_parent, cause, &[("code", self.code)]);
        }
        let mut body = Map::new();
        body.insert(
            "type".into(),
            json!(format!("urn:localmart:problem:{}", self.code)),
        );
        body.insert("title".into(), json!(title(self.status)));
        body.insert("status".into(), json!(self.status));
        body.insert("detail".into(), json!(self.detail));
        body.insert("code".into(), json!(self.code));
        body.insert(
            "trace_id".into(),
            json!(trace_id(trace_parent).unwrap_or_default()),
        );
        if !self.errors.is_empty() {
            let entry =
                |e: &FieldProblem| json!({ "field": e.field, "code": e.code, "detail": e.detail });
            let shown = self.errors.iter().take(MAX_ERRORS);
            body.insert("errors".into(), shown.map(entry).collect());
            if self.errors.len() > MAX_ERRORS {
                let left_out = self.errors.len() - MAX_ERRORS;
                body.insert("errors_left_out".into(), json!(left_out));
            }
        }
        body.extend(
            self.extra
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value)),
        );
        let mut response = Response::bytes(
            self.status,
            "application/problem+json",
            Value::Object(body).to_string().into_bytes(),
        );
        for (name, value) in self.headers {
            response = response.with_header(name, value);
        }
        response.stored_with_key = self.business;
        response
    }
}

impl From<SqlError> for Problem {
    /// The client learns only whether to try again.
    fn from(error: SqlError) -> Self {
        let problem = match error {
            SqlError::Unavailable(_) => Self::unavailable(),
            SqlError::Failed(_) => Self::internal(),
        };
        problem.caused_by(&error)
    }
}

impl From<ConfigError> for Problem {
    fn from(error: ConfigError) -> Self {
        Self::internal().caused_by(&error)
    }
}

impl From<BusError> for Problem {
    fn from(error: BusError) -> Self {
        Self::unavailable().caused_by(&error)
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        Self::unavailable().caused_by(&error)
    }
}

/// The reason phrase of the statuses that the shop uses (RFC 9110).
fn title(status: u16) -> &'static str {
    match status {
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        409 => "Conflict",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        415 => "Unsupported Media Type",
        422 => "Unprocessable Content",
        429 => "Too Many Requests",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "Internal Server Error",
    }
}
