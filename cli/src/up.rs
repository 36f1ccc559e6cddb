//! `localmart up`: builds outdated components, generates secrets, migrates, serves, seeds an empty store and prints the addresses.

mod admin;
mod hello;
mod watch;

use crate::app::{AppOptions, Stores, pair};
use crate::bus::OpenBus;
use crate::client::Client;
use crate::control::{Facts, reachable};
use crate::progress::Progress;
use crate::secrets::Values;
use crate::secrets::check::check;
use crate::token::Role;
use crate::{build, clock, databases, events, migrate, open_files, routes, secrets, seed, token};
use admin::Admin;
use anyhow::{Context as _, bail};
use clap::Args;
use hello::Suggestions;
use localmart_host::app::App;
use localmart_host::capability::points;
use localmart_host::capability::sqlite::Synchronous;
use localmart_host::clock::Clock;
use localmart_host::engine::EngineOptions;
use localmart_host::limits;
use localmart_host::link::binding::{BindingOption, Bindings};
use localmart_host::log::{self, LogWriter};
use localmart_host::remote::client::{LinkTls, RemoteConfig};
use localmart_host::remote::fake::{self, Fakes};
use localmart_host::remote::sign::Key;
use localmart_host::serve::load::{ExtraMetrics, LoadOptions, load};
use localmart_host::serve::swap::{BeforeSwap, Swapper};
use localmart_host::serve::{Running, bind, start};
use localmart_host::telemetry;
use localmart_host::tls::{Files, ServerTls};
use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// The environment variable with which SpinKube names the components to run, separated by commas.
const RETAINED: &str = "SPIN_COMPONENTS_TO_RETAIN";

/// The default observe address of an application with `[application.tool.localmart]`.
pub(crate) const OBSERVE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 3001);

/// How long the token for filling an empty store is valid, in seconds.
const SEED_TOKEN_SECONDS: u64 = 900;

/// How often the bus is read for `/metrics`.
const BUS_LOOK: Duration = Duration::from_secs(2);

