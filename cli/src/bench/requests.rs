//! Requests per second and latencies, by route. Without `--request`, the bench finds the requests itself: every route without
//! parameters, the first item of each list and, for a shop, a cart and a checkout.

use super::Run;
use super::variant::Hosted;
use anyhow::{Context as _, bail};
use localmart_measure::load::{Client, Outcome, closed_loop};
use localmart_measure::report::{Figure, Measured, Unit};
use localmart_measure::work::{Work, first_product};
use serde_json::Value;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::Path;
use std::time::Duration;

/// The warm-up of each request before its first round.
const WARM_UP: Duration = Duration::from_millis(500);

/// A request to measure, independent of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Wanted {
    /// A request with method, path and body.
    Ask(String, String, Option<String>),
    /// A request for the first item of the list at this path.
    FirstOf(String),
    /// A cart with an item.
    Fill,
    /// A checkout.
    Buy,
}

/// A measured server.
struct Entrant {
    name: String,
    address: SocketAddr,
    host: Option<Hosted>,
}

impl Wanted {
    /// Parses the value of `--request`.
    fn read(text: &str) -> anyhow::Result<Self> {
        let mut words = text.trim().splitn(3, ' ');
        let (method, path) = (words.next().unwrap_or_default(), words.next());
        let is_method = !method.is_empty() && method.bytes().all(|byte| byte.is_ascii_uppercase());
        match path {
            Some(path) if is_method && path.starts_with('/') => Ok(Self::Ask(
                method.to_owned(),
                path.to_owned(),
                words.next().map(str::to_owned),
            )),
            _ => bail!("`{text}` is not a request like GET /api/products, or POST /api/carts {{}}"),
        }
    }

    fn name(&self) -> String {
        match self {
            Self::Ask(method, path, _) => format!("{method} {path}"),
            Self::FirstOf(path) => format!("GET {path}/{{id}}"),
            Self::Fill => "a cart with an item".to_owned(),
            Self::Buy => "cart, item and checkout".to_owned(),
        }
    }

    /// The work of a connection to a server. The error says why the request cannot be measured.
    async fn at(&self, address: SocketAddr) -> anyhow::Result<Work> {
        match self {
            Self::Ask(method, path, body) => {
                let (status, _) = ask(address, method, path, body.clone()).await?;
                if status >= 400 {
                    bail!("it answers {status}");
                }
                Ok(Work::Ask {
                    method: method.clone(),
                    path: path.clone(),
                    body: body.clone(),
                    status,
                })
            }
            Self::FirstOf(path) => {
                let (_, listed) = ask(address, "GET", path, None).await?;
                let id = listed.pointer("/items/0/id").and_then(Value::as_str);
                let path = format!("{path}/{}", id.context("it lists nothing")?);
                let (status, _) = ask(address, "GET", &path, None).await?;
                if status != 200 {
                    bail!("{path} answers {status}");
                }
                Ok(Work::Get(path))
            }
            Self::Fill => Ok(Work::Fill(first_product(address).await?)),
            Self::Buy => {
                let work = Work::Buy(first_product(address).await?);
                let mut client = Client::connect(address).await?;
                work.once(&mut client, 0).await?;
                Ok(work)
            }
        }
    }
}

