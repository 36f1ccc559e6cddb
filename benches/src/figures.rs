//! The measurements. For every figure the programs take turns, so that other work on the machine affects all of them.

use crate::bare::server as bare_server;
use crate::native::server as native_server;
use anyhow::Context as _;
use localmart_measure::load::{Client, Outcome, closed_loop};
use localmart_measure::machine::Machine;
use localmart_measure::report::{Figure, Measured, Report, Unit, ms};
use localmart_measure::server::Server;
use localmart_measure::work::{Work, first_product};
use localmart_testkit::servers;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// The names of the programs in the tables.
const OURS: &str = "localmart";
/// The native program, on axum.
const NATIVE: &str = "native axum";
/// The bare host: hyper and wasmtime.
const BARE: &str = "bare host";
/// The server of `--against`.
const OTHER: &str = "other server";

/// The warm-up of each program before a figure.
const WARM_UP: Duration = Duration::from_secs(1);
/// Measured starts of each program.
const STARTS: usize = 7;
/// Measured starts without a cache, each of which compiles everything.
const COLD_STARTS: usize = 3;

/// The options of a run.
pub(crate) struct Plan {
    /// The length of a round, in seconds.
    pub(crate) seconds: u64,
    /// The number of rounds.
    pub(crate) rounds: usize,
    /// Connections, each with one request at a time.
    pub(crate) connections: usize,
    /// Another server to measure.
    pub(crate) against: Option<String>,
    /// Measure only figures whose names contain this text.
    pub(crate) only: Option<String>,
    /// The folder for the results.
    pub(crate) out: PathBuf,
}

/// Measures everything, prints the results and writes them to files.
pub(crate) fn measure(plan: Plan) -> anyhow::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .context("the bench has no repository")?;
    let folder = std::env::temp_dir().join(format!("localmart-bench-{}", std::process::id()));
    let mut bench = Bench {
        binary: root.join("target/release/localmart"),
        root: root.to_owned(),
        folder: folder.clone(),
        report: Report {
            machine: Machine::this(root),
            title: "What it costs".to_owned(),
            how: format!(
                "Each program {} times {} s in turns, {} connections in a closed loop on the same cores.",
                plan.rounds, plan.seconds, plan.connections
            ),
            subject: OURS.to_owned(),
            references: [
                (NATIVE, "of native"),
                (BARE, "of the ceiling"),
                (OTHER, "of the other"),
            ]
            .map(|(program, words)| (program.to_owned(), words.to_owned()))
            .into(),
            groups: Vec::new(),
            left_out: Vec::new(),
        },
        plan,
    };
    let result = bench.run();
    // If this fails, the system cleans its temporary folder.
    let _ = std::fs::remove_dir_all(folder);
    result?;
    println!("\n{}", bench.report.markdown());
    let out = bench.plan.out.clone();
    match bench.plan.only {
        // A partial run must not replace the files of a full one.
        Some(_) => Ok(()),
        None => {
            let machine = &bench.report.machine;
            let day = machine.at.get(..10).unwrap_or_default();
            let name = format!("{day}-{}", machine.commit.trim_end_matches('+'));
            bench.report.write(&out, &name)
        }
    }
}

struct Bench {
    root: PathBuf,
    binary: PathBuf,
    folder: PathBuf,
    plan: Plan,
    report: Report,
}