/// Serves the application. Flags that Spin has work as in Spin.
#[derive(Args)]
pub(crate) struct Up {
    #[command(flatten)]
    app: AppOptions,
    /// The HTTP address; port 0 chooses a free port.
    #[arg(long, env = "SPIN_HTTP_LISTEN_ADDR", default_value = "127.0.0.1:3000", value_parser = address)]
    listen: SocketAddr,
    /// The certificate chain of the HTTP address, in PEM; the shop then serves HTTPS. The file is read again when it changes.
    #[arg(long, env = "SPIN_TLS_CERT", value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The private key of the certificate, in PEM.
    #[arg(long, env = "SPIN_TLS_KEY", value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// The address of /healthz, /readyz and /metrics. Default: 127.0.0.1:3001 for an application with [application.tool.localmart],
    /// none for others.
    #[arg(long, value_parser = address)]
    observe_listen: Option<SocketAddr>,
    /// An environment variable for every component, as NAME=value; may be repeated.
    #[arg(long = "env", short = 'e', value_name = "NAME=VALUE", value_parser = pair)]
    environment: Vec<(String, String)>,
    /// Run only this component; may be repeated.
    #[arg(long, short = 'c', visible_alias = "only", env = RETAINED, value_delimiter = ',')]
    component_id: Vec<String>,
    /// Print and log only errors.
    #[arg(long, short = 'q')]
    quiet: bool,
    /// The binding of links: fused or isolated for all links, or caller->callee=fused for one; may be repeated. Default: isolated.
    #[arg(long = "binding", value_name = "BINDING")]
    bindings: Vec<BindingOption>,
    /// A component that another shop runs, with the address for link calls of that shop, as catalog=http://10.0.0.2:4000; may be
    /// repeated.
    #[arg(long = "remote", value_name = "COMPONENT=URL", value_parser = pair)]
    remotes: Vec<(String, String)>,
    /// A file that answers the calls to the components in it, which then do not run: a recording of localmart traffic, or one
    /// written by hand; may be repeated. With --component-id, a component runs alone.
    #[arg(long = "fake", value_name = "FILE")]
    fakes: Vec<PathBuf>,
    /// The address for link calls from other shops. Both shops need the same LOCALMART_LINK_KEY, or the same state folder.
    #[arg(long, value_parser = address)]
    link_listen: Option<SocketAddr>,
    /// The certificate of this shop for link calls, in PEM; links to https addresses and the address for links then have TLS, and
    /// both shops prove who they are.
    #[arg(long, value_name = "FILE", requires_all = ["link_tls_key", "link_tls_ca"])]
    link_tls_cert: Option<PathBuf>,
    /// The private key of that certificate, in PEM.
    #[arg(long, value_name = "FILE", requires = "link_tls_cert")]
    link_tls_key: Option<PathBuf>,
    /// The authority that signed the certificates of all shops that call each other, in PEM.
    #[arg(long, value_name = "FILE", requires = "link_tls_cert")]
    link_tls_ca: Option<PathBuf>,
    /// For tests: use a clock that localmart clock advance moves. The state folder keeps the time until the next start.
    #[arg(long, conflicts_with_all = ["remotes", "link_listen"])]
    test_clock: bool,
    /// Run the build commands of the manifest first.
    #[arg(long)]
    build: bool,
    /// Rebuild components when their sources change, and swap them while the shop runs.
    #[arg(long, conflicts_with = "no_build")]
    watch: bool,
    /// Serve the built components, even if their sources are newer.
    #[arg(long)]
    no_build: bool,
    /// Do not add products to an empty store.
    #[arg(long)]
    no_seed: bool,
    /// The number of threads. Default: one per core.
    #[arg(long)]
    threads: Option<usize>,
    /// The limit for the linear memory of one instance, in bytes.
    #[arg(long, env = "SPIN_MAX_INSTANCE_MEMORY")]
    max_instance_memory: Option<usize>,
    /// Allocate each instance on its own instead of from a pool.
    #[arg(long)]
    disable_pooling: bool,
    /// Do not cache compiled components.
    #[arg(long)]
    disable_cache: bool,
    /// The folder of the cache for compiled components. Default: aot in the state folder.
    #[arg(long)]
    cache_dir: Option<PathBuf>,
    /// For tests: the action at a named point, name=kill or name=hold-first:PATH
    #[arg(long = "point", hide = true, value_parser = named_point)]
    points: Vec<NamedPoint>,
}

/// Reads an address to listen on, whose host may be a name of this machine.
fn address(text: &str) -> Result<SocketAddr, String> {
    let found = text.to_socket_addrs().ok().and_then(|mut all| all.next());
    found.ok_or_else(|| "write HOST:PORT, such as 127.0.0.1:3000 or localhost:0".to_owned())
}

