//! Loading: from a resolved application to components that can be instantiated. [`component_loader`] compiles and links
//! them, [`entry_points`] finds their callable exports, [`files`] copies their files, [`sources`] finds databases and
//! downloads.

pub mod check_links;
pub mod component_loader;
mod entry_points;
mod files;
mod sources;

use super::clients::Clients;
use super::core::CoreCommand;
use super::deployment::{Deployment, Generation};
use super::overview::Overview;
use super::request_limits::RequestLimits;
use crate::aot::AotCache;
use crate::app::Subscription;
use crate::app::{App, RouteSpec};
use crate::capability;
use crate::capability::key_value::KeyValue;
use crate::capability::messages::Messages;
use crate::capability::points::Points;
use crate::capability::postgres::pool::Postgres;
use crate::capability::redis::Redis;
use crate::capability::sqlite::Synchronous;
use crate::capability::state::{LoadedComponent, Servers};
use crate::clock::Clock;
use crate::engine::{self, EngineOptions, Ticker};
use crate::fault::Faults;
use crate::limits;
use crate::link::binding::Bindings;
use crate::metrics::{Metrics, RouteMetrics};
use crate::policy::Policies;
use crate::record::Recorder;
use crate::remote::client::{self, LinkTls, RemoteComponent, RemoteConfig};
use crate::remote::provider::Provider;
use crate::runtime_config::RuntimeConfig;
use crate::serve::observe::Readiness;
use crate::tls::ServerTls;
use crate::wiring::plan;
use anyhow::Context as _;
use component_loader::{CompiledComponent, ComponentLoader, UnlinkedComponent};
use http::uri::Scheme;
use rayon::iter::{IntoParallelRefIterator as _, ParallelIterator as _};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::{RwLock, mpsc};
use wasmtime::Engine;
use wasmtime::component::Linker;
use wasmtime::component::types::ComponentItem;

/// Produces additional metrics in the Prometheus text format.
pub type ExtraMetrics = Box<dyn Fn() -> String + Send + Sync>;

/// Called after each compiled component, with the number of finished components and their total.
pub type Progress = Box<dyn Fn(usize, usize) + Send + Sync>;

/// How to load an application.
pub struct LoadOptions {
    /// Settings of the wasmtime engine.
    pub engine: EngineOptions,
    /// The folder for databases, caches and copied files.
    pub state_dir: PathBuf,
    /// The folder of the cache for compiled components; `None` disables the cache.
    pub aot: Option<PathBuf>,
    /// Whether a commit waits for the disk.
    pub synchronous: Synchronous,
    /// The runtime configuration: where stores are.
    pub runtime_config: RuntimeConfig,
    /// How links are bound.
    pub bindings: Bindings,
    /// Addresses of components on other hosts.
    pub remotes: RemoteConfig,
    /// The certificate of the HTTP address; `None` for plain HTTP.
    pub tls: Option<Arc<ServerTls>>,
    /// Additional metrics for `/metrics`, computed at each scrape.
    pub extra_metrics: Option<ExtraMetrics>,
    /// Test points with an action; `None` does not offer the test interface at all.
    pub points: Option<Points>,
    /// The wall clock that guests see.
    pub clock: Clock,
    /// Receives the progress of loading.
    pub progress: Option<Progress>,
}