/// A program under load: its name, its address, its work.
type Entrant = (&'static str, SocketAddr, Work);

impl Bench {
    fn run(&mut self) -> anyhow::Result<()> {
        self.starts()?;
        self.hello()?;
        self.shop(None)?;
        if self.wants("Postgres") {
            match servers::Server::durable_postgres() {
                Some(server) => self.shop(Some(&server.url()))?,
                None => println!("Postgres is not installed: its figures are left out"),
            }
        }
        Ok(())
    }

    fn wants(&self, name: &str) -> bool {
        let only = self.plan.only.as_deref().unwrap_or_default();
        name.contains(only) || only.contains(name)
    }

    fn hello_manifest(&self) -> PathBuf {
        self.root.join("benches/hello/spin.toml")
    }

    /// The time from the start of the process to the first answer.
    fn starts(&mut self) -> anyhow::Result<()> {
        let (hello, shop) = (self.hello_manifest(), self.root.join("spin.toml"));
        let built = Command::new(&self.binary)
            .args(["build", "-f"])
            .arg(&hello)
            .status();
        anyhow::ensure!(
            built.context("first: cargo build --release")?.success(),
            "hello does not build"
        );
        let warm_goals = [Some("≤ 15 ms"), Some("≤ 100 ms")];
        let apps = [
            ("hello", hello, "/reuse"),
            ("the whole shop", shop, "/api/products?limit=1"),
        ];
        for ((name, manifest, path), goal) in apps.into_iter().zip(warm_goals) {
            let state = self.folder.join(name);
            let (binary, place) = (self.binary.clone(), state.clone());
            let start = || Server::host(&binary, &manifest, &place, path, &[]);
            let figure = format!("start to first answer, cache warm: {name}");
            if self.wants(&figure) {
                let (mut ours, mut native, mut bare) = (Vec::new(), Vec::new(), Vec::new());
                // The first start compiles and migrates, so it is not measured.
                drop(start()?);
                for _ in 0..STARTS {
                    ours.push(ms(start()?.first_answer));
                    native.push(ms(native_server(&state, None, "/hello")?.first_answer));
                    bare.push(ms(bare_server(&manifest, &state, path)?.first_answer));
                }
                let of = vec![
                    Measured::plain(OURS, ours),
                    Measured::plain(NATIVE, native),
                    Measured::plain(BARE, bare),
                ];
                self.add(Figure {
                    name: figure,
                    unit: Unit::Milliseconds,
                    goal: goal.map(str::to_owned),
                    of,
                    ratios: Vec::new(),
                });
            }
            let figure = format!("start to first answer, nothing compiled: {name}");
            if self.wants(&figure) {
                let mut ours = Vec::new();
                for _ in 0..COLD_STARTS {
                    // The folder may not exist before the first start.
                    let _ = std::fs::remove_dir_all(state.join("aot"));
                    ours.push(ms(start()?.first_answer));
                }
                let of = vec![Measured::plain(OURS, ours)];
                self.add(Figure {
                    name: figure,
                    unit: Unit::Milliseconds,
                    goal: None,
                    ratios: Vec::new(),
                    of,
                });
            }
        }
        Ok(())
    }

    fn hello(&mut self) -> anyhow::Result<()> {
        if !self.wants("hello") && !self.wants("memory") {
            return Ok(());
        }
        let (manifest, state) = (self.hello_manifest(), self.folder.join("hello"));
        let ours = Server::host(&self.binary, &manifest, &state, "/reuse", &[])?;
        let bare = bare_server(&manifest, &state, "/reuse")?;
        let native = native_server(&state, None, "/hello")?;
        let get = |path: &str| Work::Get(path.to_owned());
        let other = match self.other()? {
            Some((address, path)) if path != "/" => Some((OTHER, address, Work::Get(path))),
            _ => None,
        };
        for (name, path, goal) in [
            ("hello, instances reused", "/reuse", "≥ 2.5 × Spin"),
            (
                "hello, fresh instance per request",
                "/fresh",
                "≥ 1.5 × Spin",
            ),
        ] {
            let mut entrants = vec![
                (OURS, ours.address, get(path)),
                (NATIVE, native.address, get("/hello")),
                (BARE, bare.address, get(path)),
            ];
            entrants.extend(other.clone());
            self.compare(name, Some(goal), &entrants)?;
        }
        let of = vec![
            Measured::plain(OURS, vec![ours.memory_mib()?]),
            Measured::plain(BARE, vec![bare.memory_mib()?]),
        ];
        self.add(Figure {
            name: "memory of hello after load".to_owned(),
            unit: Unit::Mebibytes,
            goal: None,
            ratios: Vec::new(),
            of,
        });
        Ok(())
    }

    /// The shop on SQLite, or on a Postgres server.
    fn shop(&mut self, database_url: Option<&str>) -> anyhow::Result<()> {
        let stores = if database_url.is_some() {
            "Postgres"
        } else {
            "SQLite"
        };
        let figures = [
            "product read",
            "product list",
            "new cart with an item",
            "cart, item and checkout",
        ];
        let named = |figure: &str| format!("{figure} ({stores})");
        if !figures.iter().any(|figure| self.wants(&named(figure))) {
            return Ok(());
        }
        let (manifest, state) = (
            self.root.join("spin.toml"),
            self.folder.join(format!("shop-{stores}")),
        );
        let flags: Vec<String> = database_url
            .map(|url| ["--variable".to_owned(), format!("database_url={url}")])
            .into_iter()
            .flatten()
            .collect();
        let ours = Server::host(&self.binary, &manifest, &state, "/api/products", &flags)?;
        self.seed(&manifest, &state, ours.address, &flags)?;
        drop(ours);
        give_stock(&state, database_url)?;
        let ours = Server::host(&self.binary, &manifest, &state, "/api/products", &flags)?;
        let idle = ours.memory_mib()?;
        let native = native_server(&state, database_url, "/hello")?;
        // The bare host has no flags, so it shows the ceiling on SQLite only.
        let bare = match database_url {
            None => Some(bare_server(&manifest, &state, "/api/products")?),
            Some(_) => None,
        };
        let other = self
            .other()?
            .filter(|(_, path)| path == "/")
            .map(|(address, _)| address);
        let product = self.block_on(first_product(ours.address))?;
        let theirs = other
            .map(|other| self.block_on(first_product(other)))
            .transpose()?;
        let goals = [
            Some("≥ 60 % of native"),
            None,
            None,
            Some("≥ 60 % of native"),
        ];
        for (figure, goal) in figures.into_iter().zip(goals) {
            let name = named(figure);
            if !self.wants(&name) {
                continue;
            }
            // The goals are for reads on SQLite and checkouts on Postgres.
            let goal = goal.filter(|_| (figure == "product read") != database_url.is_some());
            let work = |product: &str| match figure {
                "product read" => Work::Get(format!("/api/products/{product}")),
                "product list" => Work::Get("/api/products".to_owned()),
                "new cart with an item" => Work::Fill(product.to_owned()),
                _ => Work::Buy(product.to_owned()),
            };
            let mut entrants = vec![
                (OURS, ours.address, work(&product)),
                (NATIVE, native.address, work(&product)),
            ];
            entrants.extend(
                bare.as_ref()
                    .map(|bare| (BARE, bare.address, work(&product))),
            );
            if let (Some(address), Some(product)) = (other, &theirs) {
                entrants.push((OTHER, address, work(product)));
            }
            self.compare(&name, goal, &entrants)?;
        }
        let mut memory = |name: &str, goal: Option<&str>, ours: f64, native: Option<f64>| {
            let native = native.map(|native| Measured::plain(NATIVE, vec![native]));
            let of = std::iter::once(Measured::plain(OURS, vec![ours]))
                .chain(native)
                .collect();
            self.add(Figure {
                name: format!("memory of the shop on {stores}, {name}"),
                unit: Unit::Mebibytes,
                goal: goal.map(str::to_owned),
                of,
                ratios: Vec::new(),
            });
        };
        memory("idle", None, idle, None);
        memory(
            "after load",
            Some("≤ 200 MiB"),
            ours.memory_mib()?,
            Some(native.memory_mib()?),
        );
        let mut verify = Command::new(&self.binary);
        verify
            .arg("verify")
            .arg("-f")
            .arg(&manifest)
            .arg("--state-dir")
            .arg(&state)
            .args(&flags);
        // The native program writes the same rows as the shop, so the invariants must hold for both.
        anyhow::ensure!(
            verify.status()?.success(),
            "the shop on {stores} is not whole"
        );
        Ok(())
    }

    fn seed(
        &self,
        manifest: &Path,
        state: &Path,
        address: SocketAddr,
        flags: &[String],
    ) -> anyhow::Result<()> {
        let mut seed = Command::new(&self.binary);
        seed.arg("seed")
            .arg("-f")
            .arg(manifest)
            .arg("--state-dir")
            .arg(state)
            .args(flags);
        let seeded = seed
            .args(["--url", &format!("http://{address}")])
            .status()?;
        anyhow::ensure!(seeded.success(), "the shop cannot be seeded");
        Ok(())
    }

    /// The server of `--against`, and its path.
    fn other(&self) -> anyhow::Result<Option<(SocketAddr, String)>> {
        let Some(url) = &self.plan.against else {
            return Ok(None);
        };
        let uri: http::Uri = url.parse().with_context(|| format!("--against {url}"))?;
        anyhow::ensure!(
            uri.scheme_str() == Some("http"),
            "--against takes an address like http://127.0.0.1:3000"
        );
        let host = uri.host().context("--against has no host")?;
        let mut addresses = (host, uri.port_u16().unwrap_or(80)).to_socket_addrs()?;
        let address = addresses.next().context("--against has no address")?;
        Ok(Some((address, uri.path().to_owned())))
    }

    /// Measures one figure; the programs take turns.
    fn compare(
        &mut self,
        name: &str,
        goal: Option<&'static str>,
        entrants: &[Entrant],
    ) -> anyhow::Result<()> {
        if !self.wants(name) {
            return Ok(());
        }
        let time = Duration::from_secs(self.plan.seconds);
        for entrant in entrants {
            self.turn(entrant, WARM_UP)?;
        }
        let mut turns: Vec<Vec<Outcome>> = entrants.iter().map(|_| Vec::new()).collect();
        for _ in 0..self.plan.rounds {
            for (entrant, turns) in entrants.iter().zip(&mut turns) {
                turns.push(self.turn(entrant, time)?);
            }
        }
        let of = entrants
            .iter()
            .zip(&turns)
            .map(|((program, ..), turns)| Measured::load(program, turns));
        let of = of.collect();
        self.add(Figure {
            name: name.to_owned(),
            unit: Unit::PerSecond,
            goal: goal.map(str::to_owned),
            of,
            ratios: Vec::new(),
        });
        Ok(())
    }

    fn turn(&self, (program, address, work): &Entrant, time: Duration) -> anyhow::Result<Outcome> {
        let work = work.clone();
        let asking = async move |client: &mut Client, number| work.once(client, number).await;
        self.block_on(closed_loop(*address, self.plan.connections, time, asking))
            .with_context(|| program.to_string())
    }

    fn add(&mut self, figure: Figure) {
        if !self.wants(&figure.name) {
            return;
        }
        let group = match figure.name.split_once(' ') {
            Some(("start", _)) => "Start",
            Some(("memory", _)) => "Memory",
            _ => "Requests",
        };
        let figure = self.report.add(group, figure);
        let of = figure.of.iter();
        let shown = of.map(|one| format!("{}: {}", one.program, one.shown(figure.unit)));
        let shown = shown.collect::<Vec<_>>().join("; ");
        println!("{} — {shown}", figure.name);
    }

    fn block_on<T>(&self, future: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?
            .block_on(future)
    }
}

/// Adds more stock than any run sells, with the adjustments that record it.
fn give_stock(state: &Path, database_url: Option<&str>) -> anyhow::Result<()> {
    let sql = "INSERT INTO adjustments (id, product_id, delta, reason, actor, created_at) \
               SELECT 'bench-' || product_id, product_id, 1000000000, 'for the bench', 'bench', 0 FROM stock; \
               UPDATE stock SET on_hand = on_hand + 1000000000";
    match database_url {
        None => rusqlite::Connection::open(state.join("inventory.db"))?.execute_batch(sql)?,
        Some(url) => {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            runtime.block_on(async {
                let (client, connection) =
                    tokio_postgres::connect(url, tokio_postgres::NoTls).await?;
                tokio::spawn(connection);
                client
                    .batch_execute(&format!("SET search_path = inventory; {sql}"))
                    .await
            })?;
        }
    }
    Ok(())
}
