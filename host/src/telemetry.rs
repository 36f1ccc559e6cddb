//! Spans to an OpenTelemetry collector, over OTLP in protobuf, where `OTEL_EXPORTER_OTLP_ENDPOINT` names one: a span for every
//! request, timer and message, and those that guests report of their links and events. Nothing waits for the collector;
//! what it does not take in time is dropped.

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

/// How long the collector may take for one batch.
const EXPORT: Duration = Duration::from_secs(5);
/// The variable that names the collector.
const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
/// The environment variable by which a guest learns that its spans are wanted.
pub const GUEST_FLAG: &str = "LOCALMART_SPANS";

static PROCESSOR: OnceLock<BatchSpanProcessor> = OnceLock::new();

/// What a span is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A request that is answered.
    Server,
    /// A call over a link.
    Client,
    /// An event that is published.
    Producer,
    /// An event or a message that is handled.
    Consumer,
    /// Anything else.
    Internal,
}

/// A span that has ended.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Ended {
    /// As `POST /api/things`, or `link things.get`.
    pub name: String,
    /// What it is about.
    pub kind: Kind,
    /// 32 hexadecimal digits.
    pub trace_id: String,
    /// 16 hexadecimal digits.
    pub span_id: String,
    /// 16 hexadecimal digits, or empty.
    pub parent_id: String,
    /// Unix nanoseconds.
    pub start_ns: u64,
    /// Unix nanoseconds.
    pub end_ns: u64,
    /// Whether it failed.
    #[serde(default)]
    pub failed: bool,
    /// Names and values, without secrets and personal data.
    #[serde(default)]
    pub attributes: Vec<(String, String)>,
}

impl Ended {
    /// The same, so much earlier.
    pub fn earlier(mut self, by: Duration) -> Self {
        let by = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
        self.start_ns = self.start_ns.saturating_sub(by);
        self.end_ns = self.end_ns.saturating_sub(by);
        self
    }
}

/// Starts exporting, if the environment names a collector. Call it once.
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
        tracing::warn!("spans are exported already");
    }
    Ok(())
}

/// Whether anybody wants spans.
pub fn is_on() -> bool {
    PROCESSOR.get().is_some()
}

/// Hands everything over that waits, before the process ends.
pub fn flush() {
    if let Some(processor) = PROCESSOR.get()
        && let Err(error) = processor.force_flush()
    {
        tracing::warn!(%error, "the last spans did not reach their collector");
    }
}

/// Exports a span that has ended.
pub fn ended(span: Ended) {
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

/// Unix nanoseconds of a moment.
pub fn nanoseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// The exporter's thread may block, so the blocking client will do.
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
        let span: Ended = serde_json::from_value(span).unwrap();
        let earlier = span.clone().earlier(Duration::from_secs(5));
        assert_eq!(
            (earlier.start_ns, earlier.end_ns),
            (2_000_000_000, 3_000_000_000)
        );
        assert_eq!(span.clone().earlier(Duration::ZERO), span);
    }
}
