//! Request bodies from the network. A small body is received before an instance is taken, so that a slow client holds
//! no instance; a large one is streamed to the guest, and must keep a least rate.

use super::answer::{self, HostProblem};
use super::clients::Clients;
use crate::limits;
use bytes::{Buf as _, Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};
use tokio::time::Sleep;
use wasmtime_wasi_http::{Error, WasiBody};

/// Receives a small body completely, or the beginning of a large one. The error is the response.
pub async fn receive(body: Incoming, clients: &Arc<Clients>) -> Result<WasiBody, HostProblem> {
    if body.is_end_stream() {
        return Ok(answer::empty());
    }
    let small = u64::try_from(limits::BUFFERED_BODY_BYTES).unwrap_or(u64::MAX);
    if body.size_hint().lower() > small {
        return Ok(Streamed::new(Bytes::new(), None, body, clients).boxed_unsync());
    }
    let receiving = Received::new(clients).all_of(body, clients);
    match tokio::time::timeout(clients.limits.body_timeout, receiving).await {
        Ok(received) => received,
        Err(_) => {
            clients.body_too_slow();
            Err(HostProblem::BodyTimeout)
        }
    }
}

/// Reserved memory.
struct Reserved {
    clients: Arc<Clients>,
    bytes: usize,
}

impl Reserved {
    fn grow(&mut self, bytes: usize) -> Result<(), HostProblem> {
        if !self.clients.reserve(bytes) {
            return Err(HostProblem::Unavailable);
        }
        self.bytes += bytes;
        Ok(())
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.clients.release(self.bytes);
    }
}

/// What was received of a body.
struct Received {
    data: Bytes,
    trailers: Option<HeaderMap>,
    reserved: Reserved,
}

impl Received {
    fn new(clients: &Arc<Clients>) -> Self {
        Self {
            data: Bytes::new(),
            trailers: None,
            reserved: Reserved {
                clients: clients.clone(),
                bytes: 0,
            },
        }
    }

    async fn all_of(
        mut self,
        mut body: Incoming,
        clients: &Arc<Clients>,
    ) -> Result<WasiBody, HostProblem> {
        // A single part, which is the usual case, is not copied.
        let mut parts = BytesMut::new();
        while !body.is_end_stream() {
            let frame = match body.frame().await {
                None => break,
                Some(Ok(frame)) => frame,
                Some(Err(error)) => {
                    tracing::debug!(%error, "a request body was not received");
                    return Err(HostProblem::BadRequest);
                }
            };
            match frame.into_data() {
                Ok(data) => {
                    self.reserved.grow(data.len())?;
                    if self.data.is_empty() && parts.is_empty() {
                        self.data = data;
                    } else {
                        if parts.is_empty() {
                            parts.extend_from_slice(&std::mem::take(&mut self.data));
                        }
                        parts.extend_from_slice(&data);
                    }
                }
                Err(frame) => self.trailers = frame.into_trailers().ok(),
            }
            if self.data.len() + parts.len() > limits::BUFFERED_BODY_BYTES {
                let start = self.joined(parts);
                let stream = Streamed::new(start, Some(self.reserved), body, clients);
                return Ok(stream.boxed_unsync());
            }
        }
        self.data = self.joined(parts);
        Ok(self.boxed_unsync())
    }

    fn joined(&mut self, parts: BytesMut) -> Bytes {
        match parts.is_empty() {
            true => std::mem::take(&mut self.data),
            false => parts.freeze(),
        }
    }
}

impl Body for Received {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let frame = match self.data.is_empty() {
            false => Some(Frame::data(std::mem::take(&mut self.data))),
            true => self.trailers.take().map(Frame::trailers),
        };
        Poll::Ready(frame.map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.data.is_empty() && self.trailers.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.data.len() as u64)
    }
}

/// A large body on its way to the guest. When it is dropped, the rest is read and discarded within limits, so that the
/// client can read an early response.
struct Streamed {
    /// What was received before the instance was taken, with its reserved memory.
    start: Bytes,
    reserved: Option<Reserved>,
    body: Option<Incoming>,
    pace: Pace,
    timer: Option<Pin<Box<Sleep>>>,
    clients: Arc<Clients>,
}

