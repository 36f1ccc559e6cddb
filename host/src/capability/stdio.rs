//! The output of guests, written to the log of the host line by line. JSON lines are passed through with the component
//! added; other lines are wrapped in JSON.

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
    component: Arc<str>,
    generation: u64,
    clock: Clock,
    line: Arc<Mutex<Vec<u8>>>,
}

impl GuestLog {
    /// The log of one generation of a component.
    pub fn new(component: Arc<str>, generation: u64, clock: Clock) -> Self {
        Self {
            component,
            generation,
            clock,
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
        if let Some(fields) = text.strip_prefix('{').filter(|rest| rest.starts_with('"')) {
            let mut line = format!("{{\"generation\":{},", self.generation);
            // The names of a guest's own fields win.
            if !fields.contains("\"component\":") {
                line += &format!("\"component\":{},", serde_json::json!(&*self.component));
            }
            line += fields;
            line.push('\n');
            crate::log::write(line.as_bytes());
        } else if !text.is_empty() {
            tracing::info!(component = %self.component, generation = self.generation, "{text}");
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
