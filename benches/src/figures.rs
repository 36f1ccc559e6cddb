//! The measurements, in turns, and their table.

use crate::load::{Client, Outcome, closed_loop};
use crate::server::Server;
use anyhow::Context as _;
use serde_json::Value;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// How long and how often.
pub(crate) struct Settings {
    pub(crate) seconds: u64,
    pub(crate) rounds: usize,
    pub(crate) connections: usize,
}

/// Measures everything and prints it.
pub(crate) fn measure(settings: &Settings) -> anyhow::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .context("the bench has no repository")?;
    let binary = root.join("target/release/localmart");
    let folder = std::env::temp_dir().join(format!("localmart-bench-{}", std::process::id()));
    let result = Bench {
        root: root.to_owned(),
        binary,
        folder: folder.clone(),
        settings,
    }
    .run();
    // What is measured is not kept; what could not be removed is in the temporary folder.
    let _ = std::fs::remove_dir_all(folder);
    result
}

struct Bench<'a> {
    root: PathBuf,
    binary: PathBuf,
    folder: PathBuf,
    settings: &'a Settings,
}

impl Bench<'_> {
    fn run(&self) -> anyhow::Result<()> {
        let hello_manifest = self.root.join("benches/hello/spin.toml");
        let status = Command::new(&self.binary)
            .arg("build")
            .arg("-f")
            .arg(&hello_manifest)
            .status();
        anyhow::ensure!(
            status.context("first: cargo build --release")?.success(),
            "hello does not build"
        );
        let (hello_state, shop_state) = (self.folder.join("hello"), self.folder.join("shop"));
        let manifest = self.root.join("spin.toml");
        // The first start compiles and migrates; those after it are what is measured.
        let shop = Server::host(&self.binary, &manifest, &shop_state, "/api/products", &[])?;
        let mut seed = Command::new(&self.binary);
        seed.arg("seed")
            .arg("-f")
            .arg(&manifest)
            .arg("--state-dir")
            .arg(&shop_state);
        let seeded = seed
            .args(["--url", &format!("http://{}", shop.address)])
            .status()?;
        anyhow::ensure!(seeded.success(), "the shop cannot be seeded");
        drop(shop);
        drop(Server::host(
            &self.binary,
            &hello_manifest,
            &hello_state,
            "/reuse",
            &[],
        )?);
        give_stock(&shop_state)?;
        println!("| figure | localmart | native axum | ratio |\n|---|---|---|---|");
        self.starts(&hello_manifest, &hello_state, &manifest, &shop_state)?;
        let hello = Server::host(&self.binary, &hello_manifest, &hello_state, "/reuse", &[])?;
        let shop = Server::host(&self.binary, &manifest, &shop_state, "/api/products", &[])?;
        let native = Server::native(&shop_state, "/hello")?;
        let idle = shop.memory_mib()?;
        let get = |path: &'static str| {
            async move |client: &mut Client, _: u64| {
                client.send("GET", path, None, None, 200).await.map(drop)
            }
        };
        self.compare(
            "hello, instances reused",
            hello.address,
            get("/reuse"),
            native.address,
            get("/hello"),
        )?;
        self.compare(
            "hello, fresh instance per request",
            hello.address,
            get("/fresh"),
            native.address,
            get("/hello"),
        )?;
        let product = self.block_on(first_product(shop.address))?;
        let path: &'static str = Box::leak(format!("/api/products/{product}").into_boxed_str());
        self.compare(
            "product read (SQLite)",
            shop.address,
            get(path),
            native.address,
            get(path),
        )?;
        let product: &'static str = product.leak();
        let buy = async move |client: &mut Client, number: u64| buy(client, product, number).await;
        self.compare(
            "cart + item + checkout (SQLite), orders",
            shop.address,
            buy,
            native.address,
            buy,
        )?;
        println!(
            "| memory of the shop, idle / after load | {idle} / {} MiB | {} MiB | |",
            shop.memory_mib()?,
            native.memory_mib()?
        );
        println!(
            "| memory of hello after load | {} MiB | | |",
            hello.memory_mib()?
        );
        Ok(())
    }

    fn starts(
        &self,
        hello: &Path,
        hello_state: &Path,
        shop: &Path,
        shop_state: &Path,
    ) -> anyhow::Result<()> {
        let (mut hellos, mut shops, mut natives) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..self.settings.rounds.max(5) {
            hellos
                .push(Server::host(&self.binary, hello, hello_state, "/reuse", &[])?.first_answer);
            natives.push(Server::native(shop_state, "/hello")?.first_answer);
            shops.push(
                Server::host(&self.binary, shop, shop_state, "/api/products?limit=1", &[])?
                    .first_answer,
            );
        }
        let native = middle(natives);
        for (name, times) in [("hello", hellos), ("the whole shop", shops)] {
            println!(
                "| start to first answer, warm cache: {name} | {:.1} ms | {:.1} ms | |",
                ms(middle(times)),
                ms(native)
            );
        }
        Ok(())
    }

    /// Both in turns; a line of the table from the median round of each.
    fn compare<A, B>(
        &self,
        name: &str,
        ours: SocketAddr,
        a: A,
        theirs: SocketAddr,
        b: B,
    ) -> anyhow::Result<()>
    where
        A: AsyncFn(&mut Client, u64) -> anyhow::Result<()> + Clone + 'static,
        B: AsyncFn(&mut Client, u64) -> anyhow::Result<()> + Clone + 'static,
    {
        let (connections, time) = (
            self.settings.connections,
            Duration::from_secs(self.settings.seconds),
        );
        let (mut mine, mut native) = (Vec::new(), Vec::new());
        self.block_on(closed_loop(
            ours,
            connections,
            Duration::from_secs(1),
            a.clone(),
        ))?;
        self.block_on(closed_loop(
            theirs,
            connections,
            Duration::from_secs(1),
            b.clone(),
        ))?;
        for _ in 0..self.settings.rounds {
            mine.push(self.block_on(closed_loop(ours, connections, time, a.clone()))?);
            native.push(self.block_on(closed_loop(theirs, connections, time, b.clone()))?);
        }
        let (mine, native) = (median(mine)?, median(native)?);
        println!(
            "| {name} | {} | {} | {:.0} % |",
            show(&mine),
            show(&native),
            100.0 * mine.per_second / native.per_second
        );
        Ok(())
    }

    fn block_on<T>(&self, future: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?
            .block_on(future)
    }
}

