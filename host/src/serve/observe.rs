//! The observe address: `/healthz` (the process is alive), `/readyz` (the application takes requests) and `/metrics`
//! (Prometheus).

use super::load::Loaded;
use super::transport;
use anyhow::Context as _;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use tokio::sync::watch;

/// Whether an application takes requests: it is starting, then ready, then draining.
#[derive(Debug, Default)]
pub struct Readiness(AtomicU8);

impl Readiness {
    const STARTING: u8 = 0;
    const READY: u8 = 1;
    const DRAINING: u8 = 2;

    /// The application takes requests now. Has no effect on an application that is already draining.
    pub fn ready(&self) {
        let order = Ordering::Relaxed;
        let _ = self
            .0
            .compare_exchange(Self::STARTING, Self::READY, order, order);
    }

    /// The application takes no more requests.
    pub fn drain(&self) {
        self.0.store(Self::DRAINING, Ordering::Relaxed);
    }

    /// The status and the body of `/readyz`.
    fn answer(&self) -> (StatusCode, &'static str) {
        match self.0.load(Ordering::Relaxed) {
            Self::READY => (StatusCode::OK, "ready\n"),
            Self::STARTING => (StatusCode::SERVICE_UNAVAILABLE, "starting\n"),
            _ => (StatusCode::SERVICE_UNAVAILABLE, "draining\n"),
        }
    }
}

/// Starts the thread for the observe address.
pub fn start(
    loaded: Arc<Loaded>,
    listener: TcpListener,
    stopped: watch::Receiver<bool>,
) -> anyhow::Result<std::thread::JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let thread = std::thread::Builder::new()
        .name("observe".to_owned())
        .spawn(move || {
            let answer =
                move |request: Request<Incoming>| std::future::ready(answer(&loaded, &request));
            let serving =
                transport::serve_internal((listener, None), "the observe address", stopped, answer);
            tokio::task::LocalSet::new().block_on(&runtime, serving);
        });
    thread.context("starting the observe thread")
}

fn answer(loaded: &Loaded, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let (status, content_type, body) = match request.uri().path() {
        "/healthz" => (StatusCode::OK, "text/plain", "ok\n".to_owned()),
        "/readyz" => {
            let (status, body) = loaded.readiness.answer();
            (status, "text/plain", body.to_owned())
        }
        "/metrics" => (
            StatusCode::OK,
            "text/plain; version=0.0.4",
            loaded.metrics.text()
                + &loaded.clients.metrics()
                + &loaded.postgres().metrics()
                + &loaded.clock.metrics()
                + &loaded
                    .extra_metrics
                    .as_ref()
                    .map(|more| more())
                    .unwrap_or_default(),
        ),
        _ => (
            StatusCode::NOT_FOUND,
            "text/plain",
            "there are /healthz, /readyz and /metrics\n".to_owned(),
        ),
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(
        http::header::CONTENT_TYPE,
        http::HeaderValue::from_static(content_type),
    );
    response
}
