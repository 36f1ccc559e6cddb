//! Orders per second over the number of shoppers, on the embedded stores, on Postgres, and on Postgres with Redis. Every
//! shopper makes a cart with one of many products and orders it, again and again.

use crate::stress::{self, Client as Staff};
use anyhow::{Context as _, ensure};
use clap::Args;
use localmart_measure::load::closed_loop;
use localmart_measure::server::{Server, free_address};
use localmart_measure::work::Work;
use localmart_testkit::servers;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// The time before the first figure, so that instances, connections and caches exist.
const WARM_UP: Duration = Duration::from_secs(3);

/// Orders per second over the number of shoppers.
#[derive(Args)]
pub(crate) struct Crowd {
    /// The numbers of shoppers.
    #[arg(long, value_delimiter = ',', default_values_t = [8, 32, 64, 128])]
    shoppers: Vec<usize>,
    /// Seconds for each number.
    #[arg(long, default_value_t = 15)]
    seconds: u64,
    /// Only these stores; may be repeated.
    #[arg(long, value_enum)]
    only: Vec<Stores>,
    /// The limit of connections to Postgres. The default is that of the host.
    #[arg(long)]
    connections: Option<usize>,
    /// All shoppers buy the same product.
    #[arg(long)]
    one_product: bool,
    /// Measure the shop at this address instead, such as one under spin up, with this staff token.
    #[arg(long, requires = "token")]
    against: Option<SocketAddr>,
    /// A staff token for `--against`.
    #[arg(long)]
    token: Option<String>,
    /// The host. The default is the one beside this program.
    #[arg(long)]
    binary: Option<std::path::PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Stores {
    Embedded,
    Postgres,
    Servers,
}

impl Crowd {
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        println!("| stores | shoppers | orders/s | of the first | p50 | p99 | sessions opened |");
        println!("|---|---|---|---|---|---|---|");
        if let (Some(address), Some(token)) = (self.against, &self.token) {
            return self.measure("other", address, token.clone(), None);
        }
        for stores in [Stores::Embedded, Stores::Postgres, Stores::Servers] {
            if self.only.is_empty() || self.only.contains(&stores) {
                self.on(stores)?;
            }
        }
        Ok(())
    }

    fn on(&self, stores: Stores) -> anyhow::Result<()> {
        let beside = std::env::current_exe()?.with_file_name("localmart");
        let binary = self.binary.clone().unwrap_or(beside);
        ensure!(
            binary.exists(),
            "{} is missing; build it first",
            binary.display()
        );
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
        let manifest = root
            .context("the bench has no repository")?
            .join("spin.toml");
        let state = std::env::temp_dir().join(format!("localmart-crowd-{}", std::process::id()));
        std::fs::create_dir_all(&state)?;
        let postgres = match stores {
            Stores::Embedded => None,
            _ => Some(servers::Server::postgres().context("Postgres is not installed")?),
        };
        let redis = match stores {
            Stores::Servers => Some(servers::Server::redis().context("Redis is not installed")?),
            _ => None,
        };
        let mut flags = Vec::new();
        for (name, server) in [("database_url", &postgres), ("redis_url", &redis)] {
            if let Some(server) = server {
                flags.extend(["--variable".to_owned(), format!("{name}={}", server.url())]);
            }
        }
        if let Some(connections) = self.connections {
            let config = state.join("runtime-config.toml");
            std::fs::write(
                &config,
                format!("[outbound_pg]\nmax_connections = {connections}\n"),
            )?;
            flags.extend([
                "--runtime-config-file".to_owned(),
                config.display().to_string(),
            ]);
        }
        let (address, observe) = (free_address()?, free_address()?);
        let mut command = Command::new(&binary);
        command.stderr(std::process::Stdio::null());
        command
            .arg("up")
            .arg("-f")
            .arg(&manifest)
            .arg("--state-dir")
            .arg(&state);
        command.args(["--no-build", "--no-seed"]).args(&flags);
        command.args(["--listen", &address.to_string()]);
        command.args(["--observe-listen", &observe.to_string()]);
        let shop = Server::start(command, address, "/api/products")?;
        let token = Command::new(&binary)
            .args(["token", "--role", "staff", "-f"])
            .arg(&manifest)
            .arg("--state-dir")
            .arg(&state)
            .output()?;
        let token = String::from_utf8(token.stdout)?.trim().to_owned();
        let name = format!("{stores:?}").to_lowercase();
        let measured = self.measure(&name, shop.address, token, Some(observe));
        drop(shop);
        // What could not be removed is in the temporary folder.
        let _ = std::fs::remove_dir_all(&state);
        measured
    }

    fn measure(
        &self,
        name: &str,
        address: SocketAddr,
        token: String,
        observe: Option<SocketAddr>,
    ) -> anyhow::Result<()> {
        let mut products = stress::fill(&Staff::new(address, Some(token)))?;
        if self.one_product {
            products.truncate(1);
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let run = |shoppers: usize, time: Duration| {
            let products = products.clone();
            runtime.block_on(closed_loop(
                address,
                shoppers,
                time,
                async move |client, number| {
                    let place =
                        usize::try_from(number >> 32)? + usize::try_from(number & 0xffff_ffff)?;
                    let product = products.get(place % products.len());
                    let product = product.context("there are no products")?;
                    Work::Buy(product.clone()).once(client, number).await
                },
            ))
        };
        run(8, WARM_UP)?;
        let mut first = None;
        for shoppers in &self.shoppers {
            let before = sessions(observe)?;
            let outcome = run(*shoppers, Duration::from_secs(self.seconds))?;
            let first = *first.get_or_insert(outcome.per_second);
            println!(
                "| {name} | {shoppers} | {:.0} | {:.0} % | {:.0?} | {:.0?} | {} |",
                outcome.per_second,
                outcome.per_second / first * 100.0,
                outcome.p50,
                outcome.p99,
                sessions(observe)?.saturating_sub(before),
            );
        }
        Ok(())
    }
}

/// The sessions that the host has opened at Postgres so far.
fn sessions(observe: Option<SocketAddr>) -> anyhow::Result<u64> {
    let Some(observe) = observe else { return Ok(0) };
    let mut response = ureq::get(format!("http://{observe}/metrics")).call()?;
    let metrics = response.body_mut().read_to_string()?;
    let line = "localmart_postgres_sessions_opened_total ";
    let found = metrics.lines().find_map(|text| text.strip_prefix(line));
    Ok(found
        .and_then(|count| count.parse().ok())
        .unwrap_or_default())
}