/// An application that is ready to serve.
pub struct Loaded {
    /// The name of the application.
    pub name: String,
    /// Whether the application has a `[application.tool.localmart]` table: errors of the host are problem+json and
    /// guests get no `spin-*` routing headers.
    pub ours: bool,
    /// The answer to requests that no route matches; `None` if they are answered as in Spin, with an empty body.
    pub overview: Option<Overview>,
    /// Components that run in their own instances, by id.
    pub deployments: BTreeMap<String, Arc<Deployment>>,
    /// The routes, best match first.
    pub routes: Vec<LoadedRoute>,
    /// The clients and their limits.
    pub clients: Arc<Clients>,
    /// The counts of limited requests.
    pub request_limits: RequestLimits,
    /// Delivery of messages to components with Redis triggers.
    pub messages: Arc<Messages>,
    /// Which component subscribes to which channel.
    pub subscriptions: Vec<Subscription>,
    /// The metrics of the host.
    pub metrics: Metrics,
    /// Additional metrics for `/metrics`.
    pub extra_metrics: Option<ExtraMetrics>,
    /// Whether the application takes requests. The program that starts the host sets it to ready.
    pub readiness: Readiness,
    /// How each component was loaded.
    pub report: Vec<LoadReport>,
    /// The number of generations on trial that requests can select by a header.
    pub header_trials: AtomicUsize,
    /// Recording of link calls.
    pub recorder: Recorder,
    /// Injected faults.
    pub faults: Arc<Faults>,
    /// The wall clock that guests see.
    pub clock: Clock,
    /// Held for reading during a timer's request, for writing while the clock is moved.
    pub timers: RwLock<()>,
    /// The components on other hosts that this application calls.
    pub remotes: BTreeMap<String, Provider>,
    /// TLS of the links between hosts; `None` for plain HTTP.
    pub link_tls: Option<LinkTls>,
    /// The certificate of the HTTP address; `None` for plain HTTP.
    pub tls: Option<Arc<ServerTls>>,
    /// Compiles and links further generations.
    pub loader: ComponentLoader,
    cores: Mutex<Vec<mpsc::UnboundedSender<CoreCommand>>>,
    /// The core that gets the next command.
    turn: AtomicUsize,
    _ticker: Ticker,
}

/// A route and its metrics.
pub struct LoadedRoute {
    /// The route.
    pub spec: RouteSpec,
    /// Its metrics, if it has a static response. Metrics of other routes belong to the component.
    pub metrics: Option<RouteMetrics>,
}

/// How a component was loaded.
pub struct LoadReport {
    /// The id of the component.
    pub component: String,
    /// Whether its machine code came from the cache.
    pub cached: bool,
    /// How long it took to read and compile the component, or to load it from the cache.
    pub time: Duration,
}

impl Loaded {
    /// The scheme of the HTTP address.
    pub fn scheme(&self) -> Scheme {
        match self.tls {
            Some(_) => Scheme::HTTPS,
            None => Scheme::HTTP,
        }
    }

    /// The connections to Postgres servers.
    pub fn postgres(&self) -> &Postgres {
        &self.loader.servers.postgres
    }

    /// Registers a core, which then receives commands.
    pub fn register_core(&self, inbox: mpsc::UnboundedSender<CoreCommand>) {
        if let Ok(mut cores) = self.cores.lock() {
            cores.push(inbox);
        }
    }

    /// Sends a command to one core, in round-robin order.
    pub fn send_to_one(&self, command: CoreCommand) -> anyhow::Result<()> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let next = || {
            let cores = self.cores.lock().ok()?;
            let place = turn.checked_rem(cores.len())?;
            cores.get(place).cloned()
        };
        let give_up = Instant::now() + limits::CORE_START_TIMEOUT;
        let core = loop {
            match next() {
                Some(core) => break core,
                // The threads may not have started yet.
                None if Instant::now() < give_up => std::thread::sleep(Duration::from_millis(1)),
                None => anyhow::bail!("no core is running"),
            }
        };
        core.send(command)
            .map_err(|_| anyhow::anyhow!("the host is shutting down"))
    }

    /// Sends a command to every core. Cores that have ended are skipped.
    pub fn send_to_all(&self, command: impl Fn() -> CoreCommand) {
        if let Ok(cores) = self.cores.lock() {
            for core in cores.iter() {
                let _ = core.send(command());
            }
        }
    }
}