/// How fast a client sends. Only time in which the host waits for the client counts.
struct Pace {
    bytes: u64,
    waited: Duration,
    waiting_since: Option<Instant>,
}

impl Pace {
    /// How long the client may still take for the next part.
    fn patience(&self, timeout: Duration, rate: u64) -> Duration {
        if rate == 0 {
            return timeout;
        }
        let allowed = limits::BODY_GRACE + Duration::from_secs(self.bytes / rate);
        timeout.min(allowed.saturating_sub(self.waited))
    }

    fn received(&mut self, bytes: u64) {
        self.bytes = self.bytes.saturating_add(bytes);
        if let Some(since) = self.waiting_since.take() {
            self.waited += since.elapsed();
        }
    }
}

impl Streamed {
    fn new(
        start: Bytes,
        reserved: Option<Reserved>,
        body: Incoming,
        clients: &Arc<Clients>,
    ) -> Self {
        Self {
            pace: Pace {
                bytes: start.len() as u64,
                waited: Duration::ZERO,
                waiting_since: None,
            },
            start,
            reserved,
            body: Some(body),
            timer: None,
            clients: clients.clone(),
        }
    }

    /// Waits for the client, until it is too slow.
    fn poll_patience(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let limits = &self.clients.limits;
        if self.pace.waiting_since.is_none() {
            self.pace.waiting_since = Some(Instant::now());
            let patience = self
                .pace
                .patience(limits.body_timeout, limits.min_body_rate);
            let until = tokio::time::Instant::now() + patience;
            match &mut self.timer {
                Some(timer) => timer.as_mut().reset(until),
                none => *none = Some(Box::pin(tokio::time::sleep_until(until))),
            }
        }
        match &mut self.timer {
            Some(timer) => timer.as_mut().poll(cx),
            None => Poll::Pending,
        }
    }
}

impl Body for Streamed {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if !self.start.is_empty() {
            self.reserved = None;
            let start = std::mem::take(&mut self.start);
            return Poll::Ready(Some(Ok(Frame::data(start))));
        }
        let Some(body) = &mut self.body else {
            return Poll::Ready(None);
        };
        let Poll::Ready(frame) = Pin::new(body).poll_frame(cx) else {
            ready!(self.poll_patience(cx));
            self.clients.body_too_slow();
            self.body = None;
            return Poll::Ready(Some(Err(Error::ConnectionReadTimeout)));
        };
        match &frame {
            Some(Ok(frame)) => {
                let bytes = frame.data_ref().map_or(0, Bytes::len);
                self.pace.received(bytes as u64);
            }
            _ => self.body = None,
        }
        Poll::Ready(frame.map(|frame| frame.map_err(|_| Error::ConnectionTerminated)))
    }

    fn is_end_stream(&self) -> bool {
        self.start.is_empty() && self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let start = self.start.len() as u64;
        let rest = self.body.as_ref().map(Body::size_hint).unwrap_or_default();
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower().saturating_add(start));
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper.saturating_add(start));
        }
        hint
    }
}

impl Drop for Streamed {
    fn drop(&mut self) {
        let Some(body) = self.body.take().filter(|body| !body.is_end_stream()) else {
            return;
        };
        let discard = async move {
            let (mut body, mut bytes) = (body, 0);
            while bytes < limits::DISCARD_BYTES
                && let Some(Ok(frame)) = body.frame().await
            {
                bytes += frame.into_data().map_or(0, |data| data.remaining() as u64);
            }
        };
        tokio::task::spawn_local(async move {
            // A client that sends more, or more slowly, is disconnected.
            let _ = tokio::time::timeout(limits::DISCARD_TIMEOUT, discard).await;
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_sender_loses_patience_and_a_steady_one_does_not() {
        let timeout = Duration::from_secs(15);
        let mut pace = Pace {
            bytes: 0,
            waited: Duration::ZERO,
            waiting_since: None,
        };
        assert_eq!(pace.patience(timeout, 1024), limits::BODY_GRACE);
        pace.bytes = 100 * 1024;
        pace.waited = Duration::from_secs(50);
        assert_eq!(pace.patience(timeout, 1024), timeout);
        pace.waited = Duration::from_secs(200);
        assert_eq!(pace.patience(timeout, 1024), Duration::ZERO);
        assert_eq!(pace.patience(timeout, 0), timeout);
    }
}