/// So much that no run sells it out.
fn give_stock(state: &Path) -> anyhow::Result<()> {
    let inventory = rusqlite::Connection::open(state.join("inventory.db"))?;
    inventory.execute("UPDATE stock SET on_hand = 1000000000", [])?;
    Ok(())
}

async fn first_product(address: SocketAddr) -> anyhow::Result<String> {
    let body = Client::connect(address)
        .await?
        .send(
            "GET",
            "/api/products?limit=1&sort=price_asc",
            None,
            None,
            200,
        )
        .await?;
    let body: Value = serde_json::from_slice(&body)?;
    let id = body.pointer("/items/0/id").and_then(Value::as_str);
    Ok(id.context("the shop has no products")?.to_owned())
}

/// A cart, an item, an order; one piece each.
async fn buy(client: &mut Client, product: &str, number: u64) -> anyhow::Result<()> {
    let cart: Value =
        serde_json::from_slice(&client.send("POST", "/api/carts", None, None, 201).await?)?;
    let cart = cart
        .pointer("/id")
        .and_then(Value::as_str)
        .context("a cart without an id")?
        .to_owned();
    let item = serde_json::json!({ "product_id": product, "quantity": 1 });
    client
        .send(
            "POST",
            &format!("/api/carts/{cart}/items"),
            None,
            Some(item.to_string()),
            200,
        )
        .await?;
    let order = serde_json::json!({
        "cart_id": cart, "email": "ada@example.com", "payment": { "token": "tok_visa" },
        "shipping_address": { "name": "Ada", "line1": "1 Way", "city": "London", "postal_code": "N1", "country": "GB" },
    });
    let key = format!("{cart}-{number}");
    client
        .send(
            "POST",
            "/api/orders",
            Some(&key),
            Some(order.to_string()),
            201,
        )
        .await
        .map(drop)
}

fn show(outcome: &Outcome) -> String {
    format!(
        "{:.0}/s, p50 {:.2} ms, p99 {:.2} ms",
        outcome.per_second,
        ms(outcome.p50),
        ms(outcome.p99)
    )
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

fn middle(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

fn median(mut outcomes: Vec<Outcome>) -> anyhow::Result<Outcome> {
    outcomes.sort_by(|a, b| a.per_second.total_cmp(&b.per_second));
    let middle = outcomes.len() / 2;
    outcomes.get(middle).cloned().context("no round was run")
}
