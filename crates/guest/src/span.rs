//! Spans of links and events. A span is written to the log as one line, which the host exports to the trace collector and
//! does not show. Without a collector no span is written.

use crate::log::trace_id;
use crate::wit::Context;
use serde_json::json;
use std::cell::Cell;
use std::time::{SystemTime, UNIX_EPOCH};

thread_local! {
    /// Whether the host collects spans; read once per instance.
    static ENABLED: Cell<Option<bool>> = const { Cell::new(None) };
}

fn enabled() -> bool {
    ENABLED.get().unwrap_or_else(|| {
        let enabled = std::env::var("LOCALMART_SPANS").is_ok();
        ENABLED.set(Some(enabled));
        enabled
    })
}

/// A span; it ends when it is dropped.
pub struct Span(Option<Running>);

struct Running {
    name: String,
    kind: &'static str,
    trace: String,
    parent: String,
    id: String,
    start_ns: u128,
}

impl Span {
    /// Begins a child span of a W3C `traceparent`. Does nothing if the host collects no spans.
    pub fn begin(trace_parent: &str, name: &str, kind: &'static str) -> Self {
        let trace = trace_id(trace_parent).filter(|_| enabled());
        let mut bytes = [0; 8];
        let (Some(trace), Ok(())) = (trace, getrandom::fill(&mut bytes)) else {
            return Self(None);
        };
        Self(Some(Running {
            name: name.to_owned(),
            kind,
            trace: trace.to_owned(),
            parent: trace_parent.get(36..52).unwrap_or_default().to_owned(),
            id: bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
            start_ns: now_ns(),
        }))
    }

    /// The `traceparent` for work inside this span.
    pub fn trace_parent(&self) -> Option<String> {
        let running = self.0.as_ref()?;
        Some(format!("00-{}-{}-01", running.trace, running.id))
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        if let Some(running) = self.0.take() {
            let span = json!({
                "name": running.name,
                "kind": running.kind,
                "trace_id": running.trace,
                "span_id": running.id,
                "parent_id": running.parent,
                "start_ns": u64::try_from(running.start_ns).unwrap_or(u64::MAX),
                "end_ns": u64::try_from(now_ns()).unwrap_or(u64::MAX),
            });
            eprintln!("{}", json!({ "span": span }));
        }
    }
}

impl Context {
    /// The context for a call over a link, named for example `inventory.reserve`, and the span of the call. The caller
    /// keeps the span until the call has ended.
    pub fn linked(&self, name: &str) -> (Self, Span) {
        let span = Span::begin(&self.trace_parent, &format!("link {name}"), "client");
        let mut context = self.clone();
        if let Some(inner) = span.trace_parent() {
            context.trace_parent = inner;
        }
        (context, span)
    }
}

fn now_ns() -> u128 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default().as_nanos()
}
