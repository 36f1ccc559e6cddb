//! Exports spans to an OpenTelemetry collector, over OTLP with protobuf, if `OTEL_EXPORTER_OTLP_ENDPOINT` is set: one
//! span for every request, timer and message, and the spans that guests report for links and events. Nothing waits for
//! the collector; spans that it does not accept in time are dropped.

use bytes::Bytes;
use http::{Request, Response};
use opentelemetry::trace::{
    SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{BatchSpanProcessor, SpanData, SpanProcessor as _};
use serde::Deserialize;
use std::borrow::Cow;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How long the export of one batch may take.
const EXPORT: Duration = Duration::from_secs(5);
/// The environment variable with the address of the collector.
const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
/// The environment variable that asks a guest to report spans.
pub const GUEST_FLAG: &str = "LOCALMART_SPANS";

static PROCESSOR: OnceLock<BatchSpanProcessor> = OnceLock::new();

/// The kind of a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A request that is served.
    Server,
    /// A call over a link.
    Client,
    /// An event that is published.
    Producer,
    /// An event or message that is handled.
    Consumer,
    /// Anything else.
    Internal,
}

/// A finished span.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct FinishedSpan {
    /// The name, for example `POST /api/things` or `link things.get`.
    pub name: String,
    /// The kind.
    pub kind: Kind,
    /// The trace id: 32 hexadecimal digits.
    pub trace_id: String,
    /// The span id: 16 hexadecimal digits.
    pub span_id: String,
    /// The id of the parent span: 16 hexadecimal digits, or empty.
    pub parent_id: String,
    /// The start in Unix nanoseconds.
    pub start_ns: u64,
    /// The end in Unix nanoseconds.
    pub end_ns: u64,
    /// Whether it failed.
    #[serde(default)]
    pub failed: bool,
    /// Attributes without secrets and personal data.
    #[serde(default)]
    pub attributes: Vec<(String, String)>,
}

impl FinishedSpan {
    /// Returns the span moved back by a duration.
    pub fn earlier(mut self, by: Duration) -> Self {
        let by = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
        self.start_ns = self.start_ns.saturating_sub(by);
        self.end_ns = self.end_ns.saturating_sub(by);
        self
    }
}

/// Starts the export if the environment names a collector. Call it once.
pub fn start(application: &str) -> anyhow::Result<()> {
    let Some(endpoint) = std::env::var(ENDPOINT)
        .ok()
        .filter(|endpoint| !endpoint.is_empty())
    else {
        return Ok(());
    };
    let agent = ureq::Agent::config_builder()
        .timeout_global(Some(EXPORT))
        .http_status_as_error(false)
        .build();
    let exporter = SpanExporter::builder()
        .with_http()
        .with_protocol(Protocol::HttpBinary)
        .with_http_client(Client(agent.into()))
        .with_timeout(EXPORT)
        .build()
        .map_err(|error| anyhow::anyhow!("{ENDPOINT}={endpoint}: {error}"))?;
    let processor = BatchSpanProcessor::builder(exporter).build();
    let mut processor = processor;
    let name = std::env::var("OTEL_SERVICE_NAME").unwrap_or_else(|_| application.to_owned());
    processor.set_resource(&Resource::builder().with_service_name(name).build());
    if PROCESSOR.set(processor).is_err() {
        tracing::warn!("spans are already being exported");
    }
    Ok(())
}

/// Whether spans are exported.
pub fn is_on() -> bool {
    PROCESSOR.get().is_some()
}

/// Exports all pending spans before the process ends.
pub fn flush() {
    if let Some(processor) = PROCESSOR.get()
        && let Err(error) = processor.force_flush()
    {
        tracing::warn!(%error, "the last spans could not be exported");
    }
}

/// Exports a finished span.
pub fn ended(span: FinishedSpan) {
    let Some(processor) = PROCESSOR.get() else {
        return;
    };
    let ids = (
        TraceId::from_hex(&span.trace_id),
        SpanId::from_hex(&span.span_id),
    );
    let (Ok(trace), Ok(id)) = ids else { return };
    let parent = SpanId::from_hex(&span.parent_id).unwrap_or(SpanId::INVALID);
    let pair = |(name, value): (String, String)| KeyValue::new(name, value);
    processor.on_end(SpanData {
        span_context: SpanContext::new(trace, id, TraceFlags::SAMPLED, false, TraceState::NONE),
        parent_span_id: parent,
        parent_span_is_remote: span.kind == Kind::Server,
        span_kind: match span.kind {
            Kind::Server => SpanKind::Server,
            Kind::Client => SpanKind::Client,
            Kind::Producer => SpanKind::Producer,
            Kind::Consumer => SpanKind::Consumer,
            Kind::Internal => SpanKind::Internal,
        },
        name: Cow::Owned(span.name),
        start_time: UNIX_EPOCH + Duration::from_nanos(span.start_ns),
        end_time: UNIX_EPOCH + Duration::from_nanos(span.end_ns),
        attributes: span.attributes.into_iter().map(pair).collect(),
        dropped_attributes_count: 0,
        events: Default::default(),
        links: Default::default(),
        status: if span.failed {
            Status::error("")
        } else {
            Status::Unset
        },
        instrumentation_scope: InstrumentationScope::builder("localmart").build(),
    });
}

/// A time in Unix nanoseconds.
pub fn nanoseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// A blocking HTTP client; the exporter has a thread of its own.
#[derive(Debug)]
struct Client(ureq::Agent);

#[async_trait::async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (parts, body) = request.into_parts();
        let request = Request::from_parts(parts, body.to_vec());
        let mut response = self.0.run(request)?;
        let bytes = response.body_mut().read_to_vec()?;
        let mut answer = Response::new(Bytes::from(bytes));
        *answer.status_mut() = response.status();
        Ok(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guests_span_is_set_back_to_the_machines_time() {
        let span = serde_json::json!({
            "name": "link a.b", "kind": "client", "trace_id": "", "span_id": "", "parent_id": "",
            "start_ns": 7_000_000_000_u64, "end_ns": 8_000_000_000_u64,
        });
        let span: FinishedSpan = serde_json::from_value(span).unwrap();
        let earlier = span.clone().earlier(Duration::from_secs(5));
        assert_eq!(
            (earlier.start_ns, earlier.end_ns),
            (2_000_000_000, 3_000_000_000)
        );
        assert_eq!(span.clone().earlier(Duration::ZERO), span);
    }
}
