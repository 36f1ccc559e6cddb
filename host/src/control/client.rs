//! Asks a running host over its control socket.

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::path::{Path, PathBuf};

/// A running host.
#[derive(Clone, Debug)]
pub struct Host {
    socket: PathBuf,
}

impl Host {
    /// The host of a port, or the only one.
    pub fn find(port: Option<u16>) -> anyhow::Result<Self> {
        let socket = super::socket::find(port)?;
        Ok(Self { socket })
    }

    /// Asks for something.
    pub fn get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        self.ask(Method::GET, path, &())
    }

    /// Tells it to do something.
    pub fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> anyhow::Result<T> {
        self.ask(Method::POST, path, body)
    }

    /// Tells it to take something back.
    pub fn delete<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> anyhow::Result<T> {
        self.ask(Method::DELETE, path, body)
    }

    fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
    ) -> anyhow::Result<T> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "localmart")
            .body(Full::new(Bytes::from(serde_json::to_vec(body)?)))?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (status, body) = runtime.block_on(send(&self.socket, request))?;
        if status == StatusCode::OK {
            return serde_json::from_slice(&body).context("the host's answer cannot be read");
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
    let stream = stream.with_context(|| format!("asking {}", socket.display()))?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let ended = tokio::spawn(connection);
    let response = sender
        .send_request(request)
        .await
        .context("asking the host")?;
    let status = response.status();
    let body = response.into_body().collect().await?.to_bytes();
    drop(sender);
    // What is known is read; how the connection ends does not matter.
    let _ = ended.await;
    Ok((status, body))
}
