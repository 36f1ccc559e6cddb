//! Shoppers buy, cancel and return while the host, Postgres and Redis are killed, one after the other. A request that is answered
//! with an error of the server is repeated with the same key. In the end every acknowledged order is checked, and `localmart verify`
//! must find no violation.

use crate::hostile;
use anyhow::{Context as _, bail, ensure};
use clap::Args;
use localmart_measure::server::{Server, free_address};
use localmart_testkit::servers;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How long one request may take.
const TIMEOUT: Duration = Duration::from_secs(40);
/// How long a killed server stays down.
const AWAY: Duration = Duration::from_secs(1);
/// The pause before a request is repeated.
const PAUSE: Duration = Duration::from_millis(50);
/// How long the shop may take to finish open work after the load ends.
const SETTLE: Duration = Duration::from_secs(90);
/// The part of a run with hostile clients that is calm.
const CALM_DIVISOR: u64 = 5;
/// The number of products, and the stock of each.
const PRODUCTS: u64 = 50;
const STOCK: u64 = 1_000_000;

/// Load and kills.
#[derive(Args)]
pub(crate) struct Stress {
    /// The length of the run, in seconds.
    #[arg(long, default_value_t = 600)]
    seconds: u64,
    /// The number of shoppers.
    #[arg(long, default_value_t = 64)]
    clients: u64,
    /// Seconds between two kills.
    #[arg(long, default_value_t = 15)]
    kill_every: u64,
    /// Use the embedded stores; then only the host is killed.
    #[arg(long)]
    embedded: bool,
    /// Kills nothing. After a fifth of the time, hostile clients hold connections beside the shoppers; the report compares
    /// the latencies.
    #[arg(long)]
    hostile: bool,
}

/// The shop and its stores.
struct Stage {
    binary: PathBuf,
    manifest: PathBuf,
    state: PathBuf,
    address: SocketAddr,
    flags: Vec<String>,
}

/// The observations of the shoppers.
#[derive(Default)]
struct Seen {
    /// The number of answers by action, status and code.
    answers: Mutex<BTreeMap<(&'static str, u16, String), u64>>,
    /// Acknowledged orders with their last acknowledged status.
    orders: Mutex<BTreeMap<String, &'static str>>,
    /// Requests without an answer.
    broken: AtomicU64,
    /// Whether hostile clients are connected.
    hostile: AtomicBool,
    /// The latencies of requests that were answered, without and with hostile clients.
    latencies: [Mutex<Vec<Duration>>; 2],
}

impl Stress {
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        let programs = std::env::current_exe()?;
        let binary = programs.with_file_name("localmart");
        ensure!(
            binary.exists(),
            "there is no {}; build it first",
            binary.display()
        );
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .context("no repository")?;
        let mut flags = ["--variable", "payment_reconcile_after=3s"]
            .map(str::to_owned)
            .to_vec();
        let (mut postgres, mut redis) = (None, None);
        if !self.embedded {
            postgres = Some(servers::Server::postgres().context("Postgres is not installed")?);
            redis = Some(servers::Server::redis().context("Redis is not installed")?);
        }
        for (name, server) in [("database_url", &postgres), ("redis_url", &redis)] {
            if let Some(server) = server {
                flags.extend(["--variable".to_owned(), format!("{name}={}", server.url())]);
            }
        }
        let stage = Stage {
            binary,
            manifest: root.join("spin.toml"),
            state: std::env::temp_dir().join(format!("localmart-stress-{}", std::process::id())),
            address: free_address()?,
            flags,
        };
        let mut host = Some(stage.start()?);
        let token = stage
            .localmart(&["token", "--role", "staff"])?
            .trim()
            .to_owned();
        let shop = Client::new(stage.address, Some(token));
        let products = fill(&shop)?;
        let (seen, stop) = (Seen::default(), AtomicBool::new(false));
        let hostile_count = hostile::Count::default();
        let kills = std::thread::scope(|scope| -> anyhow::Result<u64> {
            let shoppers: Vec<_> = (0..self.clients)
                .map(|number| {
                    let (seen, stop, products, staff) = (&seen, &stop, &products, &shop);
                    let guest = Client::new(stage.address, None);
                    scope.spawn(move || {
                        let mut shopper = Shopper {
                            guest,
                            staff,
                            products,
                            seen,
                            dice: number + 1,
                        };
                        while !stop.load(Ordering::Relaxed) {
                            shopper.shop()?;
                        }
                        anyhow::Ok(())
                    })
                })
                .collect();
            let end = Instant::now() + Duration::from_secs(self.seconds);
            let mut kills = 0;
            if self.hostile {
                std::thread::sleep(Duration::from_secs(self.seconds / CALM_DIVISOR));
                seen.hostile.store(true, Ordering::Relaxed);
                let (stop, count, address) = (&stop, &hostile_count, stage.address);
                scope.spawn(move || hostile::hold(address, stop, count));
            }
            while !self.hostile && Instant::now() + Duration::from_secs(self.kill_every) < end {
                std::thread::sleep(Duration::from_secs(self.kill_every));
                match (kills % 3, &mut postgres, &mut redis) {
                    (1, Some(server), _) | (2, _, Some(server)) => {
                        server.kill();
                        std::thread::sleep(AWAY);
                        server.start();
                    }
                    _ => {
                        // Dropping the host kills it with SIGKILL.
                        drop(host.take());
                        host = Some(stage.start()?);
                    }
                }
                kills += 1;
            }
            std::thread::sleep(end.saturating_duration_since(Instant::now()));
            stop.store(true, Ordering::Relaxed);
            for shopper in shoppers {
                shopper
                    .join()
                    .map_err(|_| anyhow::anyhow!("a shopper panicked"))??;
            }
            Ok(kills)
        })?;
        self.report(&seen, kills)?;
        if self.hostile {
            report_hostile(&seen, &hostile_count)?;
        }
        stage.settle()?;
        let promises = seen
            .orders
            .lock()
            .map_err(|_| anyhow::anyhow!("a shopper panicked"))?;
        for (order, status) in promises.iter() {
            let kept = shop.get(&format!("/api/orders/{order}"))?;
            let now = kept
                .pointer("/status")
                .and_then(Value::as_str)
                .unwrap_or_default();
            ensure!(
                stands(status, now),
                "order {order} was {status} and is {now}"
            );
        }
        println!(
            "{} acknowledged orders are as they should be, and verify found no violation",
            promises.len()
        );
        drop(host);
        // If this fails, the system cleans its temporary folder.
        let _ = std::fs::remove_dir_all(&stage.state);
        Ok(())
    }

