//! A small client of the shop's REST API.

use anyhow::{Context as _, bail};
use serde_json::Value;
use std::net::IpAddr;
use std::time::Duration;
use ureq::tls::TlsConfig;

/// How long one request may take.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A client of one shop, as staff or as a guest.
pub(crate) struct Client {
    agent: ureq::Agent,
    base: String,
    /// The header; a guest has none.
    authorization: Option<String>,
    /// The cookie that distinguishes a guest from others.
    cookie: Option<String>,
}

impl Client {
    pub(crate) fn new(base: &str, token: String) -> Self {
        Self {
            authorization: Some(format!("Bearer {token}")),
            cookie: None,
            ..Self::guest(base, "")
        }
    }

    /// A guest, whose idempotency keys belong to this random `client` alone.
    pub(crate) fn guest(base: &str, client: &str) -> Self {
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(TIMEOUT))
            .http_status_as_error(false)
            .tls_config(tls(base))
            .build();
        Self {
            agent: config.into(),
            base: base.trim_end_matches('/').to_owned(),
            authorization: None,
            cookie: Some(format!("localmart-client={client}")),
        }
    }

    /// Reads a resource.
    pub(crate) fn get(&self, path: &str) -> anyhow::Result<Value> {
        let url = format!("{}{path}", self.base);
        let mut request = self.agent.get(&url);
        if let Some(authorization) = &self.authorization {
            request = request.header("authorization", authorization);
        }
        let response = request.call().with_context(|| format!("GET {url}"))?;
        self.body("GET", &url, response)
    }

    /// Creates a resource. The idempotency key makes it safe to repeat.
    pub(crate) fn post(&self, path: &str, key: &str, body: &Value) -> anyhow::Result<Value> {
        let url = format!("{}{path}", self.base);
        let mut request = self.agent.post(&url).header("idempotency-key", key);
        if let Some(authorization) = &self.authorization {
            request = request.header("authorization", authorization);
        }
        if let Some(cookie) = &self.cookie {
            request = request.header("cookie", cookie);
        }
        let response = request
            .send_json(body)
            .with_context(|| format!("POST {url}"))?;
        self.body("POST", &url, response)
    }

    /// Creates a resource; `None` if it exists already (409).
    pub(crate) fn make(&self, path: &str, body: &Value) -> anyhow::Result<Option<Value>> {
        let url = format!("{}{path}", self.base);
        let mut request = self.agent.post(&url);
        if let Some(authorization) = &self.authorization {
            request = request.header("authorization", authorization);
        }
        let response = request
            .send_json(body)
            .with_context(|| format!("POST {url}"))?;
        if response.status() == 409 {
            return Ok(None);
        }
        self.body("POST", &url, response).map(Some)
    }

    fn body(
        &self,
        method: &str,
        url: &str,
        mut response: ureq::http::Response<ureq::Body>,
    ) -> anyhow::Result<Value> {
        let status = response.status();
        let text = response.body_mut().read_to_string()?;
        if !status.is_success() {
            bail!("{method} {url} answered {status}: {text}");
        }
        serde_json::from_str(&text).with_context(|| format!("{method} {url} did not answer JSON"))
    }
}

/// How the server is identified. The certificate of a shop on this machine has the name of the shop, not of the loopback address,
/// and is not checked there.
fn tls(base: &str) -> TlsConfig {
    let uri = base.parse::<ureq::http::Uri>().ok();
    let host = uri.as_ref().and_then(|uri| uri.host()).unwrap_or_default();
    let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
    let local = host == "localhost" || address.is_ok_and(|address| address.is_loopback());
    TlsConfig::builder().disable_verification(local).build()
}