impl Run {
    pub(super) fn requests(&mut self, prepared: &Path) -> anyhow::Result<()> {
        let mut entrants = Vec::new();
        for (place, variant) in self.variants.iter().enumerate() {
            let state = self.scratch.0.join(format!("requests-{place}"));
            let host = self.host(prepared, &state, variant, &[])?;
            entrants.push(Entrant {
                name: variant.name.clone(),
                address: host.server.address,
                host: Some(host),
            });
        }
        if let Some(url) = &self.bench.against {
            entrants.push(Entrant {
                name: url.clone(),
                address: address(url)?,
                host: None,
            });
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        // A server that is not measured answers, so that no measured one has more requests behind it.
        let first = self.variants.first().context("nothing to measure")?;
        let asked = self.host(prepared, &self.scratch.0.join("asked"), first, &[])?;
        let wanted = runtime.block_on(self.wanted(asked.server.address))?;
        drop(asked);
        for wanted in &wanted {
            self.compare(&runtime, wanted, &entrants)?;
        }
        let mut of = Vec::new();
        for entrant in &entrants {
            if let Some(host) = &entrant.host {
                let memory = host.server.memory_mib()?;
                of.push(Measured::plain(&entrant.name, vec![memory]));
            }
        }
        let figure = Figure::new("resident after all of these", Unit::Mebibytes, of);
        self.add("Memory", figure);
        Ok(())
    }

    /// The requests to measure.
    async fn wanted(&mut self, address: SocketAddr) -> anyhow::Result<Vec<Wanted>> {
        if !self.bench.requests.is_empty() {
            let named = self.bench.requests.iter();
            return named.map(|text| Wanted::read(text)).collect();
        }
        let (mut wanted, mut refused) = (Vec::new(), Vec::new());
        for route in &self.app.routes {
            let Some(path) = base(&route.text) else {
                let text = &route.text;
                self.report
                    .left_out
                    .push(format!("{text}: it needs values; name them with --request"));
                continue;
            };
            let asked = Wanted::Ask("GET".to_owned(), path.clone(), None);
            if wanted.contains(&asked) {
                continue;
            }
            let (status, body) = ask(address, "GET", &path, None).await?;
            if status >= 400 {
                refused.push(format!("{path} ({status})"));
                continue;
            }
            wanted.push(asked);
            let one = Wanted::FirstOf(path);
            if body.pointer("/items/0/id").is_some() && one.at(address).await.is_ok() {
                wanted.push(one);
            }
        }
        if !refused.is_empty() {
            let refused = refused.join(", ");
            self.report.left_out.push(format!(
                "routes that answer a plain GET with an error: {refused}; name requests of theirs with --request"
            ));
        }
        if self.is_a_shop() {
            wanted.extend([Wanted::Fill, Wanted::Buy]);
        }
        Ok(wanted)
    }

    /// Measures one request on all servers, in turns.
    fn compare(
        &mut self,
        runtime: &tokio::runtime::Runtime,
        wanted: &Wanted,
        entrants: &[Entrant],
    ) -> anyhow::Result<()> {
        let mut works = Vec::new();
        for entrant in entrants {
            let (name, asked) = (&entrant.name, wanted.name());
            match runtime.block_on(wanted.at(entrant.address)) {
                Ok(work) => works.push((entrant, work, Vec::new())),
                // A request that the user named must succeed.
                Err(error) if entrant.host.is_some() => {
                    return Err(error.context(format!("{asked} at {name}")));
                }
                Err(error) => {
                    let reason = format!("{asked} at {name}: {error:#}");
                    self.report.left_out.push(reason);
                }
            }
        }
        for (entrant, work, _) in &works {
            self.turn(runtime, entrant, work, WARM_UP)?;
        }
        for _ in 0..self.bench.rounds {
            for (entrant, work, turns) in &mut works {
                turns.push(self.turn(runtime, entrant, work, self.bench.duration)?);
            }
        }
        let of = works.iter();
        let of = of.map(|(entrant, _, turns)| Measured::load(&entrant.name, turns));
        let figure = Figure::new(&wanted.name(), Unit::PerSecond, of.collect());
        self.add("Requests", figure);
        Ok(())
    }

    fn turn(
        &self,
        runtime: &tokio::runtime::Runtime,
        entrant: &Entrant,
        work: &Work,
        time: Duration,
    ) -> anyhow::Result<Outcome> {
        let (connections, work) = (self.bench.connections as usize, work.clone());
        let asking = async move |client: &mut Client, number: u64| work.once(client, number).await;
        let asked = closed_loop(entrant.address, connections, time, asking);
        runtime
            .block_on(asked)
            .with_context(|| entrant.name.clone())
    }
}

/// Sends a request once; returns the status, and the body if it is JSON.
async fn ask(
    address: SocketAddr,
    method: &str,
    path: &str,
    body: Option<String>,
) -> anyhow::Result<(u16, Value)> {
    let mut client = Client::connect(address).await?;
    let reply = client.ask(method, path, None, body).await?;
    let body = serde_json::from_slice(&reply.body).unwrap_or_default();
    Ok((reply.status, body))
}

/// The path of a route without its wildcard; `None` if a segment needs a value.
pub(super) fn base(route: &str) -> Option<String> {
    let path = route.trim_end_matches("...").trim_end_matches('*');
    let path = path.trim_end_matches('/');
    if path.contains("/:") {
        return None;
    }
    Some(if path.is_empty() { "/" } else { path }.to_owned())
}

/// The address of a server.
fn address(url: &str) -> anyhow::Result<SocketAddr> {
    let wrong = || format!("--against {url}: it must be an address like http://127.0.0.1:3100");
    let place = url.strip_prefix("http://").with_context(wrong)?;
    let place = place.trim_end_matches('/');
    let place = match place.contains(':') {
        true => place.to_owned(),
        false => format!("{place}:80"),
    };
    let mut found = place.to_socket_addrs().with_context(wrong)?;
    found.next().with_context(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_a_method_a_path_and_perhaps_a_body() -> anyhow::Result<()> {
        let read = Wanted::read("POST /api/carts {\"a\": 1}")?;
        let body = Some("{\"a\": 1}".to_owned());
        assert_eq!(
            read,
            Wanted::Ask("POST".to_owned(), "/api/carts".to_owned(), body)
        );
        for wrong in ["", "GET", "/api", "get /api", "GET api", "GET  /api"] {
            assert!(Wanted::read(wrong).is_err(), "{wrong}");
        }
        Ok(())
    }

    #[test]
    fn a_route_has_a_path_unless_it_needs_values() {
        for (route, path) in [
            ("/api/products/...", Some("/api/products")),
            ("/...", Some("/")),
            ("/healthz", Some("/healthz")),
            ("/hello/:name", None),
        ] {
            assert_eq!(base(route).as_deref(), path, "{route}");
        }
    }
}