    fn report(&self, seen: &Seen, kills: u64) -> anyhow::Result<()> {
        let answers = seen
            .answers
            .lock()
            .map_err(|_| anyhow::anyhow!("a shopper panicked"))?;
        let sum: u64 = answers.values().sum();
        println!(
            "{} s, {} shoppers, {kills} kills: {sum} answers, {:.0}/s, {} requests broken off",
            self.seconds,
            self.clients,
            sum as f64 / self.seconds as f64,
            seen.broken.load(Ordering::Relaxed)
        );
        let mut wrong = Vec::new();
        for ((action, status, code), count) in answers.iter() {
            println!("{action:<10} {status} {code:<26} {count:>9}");
            if *status >= 500 && ![503, 504].contains(status) {
                wrong.push(format!("{action} {status} {code}"));
            }
        }
        ensure!(
            wrong.is_empty(),
            "answers with unexpected errors: {wrong:?}"
        );
        Ok(())
    }
}

/// Prints what the hostile clients did to the others.
fn report_hostile(seen: &Seen, count: &hostile::Count) -> anyhow::Result<()> {
    println!(
        "hostile clients: {} connections, {} closed by the host",
        count.opened.load(Ordering::Relaxed),
        count.closed.load(Ordering::Relaxed)
    );
    let mut p99 = Vec::new();
    for (name, latencies) in ["calm", "hostile"].iter().zip(&seen.latencies) {
        let latencies = latencies.lock();
        let mut latencies = latencies.map_err(|_| anyhow::anyhow!("a shopper panicked"))?;
        latencies.sort_unstable();
        let at = |percent: usize| {
            let place = latencies.len() * percent / 100;
            latencies.get(place).copied().unwrap_or_default()
        };
        println!(
            "{name}: {} answers, p50 {:.1?}, p99 {:.1?}",
            latencies.len(),
            at(50),
            at(99)
        );
        p99.push(at(99).as_secs_f64());
    }
    if let [calm, hostile] = p99.as_slice() {
        println!("p99 beside hostile clients: {:.2} x calm", hostile / calm);
    }
    Ok(())
}

/// Whether an order with the acknowledged status may have the other status now.
fn stands(promised: &str, now: &str) -> bool {
    match promised {
        // Reconciliation settles payments that the provider did not answer.
        "pending" => ["paid", "failed", "pending"].contains(&now),
        _ => promised == now,
    }
}

impl Stage {
    fn start(&self) -> anyhow::Result<Server> {
        Server::host_at(
            self.address,
            &self.binary,
            &self.manifest,
            &self.state,
            "/api/products",
            &self.flags,
        )
    }

