//! Calls components on other hosts. A call is retried only if it was not sent, or if the interface promises that
//! repeated calls change nothing more.

use super::fake::Fakes;
use super::sign::Key;
use super::{CALLER, ExportedFunction, ExportedInterfaces, SHAPE, SIGNATURE, shape};
use crate::limits;
use crate::link::fit;
use crate::link::function::LinkFunction;
use crate::link::not_answered::{Answered, NotAnswered};
use crate::tls::{Files, ServerTls};
use anyhow::{Context as _, bail};
use bytes::Bytes;
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use localmart_connect::{Trust, nobody};
use rustls::ClientConfig;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use wasmtime::component::Val;

/// A component on another host.
#[derive(Clone)]
pub struct RemoteComponent {
    /// Its id, the same on both hosts.
    pub component: String,
    address: Arc<str>,
    key: Key,
    /// Its exports when the link was established.
    pub offered: Arc<ExportedInterfaces>,
}

/// The addresses of components on other hosts, and the key for links to them.
#[derive(Clone, Default)]
pub struct RemoteConfig {
    /// Addresses as `http://host:port`, by component.
    pub addresses: BTreeMap<String, String>,
    /// The key; required if there are addresses.
    pub key: Option<Key>,
    /// TLS of the links; required for addresses with https.
    pub tls: Option<LinkTls>,
    /// Files that answer for components instead.
    pub fakes: Fakes,
}

/// TLS of the links between hosts. Both hosts have a certificate of one authority.
#[derive(Clone, Debug)]
pub struct LinkTls {
    /// For calls from other hosts.
    pub server: Arc<ServerTls>,
    /// For calls to other hosts.
    pub client: Arc<ClientConfig>,
}

impl LinkTls {
    /// Reads the certificate of this host, its key, and the authority of both hosts, all in PEM.
    pub fn read(certificate: &Path, key: &Path, authority: &Path) -> anyhow::Result<Self> {
        let trust = Trust {
            roots: Some(authority.to_owned()),
            certificate: Some(certificate.to_owned()),
            key: Some(key.to_owned()),
            root_text: None,
        };
        let server = ServerTls::read(Files {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
            clients: Some(authority.to_owned()),
        })?;
        let client = Arc::new(trust.config().map_err(anyhow::Error::msg)?);
        Ok(Self { server, client })
    }
}