/// Loads an application.
pub async fn load(app: App, options: LoadOptions) -> anyhow::Result<Loaded> {
    let engine = engine::engine(options.engine)?;
    let ticker = engine::tick(&engine)?;
    let mut linker = Linker::new(&engine);
    capability::add_to_linker(&mut linker, options.points.is_some())?;
    std::fs::create_dir_all(&options.state_dir)
        .with_context(|| format!("making the state folder {}", options.state_dir.display()))?;
    let mut plans = plan::plan(&app, &options.bindings)?;
    let running = plans.values().map(|plan| &plan.spec);
    let databases = sources::databases(&app, running, &options)?;
    let redis = Arc::new(Redis::default());
    let stores_used = |plan: &plan::DeploymentPlan| !plan.spec.key_value_stores.is_empty();
    let file = options.state_dir.join("key-value.db");
    let key_value = KeyValue::open(
        &file,
        plans.values().any(stores_used),
        &options.runtime_config.key_value_stores,
        &redis,
        options.synchronous,
    );
    let key_value = key_value
        .await
        .map_err(|reason| anyhow::anyhow!("opening the key-value store: {reason}"))?;
    let metrics = Metrics::new()?;
    let messages = Arc::new(Messages::new(&app.subscriptions));
    let ours = app.tool.is_some();
    let servers = Arc::new(Servers {
        postgres: Arc::new(Postgres::new(options.runtime_config.postgres_connections)),
        redis,
        messages: messages.clone(),
        embedded_messages: ours,
        ours,
    });
    let (mut specs, fetched) = (app.components, options.state_dir.join("fetched"));
    let runs = |id: &String, plans: &BTreeMap<String, plan::DeploymentPlan>| {
        plans
            .values()
            .any(|plan| plan.spec.id == *id || plan.fused.contains(id))
    };
    for (id, spec) in &mut specs {
        if runs(id, &plans) {
            sources::fetch(spec, &app.source, &fetched)?;
        }
    }
    for plan in plans.values_mut() {
        sources::fetch(&mut plan.spec, &app.source, &fetched)?;
    }
    let remotes = find_remotes(&plans, &options.remotes).await?;
    let faults = Arc::<Faults>::default();
    let mut mounted = BTreeMap::new();
    for plan in plans.values() {
        let files = files::files(&plan.spec, &app.source, &options.state_dir)?;
        mounted.insert(plan.spec.id.clone(), files);
    }
    let loader = ComponentLoader {
        mounted,
        faults: faults.clone(),
        engine: engine.clone(),
        policies: Policies::new()?,
        remotes: remotes.clone(),
        linker,
        cache: AotCache::new(options.aot),
        source: app.source,
        databases,
        key_value,
        servers,
        points: Arc::new(options.points.unwrap_or_default()),
        clock: options.clock.clone(),
        max_memory: options.engine.max_instance_memory,
        metrics: metrics.clone(),
        specs,
        plans,
        routes: routes_of(&app.routes),
    };
    let (components, report) = load_all(&loader, options.progress)?;
    let deployments = components.into_iter().map(|component| {
        (
            component.id.to_string(),
            Arc::new(Deployment::new(Generation::new(component))),
        )
    });
    let deployments: BTreeMap<String, Arc<Deployment>> = deployments.collect();
    let routes = app.routes.into_iter().map(|spec| LoadedRoute {
        metrics: spec
            .component()
            .is_none()
            .then(|| metrics.route(spec.answerer(), 0, &spec.text)),
        spec,
    });
    let routes: Vec<LoadedRoute> = routes.collect();
    let deployed = |id: &str| {
        loader
            .specs
            .get(id)
            .filter(|_| deployments.contains_key(id))
    };
    let overview = ours.then(|| Overview::new((&app.name, &app.description), &routes, deployed));
    Ok(Loaded {
        name: app.name,
        ours,
        overview,
        deployments,
        routes,
        clients: Arc::new(Clients::new(app.client_limits.fit_to_open_files())),
        request_limits: RequestLimits::new(app.request_limits),
        messages,
        subscriptions: app.subscriptions,
        metrics,
        extra_metrics: options.extra_metrics,
        readiness: Readiness::default(),
        report,
        header_trials: AtomicUsize::new(0),
        recorder: Recorder::default(),
        faults,
        clock: options.clock,
        timers: RwLock::default(),
        remotes,
        tls: options.tls,
        link_tls: options.remotes.tls,
        loader,
        cores: Mutex::default(),
        turn: AtomicUsize::new(0),
        _ticker: ticker,
    })
}