    fn localmart(&self, words: &[&str]) -> anyhow::Result<String> {
        let mut command = Command::new(&self.binary);
        command
            .args(words)
            .arg("-f")
            .arg(&self.manifest)
            .arg("--state-dir")
            .arg(&self.state);
        let output = command.args(&self.flags).output()?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() {
            bail!("{said}{}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(said)
    }

    /// Waits until `verify` finds no violation, because open work takes a while.
    fn settle(&self) -> anyhow::Result<()> {
        let give_up = Instant::now() + SETTLE;
        loop {
            match self.localmart(&["verify"]) {
                Ok(said) => {
                    print!("{said}");
                    return Ok(());
                }
                Err(error) if Instant::now() > give_up => return Err(error),
                Err(_) => std::thread::sleep(Duration::from_secs(1)),
            }
        }
    }
}

pub(crate) fn fill(shop: &Client) -> anyhow::Result<Vec<String>> {
    let category = json!({ "slug": "stress", "name": "Stress" });
    shop.ask("POST", "/api/categories", "category", &category)?;
    let mut products = Vec::new();
    for number in 0..PRODUCTS {
        let body = json!({
            "sku": format!("S-{number}"), "name": format!("Product {number}"), "description": "Sold under stress.", "category": "stress",
            "price": { "amount": 100 + number * 37, "currency": "USD" }, "published": true,
        });
        let made = shop.ask("POST", "/api/products", &format!("product-{number}"), &body)?;
        let id = made.text("/id").with_context(|| format!("{made:?}"))?;
        let stock = json!({ "delta": STOCK, "reason": "stress" });
        let path = format!("/api/inventory/{id}/adjustments");
        shop.ask("POST", &path, &format!("stock-{number}"), &stock)?;
        products.push(id);
    }
    Ok(products)
}

pub(crate) struct Client {
    agent: ureq::Agent,
    address: SocketAddr,
    authorization: Option<String>,
}

#[derive(Debug)]
struct Answer {
    status: u16,
    body: Value,
}

impl Answer {
    fn text(&self, place: &str) -> Option<String> {
        let found = self.body.pointer(place).and_then(Value::as_str);
        found.map(str::to_owned)
    }
}

impl Client {
    pub(crate) fn new(address: SocketAddr, token: Option<String>) -> Self {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(TIMEOUT))
            .build();
        Self {
            agent: config.into(),
            address,
            authorization: token.map(|token| format!("Bearer {token}")),
        }
    }

    fn ask(&self, method: &str, path: &str, key: &str, body: &Value) -> anyhow::Result<Answer> {
        let mut request = ureq::http::Request::builder()
            .method(method)
            .uri(format!("http://{}{path}", self.address));
        if let Some(authorization) = &self.authorization {
            request = request.header("authorization", authorization);
        }
        if !key.is_empty() {
            request = request.header("idempotency-key", key);
        }
        let request = request.header("content-type", "application/json");
        let mut response = self.agent.run(request.body(body.to_string())?)?;
        let status = response.status().as_u16();
        let text = response.body_mut().read_to_string()?;
        let body = serde_json::from_str(&text).unwrap_or(Value::Null);
        Ok(Answer { status, body })
    }

    fn get(&self, path: &str) -> anyhow::Result<Value> {
        let mut request = self.agent.get(format!("http://{}{path}", self.address));
        if let Some(authorization) = &self.authorization {
            request = request.header("authorization", authorization);
        }
        let mut response = request.call()?;
        let text = response.body_mut().read_to_string()?;
        ensure!(response.status().is_success(), "{path}: {text}");
        Ok(serde_json::from_str(&text)?)
    }
}

/// A shopper, who begins again after each order.
struct Shopper<'a> {
    guest: Client,
    staff: &'a Client,
    products: &'a [String],
    seen: &'a Seen,
    /// The state of a pseudo-random sequence, the same in every run.
    dice: u64,
}

