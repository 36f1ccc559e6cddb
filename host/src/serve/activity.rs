//! What a connection is doing, and for how long its client has been silent. [`transport`](super::transport) closes
//! silent connections, so that clients that send or read nothing cannot use up the connections.

use super::answer::HostProblem;
use crate::app::client_limits::ClientLimits;
use crate::trace::Trace;
use http::StatusCode;
use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A deadline is checked at least this many times while it passes.
const CHECKS_PER_TIMEOUT: u32 = 8;

/// What a connection is doing.
#[derive(Debug)]
pub struct Activity {
    /// Requests whose response is not complete.
    requests: Cell<usize>,
    /// Since when there is no request: the time of the connection, or the end of the last response.
    idle_since: Cell<Instant>,
    /// When the first byte after that arrived.
    head_since: Cell<Option<Instant>>,
    /// Of these, the requests whose body has not arrived yet.
    receiving: Cell<usize>,
    /// Whether there was a request.
    served: Cell<bool>,
    /// Whether the connection speaks HTTP/2, where a byte need not belong to a request.
    multiplexed: Cell<bool>,
    /// Since when the client reads nothing although there is something to send.
    blocked_since: Cell<Option<Instant>>,
}

impl Activity {
    /// A new connection.
    pub fn new() -> Rc<Self> {
        Rc::new(Self {
            requests: Cell::new(0),
            receiving: Cell::new(0),
            idle_since: Cell::new(Instant::now()),
            head_since: Cell::new(None),
            served: Cell::new(false),
            multiplexed: Cell::new(false),
            blocked_since: Cell::new(None),
        })
    }

    /// A request began. It lasts as long as the guard.
    pub fn request(self: &Rc<Self>, version: http::Version) -> UnderWay {
        self.requests.set(self.requests.get() + 1);
        self.head_since.set(None);
        self.served.set(true);
        self.multiplexed.set(version == http::Version::HTTP_2);
        UnderWay(self.clone())
    }

    /// The body of a request is being received, for as long as the guard lives.
    pub fn receiving(self: &Rc<Self>) -> Receiving {
        self.receiving.set(self.receiving.get() + 1);
        Receiving(self.clone())
    }

    /// Whether the next step is the client's: no response is owed, or all that are wait for request bodies.
    pub fn waits_for_client(&self) -> bool {
        self.requests.get() == self.receiving.get()
    }

    /// Whether there is something to send that the client does not read.
    pub fn is_blocked(&self) -> bool {
        self.blocked_since.get().is_some()
    }

    /// Whether the client was silent for too long. `longest` shortens all deadlines when the host has many connections.
    pub fn is_silent(&self, limits: &ClientLimits, longest: Duration, now: Instant) -> bool {
        let passed = |since: Instant, timeout: Duration| {
            now.saturating_duration_since(since) >= timeout.min(longest)
        };
        if let Some(since) = self.blocked_since.get() {
            return passed(since, limits.write_timeout);
        }
        if self.requests.get() > 0 {
            return false;
        }
        if !self.served.get() {
            return passed(self.idle_since.get(), limits.head_timeout);
        }
        let head = self.head_since.get().filter(|_| !self.multiplexed.get());
        head.is_some_and(|since| passed(since, limits.head_timeout))
            || passed(self.idle_since.get(), limits.idle_timeout)
    }

    fn read(&self) {
        if self.requests.get() == 0 && self.head_since.get().is_none() {
            self.head_since.set(Some(Instant::now()));
        }
    }

    fn wrote<T>(&self, result: &Poll<T>) {
        match result {
            Poll::Ready(_) => self.blocked_since.set(None),
            Poll::Pending if self.blocked_since.get().is_none() => {
                self.blocked_since.set(Some(Instant::now()));
            }
            Poll::Pending => (),
        }
    }
}

/// How often a connection must be checked, so that it is closed soon after its deadline.
pub fn check_interval(limits: &ClientLimits) -> Duration {
    let shortest = limits.head_timeout.min(limits.idle_timeout);
    shortest.min(limits.write_timeout) / CHECKS_PER_TIMEOUT
}

/// A request body that is being received.
#[derive(Debug)]
pub struct Receiving(Rc<Activity>);

