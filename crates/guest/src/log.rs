//! Logs: one JSON line on stderr per message, with the trace id. Log lines contain no secrets and no e-mail addresses.

use localmart_kernel::Timestamp;
use serde_json::{Map, Value, json};
use std::time::{SystemTime, UNIX_EPOCH};

/// The severity of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Normal operation.
    Info,
    /// The shop recovers by itself, but somebody should investigate.
    Warn,
    /// Somebody should investigate now.
    Error,
}

/// Writes a line. `fields` must not repeat `ts`, `level`, `message` or `trace_id`.
pub fn write(level: Level, trace_parent: &str, message: &str, fields: &[(&str, &str)]) {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let now = Timestamp::from_ms(i64::try_from(since.as_millis()).unwrap_or(i64::MAX));
    let level = match level {
        Level::Info => "INFO",
        Level::Warn => "WARN",
        Level::Error => "ERROR",
    };
    let mut line = Map::new();
    line.insert("ts".into(), json!(now.to_string()));
    line.insert("level".into(), json!(level));
    line.insert("message".into(), json!(message));
    if let Some(trace_id) = trace_id(trace_parent) {
        line.insert("trace_id".into(), json!(trace_id));
    }
    for (name, value) in fields {
        line.insert((*name).to_owned(), json!(value));
    }
    eprintln!("{}", Value::Object(line));
}

/// The trace id in a W3C `traceparent`: 32 hexadecimal digits.
pub fn trace_id(trace_parent: &str) -> Option<&str> {
    let mut parts = trace_parent.split('-');
    let (version, trace) = (parts.next()?, parts.next()?);
    let hex = |text: &str| text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    (version.len() == 2 && trace.len() == 32 && hex(trace)).then_some(trace)
}
