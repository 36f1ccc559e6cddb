//! W3C trace context: every request belongs to a trace, either the client's or a new one.

use crate::telemetry::{self, FinishedSpan, Kind};
use http::HeaderValue;
use std::time::SystemTime;

/// A trace, and the host's own span in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    text: String,
    parent: String,
}

impl Trace {
    /// Continues the trace of a `traceparent` header, or starts a new one.
    pub fn of(header: Option<&HeaderValue>) -> Self {
        let sent = header
            .and_then(|value| value.to_str().ok())
            .filter(|text| is_valid(text));
        let (trace, flags) = match sent {
            Some(text) => (
                text.get(3..35).unwrap_or_default().to_owned(),
                text.get(53..55).unwrap_or("01"),
            ),
            None => (format!("{:032x}", fastrand::u128(1..)), "01"),
        };
        let span = fastrand::u64(1..);
        Self {
            text: format!("00-{trace}-{span:016x}-{flags}"),
            parent: sent
                .and_then(|text| text.get(36..52))
                .unwrap_or_default()
                .to_owned(),
        }
    }

    /// The trace id: 32 hexadecimal digits.
    pub fn id(&self) -> &str {
        self.text.get(3..35).unwrap_or_default()
    }

    /// The id of the host's span: 16 hexadecimal digits.
    pub fn span_id(&self) -> &str {
        self.text.get(36..52).unwrap_or_default()
    }

    /// The `traceparent` for a callee.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The id of the parent span: 16 hexadecimal digits, or empty.
    pub fn parent_id(&self) -> &str {
        &self.parent
    }

    /// Exports the host's span if export is enabled.
    pub fn ended(
        &self,
        kind: Kind,
        name: impl FnOnce() -> String,
        begun: SystemTime,
        failed: bool,
        attributes: impl FnOnce() -> Vec<(String, String)>,
    ) {
        // The last flag says whether the caller samples this trace.
        if telemetry::is_on() && !self.text.ends_with("-00") {
            telemetry::ended(FinishedSpan {
                name: name(),
                kind,
                trace_id: self.id().to_owned(),
                span_id: self.span_id().to_owned(),
                parent_id: self.parent.clone(),
                start_ns: telemetry::nanoseconds(begun),
                end_ns: telemetry::nanoseconds(SystemTime::now()),
                failed,
                attributes: attributes(),
            });
        }
    }

    /// The `traceparent` header for a callee: the same trace, with the host's span as parent.
    pub fn header(&self) -> HeaderValue {
        HeaderValue::from_str(&self.text).unwrap_or_else(|_| HeaderValue::from_static(""))
    }
}

/// Checks version 00: lower-case hexadecimal and no zero ids. Later versions may be longer, but begin alike.
fn is_valid(text: &str) -> bool {
    let hex = |part: &str| part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let parts: Vec<&str> = text.split('-').collect();
    match parts.as_slice() {
        [version, trace, span, flags] => {
            *version == "00"
                && trace.len() == 32
                && span.len() == 16
                && flags.len() == 2
                && [trace, span, flags].iter().all(|part| hex(part))
                && trace.bytes().any(|b| b != b'0')
                && span.bytes().any(|b| b != b'0')
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_good_trace_is_continued_and_a_bad_one_replaced() {
        let sent =
            HeaderValue::from_static("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00");
        let trace = Trace::of(Some(&sent));
        assert_eq!(trace.id(), "0af7651916cd43dd8448eb211c80319c");
        assert!(trace.header() != sent && trace.text.ends_with("-00") && is_valid(&trace.text));
        for bad in [
            "",
            "00-0-0-00",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "ff-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ] {
            let trace = Trace::of(Some(&HeaderValue::from_str(bad).unwrap()));
            assert!(is_valid(&trace.text), "{bad}");
        }
    }
}
