//! A client for the control socket of a running host.

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A running host.
#[derive(Clone, Debug)]
pub struct Host {
    socket: PathBuf,
}

impl Host {
    /// Finds the host that serves a port.
    pub fn find(port: u16) -> anyhow::Result<Self> {
        let socket = super::socket::find(port)?;
        Ok(Self { socket })
    }

    /// Queries the host.
    pub fn get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        self.ask(Method::GET, path, &(), None)
    }

    /// Asks for something that a host has ready; one that is stopped does not answer in time.
    pub fn get_within<T: DeserializeOwned>(
        &self,
        path: &str,
        limit: Duration,
    ) -> anyhow::Result<T> {
        self.ask(Method::GET, path, &(), Some(limit))
    }

    /// Sends a command to the host.
    pub fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> anyhow::Result<T> {
        self.ask(Method::POST, path, body, None)
    }

    /// Sends a command that removes something.
    pub fn delete<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> anyhow::Result<T> {
        self.ask(Method::DELETE, path, body, None)
    }

    fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
        limit: Option<Duration>,
    ) -> anyhow::Result<T> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "localmart")
            .body(Full::new(Bytes::from(serde_json::to_vec(body)?)))?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let answered = send(&self.socket, request);
        let (status, body) = runtime.block_on(async {
            match limit {
                None => answered.await,
                Some(limit) => tokio::time::timeout(limit, answered)
                    .await
                    .with_context(|| format!("the host does not answer within {limit:?}"))?,
            }
        })?;
        if status == StatusCode::OK {
            return serde_json::from_slice(&body).context("the host's answer is invalid");
        }
        let problem: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
        match problem.get("error").and_then(|error| error.as_str()) {
            Some(error) => bail!("{error}"),
            None => bail!("the host answered {status}"),
        }
    }
}

async fn send(socket: &Path, request: Request<Full<Bytes>>) -> anyhow::Result<(StatusCode, Bytes)> {
    let stream = tokio::net::UnixStream::connect(socket).await;
    let stream = stream.with_context(|| format!("connecting to {}", socket.display()))?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let ended = tokio::spawn(connection);
    let response = sender
        .send_request(request)
        .await
        .context("sending a request to the host")?;
    let status = response.status();
    let body = response.into_body().collect().await?.to_bytes();
    drop(sender);
    // The answer is complete; how the connection ends does not matter.
    let _ = ended.await;
    Ok((status, body))
}