impl Shopper<'_> {
    fn roll(&mut self, sides: u64) -> u64 {
        self.dice = self
            .dice
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.dice >> 33) % sides
    }

    /// Repeats a request until the answer is final.
    fn insist(
        &self,
        client: &Client,
        action: &'static str,
        (method, path): (&str, &str),
        key: &str,
        body: &Value,
    ) -> anyhow::Result<Answer> {
        loop {
            let begun = Instant::now();
            let Ok(answer) = client.ask(method, path, key, body) else {
                self.seen.broken.fetch_add(1, Ordering::Relaxed);
                std::thread::sleep(PAUSE);
                continue;
            };
            let code = answer.text("/code").unwrap_or_default();
            let away = answer.status >= 500 || code == "idempotency_key_in_flight";
            let mut answers = self
                .seen
                .answers
                .lock()
                .map_err(|_| anyhow::anyhow!("a shopper panicked"))?;
            *answers.entry((action, answer.status, code)).or_default() += 1;
            drop(answers);
            if !away {
                let phase = usize::from(self.seen.hostile.load(Ordering::Relaxed));
                if let Some(Ok(mut latencies)) = self.seen.latencies.get(phase).map(Mutex::lock) {
                    latencies.push(begun.elapsed());
                }
                return Ok(answer);
            }
            std::thread::sleep(PAUSE);
        }
    }

    fn shop(&mut self) -> anyhow::Result<()> {
        let name = format!("{:016x}", self.dice);
        let cart = self.insist(&self.guest, "cart", ("POST", "/api/carts"), "", &json!({}))?;
        let cart = cart.text("/id").with_context(|| format!("{cart:?}"))?;
        let mut wanted = BTreeSet::new();
        for _ in 0..=self.roll(3) {
            wanted.insert(self.roll(PRODUCTS));
        }
        for product in wanted {
            let product = self
                .products
                .get(usize::try_from(product)?)
                .context("no product")?;
            let quantity = json!({ "quantity": 1 + self.roll(3) });
            let path = format!("/api/carts/{cart}/items/{product}");
            let put = self.insist(&self.guest, "item", ("PUT", &path), "", &quantity)?;
            ensure!(put.status == 200, "an item: {put:?}");
        }
        let token = match self.roll(50) {
            0..4 => "tok_declined",
            4..8 => "tok_flaky",
            8 => "tok_timeout",
            _ => "tok_visa",
        };
        let address = json!({ "name": "A", "line1": "1 B", "city": "C", "postal_code": "D", "country": "GB" });
        let body = json!({ "cart_id": cart, "email": "a@b.cc", "shipping_address": address, "payment": { "token": token } });
        let orders = ("POST", "/api/orders");
        let order = self.insist(&self.guest, "order", orders, &name, &body)?;
        let expected = if token == "tok_declined" { 402 } else { 201 };
        ensure!(order.status == expected, "an order with {token}: {order:?}");
        if self.roll(10) == 0 {
            let again = self.insist(&self.guest, "replay", orders, &name, &body)?;
            ensure!(
                again.body.pointer("/id") == order.body.pointer("/id"),
                "{order:?} and {again:?}"
            );
        }
        let Some(id) = order.text("/id") else {
            return Ok(());
        };
        let mut status = if token == "tok_timeout" {
            "pending"
        } else {
            "paid"
        };
        if status == "paid" {
            let other = self.roll(20);
            if other == 0 {
                let taken = self.insist(
                    &self.guest,
                    "other key",
                    orders,
                    &format!("{name}-2"),
                    &body,
                )?;
                ensure!(taken.text("/order_id").as_ref() == Some(&id), "{taken:?}");
            } else if other < 3 {
                status = self.call_off(&id)?;
            } else if other < 5 {
                status = self.give_back(&id, &order)?;
            }
        }
        let mut promised = self
            .seen
            .orders
            .lock()
            .map_err(|_| anyhow::anyhow!("a shopper panicked"))?;
        ensure!(
            promised.insert(id, status).is_none(),
            "an order was made twice"
        );
        Ok(())
    }

    /// Acts as staff until it is done: what was done before it could be told is refused as done.
    fn act(
        &self,
        action: &'static str,
        path: &str,
        key: &str,
        body: &Value,
    ) -> anyhow::Result<Answer> {
        let answer = self.insist(self.staff, action, ("POST", path), key, body)?;
        let done =
            answer.status < 300 || answer.text("/code").as_deref() == Some("illegal_transition");
        ensure!(done, "{action}: {answer:?}");
        Ok(answer)
    }

    fn call_off(&self, id: &str) -> anyhow::Result<&'static str> {
        self.act(
            "cancel",
            &format!("/api/orders/{id}/cancel"),
            "",
            &json!({}),
        )?;
        Ok("cancelled")
    }

    fn give_back(&self, id: &str, order: &Answer) -> anyhow::Result<&'static str> {
        for verb in ["ship", "deliver"] {
            self.act(
                "deliver",
                &format!("/api/orders/{id}/{verb}"),
                "",
                &json!({}),
            )?;
        }
        let all = order.body.pointer("/items").and_then(Value::as_array);
        let item = |item: &Value| json!({ "product_id": item.pointer("/product_id"), "quantity": item.pointer("/quantity") });
        let items: Vec<Value> = all.into_iter().flatten().map(item).collect();
        let body = json!({ "items": items, "reason": "stress" });
        let returns = format!("/api/orders/{id}/returns");
        let asked = self.act("return", &returns, &format!("return-{id}"), &body)?;
        let returned = asked.text("/id").with_context(|| format!("{asked:?}"))?;
        self.act(
            "approve",
            &format!("{returns}/{returned}/approve"),
            "",
            &json!({}),
        )?;
        Ok("returned")
    }
}
