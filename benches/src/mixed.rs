//! A mixed load on one shop, on the stores that `--variable` selects: of ten actions, seven browse, two fill a cart and one orders.
//! Prints the answers by status, and the result of `localmart verify` afterwards.

use anyhow::Context as _;
use clap::Args;
use localmart_measure::load::{Client, closed_loop};
use localmart_measure::server::Server;
use serde_json::{Value, json};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::rc::Rc;
use std::time::Duration;

/// A mixed load.
#[derive(Args)]
pub(crate) struct Mixed {
    /// The length of the run, in seconds.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// The number of shoppers.
    #[arg(long, default_value_t = 32)]
    clients: usize,
    /// Variables, as for localmart up: database_url=…, redis_url=…
    #[arg(long = "variable")]
    variables: Vec<String>,
}

/// The number of answers by action and status.
pub(crate) type Answers = BTreeMap<(&'static str, u16), u64>;

impl Mixed {
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .context("the bench has no repository")?;
        let (binary, manifest) = (
            root.join("target/release/localmart"),
            root.join("spin.toml"),
        );
        let state = std::env::temp_dir().join(format!("localmart-crowd-{}", std::process::id()));
        let flags: Vec<String> = self
            .variables
            .iter()
            .flat_map(|one| ["--variable".to_owned(), one.clone()])
            .collect();
        let localmart = |verb: &str| {
            let mut command = Command::new(&binary);
            command
                .arg(verb)
                .arg("-f")
                .arg(&manifest)
                .arg("--state-dir")
                .arg(&state)
                .args(&flags);
            command
        };
        let shop = Server::host(&binary, &manifest, &state, "/api/products", &flags)?;
        let url = format!("http://{}", shop.address);
        anyhow::ensure!(
            localmart("seed").args(["--url", &url]).status()?.success(),
            "the shop cannot be seeded"
        );
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let answers = Rc::new(RefCell::new(Answers::new()));
        let counted = answers.clone();
        let outcome = runtime.block_on(async {
            let products = products(&mut Client::connect(shop.address).await?).await?;
            let products: Rc<[String]> = products.into();
            let time = Duration::from_secs(self.seconds);
            closed_loop(
                shop.address,
                self.clients,
                time,
                async move |client: &mut Client, number| {
                    act(client, number, &products, &counted).await
                },
            )
            .await
        })?;
        println!(
            "{:.0} actions/s, p50 {:.1?}, p99 {:.1?}, {} MiB",
            outcome.per_second,
            outcome.p50,
            outcome.p99,
            shop.memory_mib()?
        );
        let mut broken = 0;
        for ((action, status), count) in answers.borrow().iter() {
            println!(
                "{action:<10} {status} {count:>9}  {:>8.1}/s",
                *count as f64 / self.seconds as f64
            );
            broken += if *status >= 500 { *count } else { 0 };
        }
        println!("{broken} answers of 500 or more");
        let content = localmart("verify").status()?.success();
        drop(shop);
        // If this fails, the system cleans its temporary folder.
        let _ = std::fs::remove_dir_all(&state);
        anyhow::ensure!(
            content && broken == 0,
            "verify found violations, or requests failed with 500 or more"
        );
        Ok(())
    }
}

pub(crate) async fn products(client: &mut Client) -> anyhow::Result<Vec<String>> {
    let page: Value = serde_json::from_slice(
        &client
            .send("GET", "/api/products?limit=100", None, None, 200)
            .await?,
    )?;
    let items = page
        .get("items")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    Ok(items
        .iter()
        .filter_map(|item| item.get("id").and_then(Value::as_str).map(str::to_owned))
        .collect())
}

pub(crate) async fn act(
    client: &mut Client,
    number: u64,
    products: &[String],
    answers: &RefCell<Answers>,
) -> anyhow::Result<()> {
    // A pseudo-random sequence, the same in every run.
    let dice = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33;
    let at = usize::try_from(dice)
        .unwrap_or_default()
        .checked_rem(products.len())
        .unwrap_or_default();
    let product = products.get(at).map(String::as_str).unwrap_or_default();
    let count = |action: &'static str, status: u16| {
        *answers.borrow_mut().entry((action, status)).or_default() += 1
    };
    let one_line = json!({ "product_id": product, "quantity": 1 }).to_string();
    match dice / 7 % 10 {
        0..3 => count(
            "list",
            client
                .ask("GET", "/api/products?limit=20", None, None)
                .await?
                .status,
        ),
        3..6 => count(
            "product",
            client
                .ask("GET", &format!("/api/products/{product}"), None, None)
                .await?
                .status,
        ),
        6 => count(
            "recommend",
            client
                .ask("GET", "/api/recommendations?limit=10", None, None)
                .await?
                .status,
        ),
        action => {
            let cart = client
                .ask("POST", "/api/carts", None, Some("{}".to_owned()))
                .await?;
            count("cart", cart.status);
            let cart: Value = serde_json::from_slice(&cart.body)?;
            let id = cart.get("id").and_then(Value::as_str).unwrap_or_default();
            let added = client
                .ask(
                    "POST",
                    &format!("/api/carts/{id}/items"),
                    None,
                    Some(one_line),
                )
                .await?;
            count("item", added.status);
            if action == 9 {
                let token = if dice.is_multiple_of(11) {
                    "tok_declined"
                } else {
                    "tok_visa"
                };
                let address = json!({ "name": "A", "line1": "1 B", "city": "C", "postal_code": "D", "country": "GB" });
                let body = json!({ "cart_id": id, "email": "a@b.cc", "shipping_address": address, "payment": { "token": token } });
                let key = format!("crowd-{number}");
                let order = client
                    .ask("POST", "/api/orders", Some(&key), Some(body.to_string()))
                    .await?;
                count("order", order.status);
            }
        }
    }
    Ok(())
}