/// Asks other hosts for the components that this application calls.
async fn find_remotes(
    plans: &BTreeMap<String, plan::DeploymentPlan>,
    remotes: &RemoteConfig,
) -> anyhow::Result<BTreeMap<String, Provider>> {
    let fakes = remotes.fakes.iter();
    let mut found: BTreeMap<String, Provider> = fakes
        .map(|(component, fake)| (component.clone(), Provider::File(fake.clone())))
        .collect();
    let client = client::http(remotes.tls.as_ref());
    for component in plans.values().flat_map(|plan| &plan.remote) {
        let address = remotes.addresses.get(component);
        if let (Some(address), Some(key)) = (address, &remotes.key)
            && !found.contains_key(component)
        {
            found.insert(
                component.clone(),
                Provider::Host(
                    RemoteComponent::discover(component, address, (key, &client)).await?,
                ),
            );
        }
    }
    Ok(found)
}

/// The routes of each component: position and text.
fn routes_of(routes: &[RouteSpec]) -> BTreeMap<String, Vec<(usize, String)>> {
    let mut of = BTreeMap::<String, Vec<(usize, String)>>::new();
    for (place, route) in routes.iter().enumerate() {
        if let Some(id) = route.component() {
            let mine = of.entry(id.to_owned()).or_default();
            mine.push((place, route.text.clone()));
        }
    }
    of
}

/// Compiles and links the first generation of all components, with one thread per core.
fn load_all(
    loader: &ComponentLoader,
    progress: Option<Progress>,
) -> anyhow::Result<(Vec<LoadedComponent>, Vec<LoadReport>)> {
    let files = loader.read()?;
    // A pool of its own, so that the memory that compiling uses in its threads is released when they end.
    let compilers = rayon::ThreadPoolBuilder::new().build();
    let compilers = compilers.context("starting the compiler threads")?;
    let plans: Vec<&plan::DeploymentPlan> = loader.plans().values().collect();
    let done = AtomicUsize::new(0);
    let prepare = |plan: &&plan::DeploymentPlan| {
        let prepared = loader.prepare(plan, &files);
        let done = done.fetch_add(1, Ordering::Relaxed) + 1;
        if let Some(progress) = &progress {
            progress(done, plans.len());
        }
        prepared
    };
    let prepared: Vec<UnlinkedComponent> =
        compilers.install(|| plans.par_iter().map(prepare).collect::<anyhow::Result<_>>())?;
    let report = prepared.iter().map(|one| LoadReport {
        component: one.id.clone(),
        cached: one.compiled.cached,
        time: one.compiled.time,
    });
    let report = report.collect();
    // Linking checks callers against the compiled callees, so all compiled components stay available until all are
    // linked.
    let known: BTreeMap<String, _> = prepared
        .iter()
        .map(|one| {
            (
                one.id.clone(),
                (one.compiled.component.clone(), one.recipe.clone()),
            )
        })
        .collect();
    let provider = |id: &str| {
        known
            .get(id)
            .map(|(component, recipe)| CompiledComponent { component, recipe })
    };
    let linked = prepared
        .into_iter()
        .map(|one| loader.link(one, 1, &provider));
    Ok((linked.collect::<anyhow::Result<_>>()?, report))
}

/// The names of a component's imports and exports, for reports.
pub fn imports_and_exports(
    engine: &Engine,
    component: &wasmtime::component::Component,
) -> (Vec<String>, Vec<String>) {
    let component = component.component_type();
    let named = |item: (&str, ComponentItem)| item.0.to_owned();
    let imports = component
        .imports(engine)
        .map(|(name, item)| named((name, item.ty)))
        .collect();
    let exports = component
        .exports(engine)
        .map(|(name, item)| named((name, item.ty)))
        .collect();
    (imports, exports)
}