impl Drop for Receiving {
    fn drop(&mut self) {
        let receiving = self.0.receiving.get().saturating_sub(1);
        self.0.receiving.set(receiving);
    }
}

/// A request on a connection, until its response is complete.
#[derive(Debug)]
pub struct UnderWay(Rc<Activity>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        let requests = self.0.requests.get().saturating_sub(1);
        self.0.requests.set(requests);
        if requests == 0 {
            self.0.idle_since.set(Instant::now());
        }
    }
}

/// A connection that records its activity. hyper answers a head that is not valid HTTP itself, with an empty body;
/// with `ours` the socket sends problem+json instead.
#[derive(Debug)]
pub struct Socket<S> {
    stream: S,
    activity: Rc<Activity>,
    ours: bool,
}

impl<S> Socket<S> {
    /// Wraps a connection.
    pub fn new(stream: S, activity: Rc<Activity>, ours: bool) -> Self {
        Self {
            stream,
            activity,
            ours,
        }
    }

    /// The bytes to send in place of hyper's own answer to an invalid head; `None` if these are something else.
    fn refusal(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        if !self.ours || self.activity.requests.get() > 0 {
            return None;
        }
        let text = std::str::from_utf8(bytes).ok()?;
        let status = text.strip_prefix("HTTP/1.1 4")?.get(..2)?;
        let status = StatusCode::from_bytes(format!("4{status}").as_bytes()).ok()?;
        let headers = text.strip_suffix("\r\n\r\n")?.split("\r\n").skip(1);
        let mut names = headers.map(|line| line.split(':').next().unwrap_or_default());
        let of_hyper = |name: &str| ["connection", "content-length", "date"].contains(&name);
        if !names.all(of_hyper) {
            return None;
        }
        let problem = HostProblem::InvalidHead;
        let body = problem.body(status, problem.detail(), &Trace::of(None));
        let reason = status.canonical_reason().unwrap_or_default();
        Some(
            format!(
                "HTTP/1.1 {} {reason}\r\nconnection: close\r\ncontent-type: application/problem+json\r\ncontent-length: {}\r\n\r\n{body}",
                status.as_u16(),
                body.len()
            )
            .into_bytes(),
        )
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Socket<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        if read.is_ready() {
            self.activity.read();
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Socket<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        let written = match self.refusal(buf) {
            // The send buffer of a connection that was never answered has room for a few hundred bytes.
            Some(instead) => Pin::new(&mut self.stream)
                .poll_write(cx, &instead)
                .map_ok(|_| buf.len()),
            None => Pin::new(&mut self.stream).poll_write(cx, buf),
        };
        self.activity.wrote(&written);
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        if let [only] = bufs {
            return self.poll_write(cx, only);
        }
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.activity.wrote(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Version;

    #[test]
    fn each_silence_has_its_deadline() {
        let limits = ClientLimits {
            head_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(60),
            write_timeout: Duration::from_secs(30),
            ..ClientLimits::default()
        };
        let activity = Activity::new();
        let after = |seconds| Instant::now() + Duration::from_secs(seconds);
        let silent = |seconds| activity.is_silent(&limits, Duration::MAX, after(seconds));
        assert!(!silent(9) && silent(11), "before the first request");

        let request = activity.request(Version::HTTP_11);
        assert!(!silent(3600), "while the host answers");
        activity.wrote::<()>(&Poll::Pending);
        assert!(!silent(29) && silent(31), "while the client reads nothing");
        activity.wrote(&Poll::Ready(()));
        drop(request);
        assert!(!silent(59) && silent(61), "between requests");

        activity.read();
        assert!(!silent(9) && silent(11), "in the head of a later request");

        drop(activity.request(Version::HTTP_2));
        activity.read();
        assert!(!silent(59) && silent(61), "between requests of HTTP/2");
        let hurried = |seconds| activity.is_silent(&limits, Duration::from_secs(2), after(seconds));
        assert!(!hurried(1) && hurried(3), "under pressure");
    }

    #[test]
    fn a_request_without_its_body_waits_for_the_client() {
        let activity = Activity::new();
        assert!(activity.waits_for_client());
        let _request = activity.request(Version::HTTP_11);
        let body = activity.receiving();
        assert!(activity.waits_for_client());
        drop(body);
        assert!(!activity.waits_for_client());
    }
}
