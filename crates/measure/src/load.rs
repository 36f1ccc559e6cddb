//! A closed-loop load generator: each connection sends its next request as soon as the previous one was answered.

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;

/// The result of a run.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Iterations per second.
    pub per_second: f64,
    /// The median time of an iteration.
    pub p50: Duration,
    /// The 99th percentile of the times.
    pub p99: Duration,
}

/// A connection to a server.
pub struct Client {
    sender: SendRequest<Full<Bytes>>,
    host: String,
}

impl Client {
    /// Connects, with Nagle's algorithm off.
    pub async fn connect(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Self {
            sender,
            host: address.to_string(),
        })
    }

    /// Sends a request; returns the body of the answer, or an error if the answer has another status.
    pub async fn send(
        &mut self,
        method: &str,
        path: &str,
        key: Option<&str>,
        body: Option<String>,
        status: u16,
    ) -> anyhow::Result<Bytes> {
        let Reply { status: got, body } = self.ask(method, path, key, body).await?;
        if got != status {
            bail!(
                "{method} {path} answered {got}: {}",
                String::from_utf8_lossy(&body)
            );
        }
        Ok(body)
    }
}

/// An answer with any status.
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// The body.
    pub body: Bytes,
}

impl Client {
    /// Sends a request; an answer with any status is a success.
    pub async fn ask(
        &mut self,
        method: &str,
        path: &str,
        key: Option<&str>,
        body: Option<String>,
    ) -> anyhow::Result<Reply> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", &self.host);
        if body.is_some() {
            request = request.header("content-type", "application/json");
        }
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        self.sender.ready().await?;
        let request = request.body(Full::from(body.unwrap_or_default()))?;
        let response = self.sender.send_request(request).await?;
        let status = response.status().as_u16();
        let body = response.into_body().collect().await?.to_bytes();
        Ok(Reply { status, body })
    }
}

/// Runs `work` repeatedly on every connection for `time`. Each call of `work` gets a connection and a unique number.
pub async fn closed_loop<W>(
    address: SocketAddr,
    connections: usize,
    time: Duration,
    work: W,
) -> anyhow::Result<Outcome>
where
    W: AsyncFn(&mut Client, u64) -> anyhow::Result<()> + Clone + 'static,
{
    let local = tokio::task::LocalSet::new();
    let mut times = local
        .run_until(async move {
            let start = Instant::now();
            let mut tasks = Vec::new();
            for connection in 0..connections as u64 {
                let work = work.clone();
                tasks.push(tokio::task::spawn_local(async move {
                    let mut client = Client::connect(address).await?;
                    let (mut times, mut count) = (Vec::new(), 0);
                    while start.elapsed() < time {
                        let begun = Instant::now();
                        work(&mut client, connection << 32 | count).await?;
                        times.push(begun.elapsed());
                        count += 1;
                    }
                    anyhow::Ok(times)
                }));
            }
            let mut all = Vec::new();
            for task in tasks {
                all.extend(task.await??);
            }
            anyhow::Ok(all)
        })
        .await?;
    times.sort_unstable();
    let at = |part: usize| {
        times
            .get(times.len() * part / 100)
            .copied()
            .context("no request was answered in the given time")
    };
    Ok(Outcome {
        per_second: times.len() as f64 / time.as_secs_f64(),
        p50: at(50)?,
        p99: at(99)?,
    })
}
