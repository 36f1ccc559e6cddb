//! The output of guests, written to the log of the host line by line. JSON objects keep their fields, other lines become
//! the message. The host adds the component, the generation and the stream, which no line of the host itself has, so that
//! no guest can imitate the host.

use super::inside::Inside;
use crate::clock::Clock;
use crate::telemetry;
use bytes::Bytes;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

/// The longest line that is kept together, in bytes.
const LINE_BYTES: usize = 64 * 1024;
/// How much a guest may write at once, in bytes.
const WRITE_BYTES: usize = 64 * 1024;

/// A guest's stdout or stderr.
#[derive(Clone)]
pub struct GuestLog {
    stream: Stream,
    component: Arc<str>,
    generation: u64,
    clock: Clock,
    inside: &'static dyn Inside,
    line: Arc<Mutex<Vec<u8>>>,
}

/// One of the two streams of a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// The standard output.
    Stdout,
    /// The standard error.
    Stderr,
}

impl Stream {
    fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

impl GuestLog {
    /// A stream of one generation of a component.
    pub fn new(
        stream: Stream,
        component: Arc<str>,
        generation: u64,
        clock: Clock,
        inside: &'static dyn Inside,
    ) -> Self {
        Self {
            stream,
            component,
            generation,
            clock,
            inside,
            line: Arc::default(),
        }
    }

    fn write(&self, bytes: &[u8]) {
        let Ok(mut line) = self.line.lock() else {
            return;
        };
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            line.extend_from_slice(part);
            if line.ends_with(b"\n") || line.len() > LINE_BYTES {
                self.emit(&line);
                line.clear();
            }
        }
    }

    /// Ends an unfinished line, so that the output of the next call begins on a line of its own.
    pub fn end_line(&self) {
        if let Ok(mut line) = self.line.lock()
            && !line.is_empty()
        {
            self.emit(&line);
            line.clear();
        }
    }

    fn emit(&self, line: &[u8]) {
        let text = String::from_utf8_lossy(line);
        let text = text.trim_end();
        if let Some(span) = text
            .strip_prefix("{\"span\":")
            .and_then(|rest| rest.strip_suffix('}'))
        {
            // A span reported by a guest. Invalid spans are dropped.
            if let Ok(span) = serde_json::from_str::<telemetry::FinishedSpan>(span) {
                // Spans are in the machine's time, whatever the guest's clock shows.
                telemetry::ended(span.earlier(self.clock.ahead()));
            }
            return;
        }
        if text.is_empty() {
            return;
        }
        let fields = text
            .starts_with('{')
            .then(|| serde_json::from_str(text).ok());
        if let Some(serde_json::Value::Object(mut fields)) = fields.flatten() {
            // A component that is fused into another one names itself.
            let named = fields.entry("component");
            named.or_insert_with(|| serde_json::json!(&*self.component));
            let text = |name: &str| fields.get(name).and_then(serde_json::Value::as_str);
            if let Some(callee) = text("rejected") {
                // A guest reports that it cannot use the answer of a linked component.
                let trace = text("trace_id").unwrap_or_default();
                self.inside.record_rejection(&self.component, callee, trace);
            }
            fields.insert("generation".to_owned(), self.generation.into());
            fields.insert("stream".to_owned(), self.stream.name().into());
            let line = serde_json::Value::Object(fields).to_string() + "\n";
            crate::log::write(line.as_bytes());
        } else {
            let (component, stream) = (&*self.component, self.stream.name());
            tracing::info!(component, generation = self.generation, stream, "{text}");
        }
    }
}

impl Drop for GuestLog {
    fn drop(&mut self) {
        // The last of the clones, when the instance ends.
        if Arc::strong_count(&self.line) == 1 {
            self.end_line();
        }
    }
}

impl IsTerminal for GuestLog {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for GuestLog {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

impl AsyncWrite for GuestLog {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        self.write(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl OutputStream for GuestLog {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        Self::write(self, &bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(WRITE_BYTES)
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for GuestLog {
    async fn ready(&mut self) {}
}
