//! The HTTP client for outgoing requests. Connections stay open for the next request; each core has its own. A request is
//! repeated only if nothing of it was sent, which happens if the server closes an idle connection in that moment.

use crate::limits;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::{HttpConnector, capture_connection};
use hyper_util::client::legacy::{Client, Error as Failure};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use std::error::Error as _;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep, timeout};
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody};

thread_local! {
    static CLIENT: Client<HttpsConnector<HttpConnector>, WasiBody> = client();
}

fn client() -> Client<HttpsConnector<HttpConnector>, WasiBody> {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(limits::OUTGOING_CONNECT_TIMEOUT));
    let tls = HttpsConnectorBuilder::new()
        .with_webpki_roots()
        .https_or_http()
        .enable_http1()
        .wrap_connector(tcp);
    Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(limits::OUTGOING_IDLE_TIMEOUT)
        .pool_max_idle_per_host(limits::OUTGOING_IDLE_CONNECTIONS)
        .build(tls)
}

/// Sends a request. All timeouts of the options are set.
pub(super) async fn send(
    mut request: http::Request<WasiBody>,
    options: RequestOptions,
) -> Result<http::Response<WasiBody>, Error> {
    let limit = |timeout: Option<Duration>| timeout.unwrap_or(limits::OUTGOING_BYTE_TIMEOUT);
    let mut connected = capture_connection(&mut request);
    let mut response = pin!(CLIENT.with(|client| client.request(request)));
    let connecting = connected.wait_for_connection_metadata();
    let early = tokio::select! {
        biased;
        response = &mut response => Some(response),
        connected = timeout(limit(options.connect_timeout), connecting) => match connected {
            Ok(_) => None,
            Err(_) => return Err(Error::ConnectionTimeout),
        },
    };
    let response = match early {
        Some(response) => response,
        None => timeout(limit(options.first_byte_timeout), response)
            .await
            .map_err(|_| Error::ConnectionReadTimeout)?,
    };
    let pause = limit(options.between_bytes_timeout);
    let timed = |incoming| {
        let deadline = Box::pin(sleep(pause));
        Timed {
            incoming,
            pause,
            deadline,
        }
        .boxed_unsync()
    };
    Ok(response.map_err(|failure| lift(&failure))?.map(timed))
}

/// The reason as `wasi:http` names it.
fn lift(failure: &Failure) -> Error {
    let mut cause = failure.source();
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<std::io::Error>()
            && failure.is_connect()
        {
            let text = || std::io::Error::new(error.kind(), error.to_string());
            let is_tls = error.kind() == std::io::ErrorKind::InvalidData;
            return if is_tls {
                Error::Tls(text())
            } else {
                Error::Connect(text())
            };
        }
        if let Some(error) = error.downcast_ref::<hyper::Error>() {
            if error.is_timeout() {
                return Error::HttpResponseTimeout;
            }
            if error.is_incomplete_message() || error.is_closed() || error.is_canceled() {
                return Error::ConnectionTerminated;
            }
            if error.is_parse() {
                return Error::HttpProtocolError;
            }
        }
        cause = error.source();
    }
    Error::InternalError(Some(failure.to_string()))
}

/// The body of a response, which ends with an error if the server pauses for too long.
struct Timed {
    incoming: hyper::body::Incoming,
    pause: Duration,
    deadline: Pin<Box<Sleep>>,
}

impl Body for Timed {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        match Pin::new(&mut self.incoming).poll_frame(context) {
            Poll::Ready(frame) => {
                let next = Instant::now() + self.pause;
                self.deadline.as_mut().reset(next);
                Poll::Ready(frame.map(|frame| frame.map_err(Error::from)))
            }
            Poll::Pending => {
                ready!(self.deadline.as_mut().poll(context));
                Poll::Ready(Some(Err(Error::ConnectionReadTimeout)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