impl Up {
    pub(crate) fn run(mut self) -> anyhow::Result<()> {
        log_as_json(self.quiet)?;
        open_files::raise();
        if let (Some(reference), true) = (self.app.reference(), self.build || self.watch) {
            bail!(
                "{reference} is in a registry; --build and --watch need the folder of its sources"
            );
        }
        let source = self.app.source()?;
        self.app.without_missing_runtime_config();
        let fakes = fake::read(&self.fakes)?;
        telemetry::start(&source.parse()?.application.name)?;
        let progress = Progress::new(self.quiet);
        let mut app = self.app.app(self.environment.clone(), self.retained())?;
        check(&app)?;
        let testing = !self.points.is_empty();
        if self.build || (!self.no_build && !testing && build::is_stale(&source)?) {
            build::build(&source, &[], false)?;
        }
        if testing {
            use_points(&mut app);
        }
        let state_dir = self.app.state_dir(&source);
        keep_log(&state_dir);
        // Nothing may change before the clock of the state folder and the addresses are checked.
        let clock = Clock::open(&state_dir, self.test_clock)?;
        let listener = bind(self.listen, "--listen")?;
        let ours = app.tool.is_some();
        let observe = self.observe_listen.or(ours.then_some(OBSERVE));
        let observe = observe
            .map(|address| bind(address, "--observe-listen"))
            .transpose()?;
        let links = self.link_listen.map(|address| {
            let listener = bind(address, "--link-listen")?;
            anyhow::Ok((listener, link_key(&state_dir)?))
        });
        let links = links.transpose()?;
        let mut variables = app.variables.clone();
        let facts = Facts::of(&app, &state_dir, listener.local_addr()?);
        databases::check_used(&app, &state_dir, &self.app.runtime_config()?)?;
        let mut admin = None;
        if ours {
            progress.step("migrating the databases");
            Stores::of(&app).check_redis()?;
            migrate::migrate(&app, &state_dir)?;
            if !self.away(&fakes).any(|id| id == admin::SERVICE) {
                admin = Admin::of(&app, &self.app.given()?, &state_dir, &mut variables)?;
            }
        }
        let lines = routes::table(&app, "{base}");
        let suggestions = Suggestions::of(&app);
        let mut options = self.load_options(&app, &state_dir, clock, fakes)?;
        let compiling = "compiling components (those compiled before are reused)";
        let step = progress.counted(compiling, app.components.len());
        options.progress = Some(Box::new(move |done, _| step.at(done)));
        let before = before_swaps(&app, &state_dir);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let loaded = Arc::new(runtime.block_on(load(app, options))?);
        if loaded.report.iter().any(|one| !one.cached) {
            crate::give_memory_back();
        }
        let threads = self
            .threads
            .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
        let running = start(loaded.clone(), listener, observe, links, threads)?;
        tracing::info!(address = %running.address, process = std::process::id(), "serving");
        let swapper = Swapper::new(loaded.clone(), before);
        if self.watch {
            watch::begin(swapper.clone(), source.clone())?;
        }
        let scheme = loaded.scheme();
        let base = format!("{scheme}://{}", running.address);
        let now = clock::now(&state_dir)?;
        let staff = token::make(&variables, Role::Staff, SEED_TOKEN_SECONDS, now);
        let _control = control(
            &swapper,
            facts.serving(&running, loaded.tls.is_some()),
            variables,
        );
        let runs = |component: &str| loaded.deployments.contains_key(component);
        if ours && !self.no_seed && seed::SERVICES.iter().all(|service| runs(service)) {
            let here = format!("{scheme}://{}", reachable(running.address));
            let client = Client::new(&here, staff?);
            seed::if_empty(&client, &state_dir, &progress).context("seeding the empty store")?;
        }
        loaded.readiness.ready();
        progress.ready();
        if !self.quiet {
            announce(&base, &running, &lines)?;
            if loaded.clock.is_test() {
                let shown = clock::line(&localmart_host::control::clock::status(&loaded.clock));
                println!("Clock: {shown}");
            }
            if let Some(admin) = admin {
                println!("{}", admin.line());
            }
            suggestions.write(&mut std::io::stdout(), &base)?;
        }
        wait(&runtime)?;
        let drained = running.drain();
        telemetry::flush();
        if !drained {
            eprintln!(
                "some requests were cut off after {} s",
                limits::DRAIN_TIMEOUT.as_secs()
            );
        }
        Ok(())
    }

    /// The components to run; all if empty.
    fn retained(&self) -> Vec<String> {
        let named = self.component_id.iter().filter(|id| !id.is_empty());
        named.cloned().collect()
    }

    /// The certificate of the HTTP address.
    fn tls(&self) -> anyhow::Result<Option<Arc<ServerTls>>> {
        let files = self.tls_cert.as_deref().zip(self.tls_key.as_deref());
        let read = |(certificate, key): (&Path, &Path)| {
            ServerTls::read(Files {
                certificate: certificate.to_owned(),
                key: key.to_owned(),
                clients: None,
            })
        };
        files.map(read).transpose()
    }