impl RemoteComponent {
    /// Asks another host for the exports of a component.
    pub async fn discover(
        component: &str,
        address: &str,
        (key, client): (&Key, &Http),
    ) -> anyhow::Result<Self> {
        let address = address.trim_end_matches('/');
        if !address.starts_with("http://") && !address.starts_with("https://") {
            bail!("{address} is not the address of another host; write http://host:port");
        }
        let path = format!("/links/{component}");
        let request = Request::get(format!("{address}{path}"))
            .header(SIGNATURE, key.sign(&path, b""))
            .body(Full::default())?;
        let asked = async {
            let answer = client.request(request).await?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), limits::REMOTE_BYTES).collect();
            let body = body.await.map_err(anyhow::Error::from_boxed)?.to_bytes();
            anyhow::Ok((status, String::from_utf8_lossy(&body).into_owned()))
        };
        let asked = tokio::time::timeout(limits::REMOTE_DISCOVER_TIMEOUT, asked).await;
        let asked = asked.unwrap_or_else(|elapsed| Err(elapsed.into()));
        let help = "start it first: localmart up --link-listen";
        let (status, text) = asked.with_context(|| {
            format!("the host of `{component}` does not answer at {address}\n  help: {help}")
        })?;
        if status != StatusCode::OK {
            bail!("{address} does not offer `{component}`: {text}");
        }
        Ok(Self {
            component: component.to_owned(),
            address: address.into(),
            key: key.clone(),
            offered: Arc::new(serde_json::from_str(&text)?),
        })
    }

    /// The exported interface that matches an import best.
    pub fn best(&self, import: &str) -> Option<&str> {
        fit::best(import, self.offered.keys().map(String::as_str))
    }

    /// Whether a function has the imported types. The error says what differs.
    pub fn fits(&self, interface: &str, name: &str, asked: &str) -> Result<(), String> {
        match self.function(interface, name) {
            None => Err(format!("it does not export `{name}`")),
            Some(offered) if offered.shape != asked => Err(format!(
                "`{name}` is {} there and {asked} here",
                offered.shape
            )),
            Some(_) => Ok(()),
        }
    }

    fn function(&self, interface: &str, name: &str) -> Option<&ExportedFunction> {
        self.offered.get(interface)?.get(name)
    }

    /// Calls a function. Waits for `patience` at most, including retries.
    pub async fn call(
        &self,
        client: &Http,
        function: &LinkFunction,
        params: &[Val],
        patience: Duration,
    ) -> Answered<Vec<Val>> {
        let asking = self.attempts(client, function, params);
        match tokio::time::timeout(patience, asking).await {
            Ok(answered) => answered,
            Err(_) => Err(NotAnswered::TimedOut(patience)),
        }
    }

    async fn attempts(
        &self,
        client: &Http,
        function: &LinkFunction,
        params: &[Val],
    ) -> Answered<Vec<Val>> {
        let text = written(&function.name, params)?;
        let body = Bytes::from(text);
        let interface = self
            .best(&function.interface)
            .unwrap_or(&function.interface);
        let path = format!("/links/{}/{interface}/{}", self.component, function.name);
        let offered = self.function(interface, &function.name);
        let may_repeat = offered.is_some_and(|offered| offered.promise.is_some());
        let mut pause = limits::REMOTE_BACKOFF;
        let mut attempt = 1;
        loop {
            match self.attempt(client, function, &path, body.clone()).await {
                Err(NotAnswered::Lost { sent, .. })
                    if attempt < limits::REMOTE_ATTEMPTS && (may_repeat || !sent) =>
                {
                    tokio::time::sleep(pause).await;
                    (pause, attempt) = (pause * 2, attempt + 1);
                }
                other => return other,
            }
        }
    }

    async fn attempt(
        &self,
        client: &Http,
        function: &LinkFunction,
        path: &str,
        body: Bytes,
    ) -> Answered<Vec<Val>> {
        let broken = |error: &dyn std::fmt::Display| NotAnswered::Mismatch(error.to_string());
        let uri: Uri = format!("{}{path}", self.address)
            .parse()
            .map_err(|error| broken(&error))?;
        let request = Request::post(uri)
            .header(SIGNATURE, self.key.sign(path, &body))
            .header(SHAPE, shape::hash(&function.shape))
            .header(CALLER, &*function.caller)
            .body(Full::new(body));
        let request = request.map_err(|error| broken(&error))?;
        let response = client
            .request(request)
            .await
            .map_err(|error| NotAnswered::Lost {
                sent: !error.is_connect(),
                reason: error.to_string(),
            })?;
        let status = response.status();
        let lost = |reason: String| NotAnswered::Lost { sent: true, reason };
        let body = Limited::new(response.into_body(), limits::REMOTE_BYTES).collect();
        let body = body
            .await
            .map_err(|error| lost(error.to_string()))?
            .to_bytes();
        let text = String::from_utf8_lossy(&body);
        match (status, &function.result) {
            (StatusCode::OK, None) => Ok(Vec::new()),
            (StatusCode::OK, Some(ty)) => {
                let value = wasm_wave::from_str::<Val>(ty, &text);
                Ok(vec![value.map_err(|error| broken(&error))?])
            }
            (StatusCode::SERVICE_UNAVAILABLE, _) => {
                Err(NotAnswered::Unavailable(text.into_owned()))
            }
            _ => Err(NotAnswered::Mismatch(format!("{status}: {text}"))),
        }
    }
}

/// An HTTP client: the connections of a core to other hosts.
pub type Http = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// A client without connections. Without TLS it reaches no address with https.
pub fn http(tls: Option<&LinkTls>) -> Http {
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(limits::SERVER_CONNECT_TIMEOUT));
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(tls.map_or_else(nobody, |tls| (*tls.client).clone()))
        .https_or_http()
        .enable_http1()
        .wrap_connector(connector);
    Client::builder(TokioExecutor::new())
        .pool_idle_timeout(limits::REMOTE_IDLE_TIMEOUT)
        .pool_timer(TokioTimer::new())
        .build(connector)
}

fn written(name: &str, params: &[Val]) -> Answered<String> {
    let params = params.iter().map(wasm_wave::to_string);
    let params: Vec<String> = params
        .collect::<Result<_, _>>()
        .map_err(|error| NotAnswered::Mismatch(error.to_string()))?;
    Ok(format!("{name}({})", params.join(", ")))
}
