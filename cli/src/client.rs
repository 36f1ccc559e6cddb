//! A small client of the shop's own REST API, for verbs that go through its doors.

use anyhow::{Context as _, bail};
use serde_json::Value;
use std::time::Duration;

/// How long one request may take.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A shop to talk to, as staff.
pub(crate) struct Client {
    agent: ureq::Agent,
    base: String,
    token: String,
}

impl Client {
    pub(crate) fn new(base: &str, token: String) -> Self {
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(TIMEOUT))
            .http_status_as_error(false)
            .build();
        Self {
            agent: config.into(),
            base: base.trim_end_matches('/').to_owned(),
            token,
        }
    }

    /// Reads a resource.
    pub(crate) fn get(&self, path: &str) -> anyhow::Result<Value> {
        let url = format!("{}{path}", self.base);
        let response = self
            .agent
            .get(&url)
            .call()
            .with_context(|| format!("GET {url}"))?;
        self.body("GET", &url, response)
    }

    /// Makes a resource. The key makes it safe to repeat.
    pub(crate) fn post(&self, path: &str, key: &str, body: &Value) -> anyhow::Result<Value> {
        let url = format!("{}{path}", self.base);
        let request = self
            .agent
            .post(&url)
            .header("authorization", &format!("Bearer {}", self.token))
            .header("idempotency-key", key);
        let response = request
            .send_json(body)
            .with_context(|| format!("POST {url}"))?;
        self.body("POST", &url, response)
    }

    /// Makes a resource; `None` if there is such a one already (409).
    pub(crate) fn make(&self, path: &str, body: &Value) -> anyhow::Result<Option<Value>> {
        let url = format!("{}{path}", self.base);
        let request = self
            .agent
            .post(&url)
            .header("authorization", &format!("Bearer {}", self.token));
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