    /// TLS of the links between shops.
    fn link_tls(&self) -> anyhow::Result<Option<LinkTls>> {
        match (&self.link_tls_cert, &self.link_tls_key, &self.link_tls_ca) {
            (Some(certificate), Some(key), Some(authority)) => {
                LinkTls::read(certificate, key, authority).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// Components that do not run here.
    fn away<'a>(&'a self, fakes: &'a Fakes) -> impl Iterator<Item = String> {
        let remote = self.remotes.iter().map(|(component, _)| component);
        remote.chain(fakes.keys()).cloned()
    }

    fn load_options(
        &self,
        app: &App,
        state_dir: &Path,
        clock: Clock,
        fakes: Fakes,
    ) -> anyhow::Result<LoadOptions> {
        let runtime_config = self.app.runtime_config()?;
        let mut named = BTreeMap::new();
        for NamedPoint(point) in &self.points {
            named.insert(point.0.clone(), point.1.unused_copy());
        }
        Ok(LoadOptions {
            engine: EngineOptions {
                max_instance_memory: self
                    .max_instance_memory
                    .or(runtime_config.max_instance_memory)
                    .unwrap_or(limits::INSTANCE_MEMORY_BYTES),
                pooling: !self.disable_pooling,
            },
            state_dir: state_dir.to_owned(),
            aot: (!self.disable_cache).then(|| {
                self.cache_dir
                    .clone()
                    .unwrap_or_else(|| state_dir.join("aot"))
            }),
            synchronous: synchronous(app)?,
            runtime_config,
            bindings: Bindings::from_options(&self.bindings).with_remote(self.away(&fakes)),
            remotes: RemoteConfig {
                addresses: self.remotes.iter().cloned().collect(),
                key: match self.remotes.is_empty() {
                    true => None,
                    false => Some(link_key(state_dir)?),
                },
                tls: self.link_tls()?,
                fakes,
            },
            tls: self.tls()?,
            extra_metrics: app
                .tool
                .is_some()
                .then(|| bus_metrics(Stores::of(app), state_dir.to_owned())),
            points: (!named.is_empty()).then_some(named),
            clock,
            progress: None,
        })
    }
}

/// The key of links between shops.
fn link_key(state_dir: &Path) -> anyhow::Result<Key> {
    Ok(Key::new(&secrets::link_key(state_dir)?))
}

/// Applies the migrations of a new generation before it serves.
fn before_swaps(app: &App, state_dir: &Path) -> BeforeSwap {
    if app.tool.is_none() {
        return Box::new(|_, _| Ok(()));
    }
    let (stores, state_dir) = (Stores::of(app), state_dir.to_owned());
    Box::new(move |_, file| {
        migrate::migrate_one(&stores, &state_dir, &file.bytes, &file.path).map(drop)
    })
}

/// The control socket. A host serves without one too, but commands cannot reach it.
#[cfg(unix)]
fn control(
    swapper: &Arc<Swapper>,
    facts: Facts,
    variables: Values,
) -> Option<localmart_host::control::Control> {
    let (port, facts) = (facts.address.port(), serde_json::to_value(facts));
    let about = localmart_host::control::About {
        facts: facts.unwrap_or_default(),
        variables,
    };
    match localmart_host::control::start(swapper.clone(), port, about) {
        Ok(control) => Some(control),
        Err(error) => {
            tracing::warn!(
                error = format!("{error:#}"),
                "there is no control socket; verbs cannot reach this shop"
            );
            None
        }
    }
}

#[cfg(not(unix))]
fn control(_: &Arc<Swapper>, _: Facts, _: Values) {}

/// Reads the bus periodically. `/metrics` shows the latest values.
fn bus_metrics(stores: Stores, state_dir: PathBuf) -> ExtraMetrics {
    let seen: Arc<Mutex<String>> = Arc::default();
    let shown = seen.clone();
    std::thread::spawn(move || {
        let mut bus = None;
        loop {
            if bus.is_none() {
                bus = OpenBus::open(&stores, &state_dir).ok();
            }
            let text = bus.as_ref().and_then(|bus| events::metrics(bus).ok());
            match (text, seen.lock()) {
                (Some(text), Ok(mut seen)) => *seen = text,
                // The next round opens the bus again.
                _ => bus = None,
            }
            std::thread::sleep(BUS_LOOK);
        }
    });
    Box::new(move || shown.lock().map(|seen| seen.clone()).unwrap_or_default())
}

/// An action, in a form that clap can clone.
#[derive(Clone)]
struct NamedPoint(Arc<(String, points::Action)>);

fn named_point(text: &str) -> Result<NamedPoint, String> {
    points::parse(text).map(|point| NamedPoint(Arc::new(point)))
}

/// With named points, the components in dist/points are used.
fn use_points(app: &mut App) {
    let dist = app.source.folder().join("dist");
    for spec in app.components.values_mut() {
        if let Ok(inner) = spec.wasm.strip_prefix(&dist) {
            spec.wasm = dist.join("points").join(inner);
        }
    }
}

fn synchronous(app: &App) -> anyhow::Result<Synchronous> {
    let tool = app.tool.as_ref();
    match tool.and_then(|tool| tool.sqlite_synchronous.as_deref()) {
        None | Some("normal") => Ok(Synchronous::Normal),
        Some("full") => Ok(Synchronous::Full),
        Some(other) => bail!("sqlite_synchronous is `{other}`; it must be normal or full"),
    }
}

fn announce(base: &str, running: &Running, routes: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "Serving {base}")?;
    writeln!(out, "Available Routes:")?;
    write!(out, "{}", routes.replace("{base}", base))?;
    if let Some(links) = running.links {
        writeln!(out, "Links: {links}")?;
    }
    if let Some(observe) = running.observe {
        writeln!(out, "Observe: http://{observe}/metrics")?;
    }
    out.flush()?;
    Ok(())
}

/// Returns on ctrl-c or SIGTERM.
fn wait(runtime: &tokio::runtime::Runtime) -> anyhow::Result<()> {
    runtime.block_on(async {
        #[cfg(unix)]
        {
            use tokio::signal::unix::{SignalKind, signal};
            let mut terminate = signal(SignalKind::terminate())?;
            tokio::select! {
                interrupted = tokio::signal::ctrl_c() => interrupted?,
                _ = terminate.recv() => {}
            }
        }
        #[cfg(not(unix))]
        tokio::signal::ctrl_c().await?;
        Ok(())
    })
}

/// Also keeps the log in the state folder. A failure does not stop the host.
fn keep_log(state_dir: &Path) {
    if let Err(error) = log::keep(state_dir) {
        tracing::warn!(
            error = format!("{error:#}"),
            "the log is not kept; localmart logs does not show it"
        );
    }
}

/// Writes the log to the standard error output, a line of JSON for each event.
pub(crate) fn log_as_json(quiet: bool) -> anyhow::Result<()> {
    use tracing_subscriber::filter::Targets;
    use tracing_subscriber::prelude::*;
    let default = if quiet { "error" } else { "info" };
    let wanted = std::env::var("RUST_LOG").unwrap_or_else(|_| default.to_owned());
    let filter: Targets = wanted.parse().with_context(|| {
        format!("RUST_LOG={wanted}: expected a level or TARGET=LEVEL, separated by commas")
    })?;
    let lines = tracing_subscriber::fmt::layer()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_writer(|| LogWriter);
    tracing_subscriber::registry()
        .with(lines.with_filter(filter))
        .try_init()
        .map_err(|error| anyhow::anyhow!("starting the log: {error}"))
}
