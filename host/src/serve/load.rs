//! From an application to components that can be instantiated: which run by themselves, made by [`maker`], with [`entrances`],
//! [`files`] and what was [`found`].

mod entrances;
mod files;
mod found;
pub mod maker;

use super::core::Tell;
use super::unit::{Generation, Unit};
use crate::aot::AotCache;
use crate::app::{App, RouteSpec};
use crate::capability;
use crate::capability::key_value::KeyValue;
use crate::capability::points::Points;
use crate::capability::postgres::pool::Postgres;
use crate::capability::redis::Redis;
use crate::capability::sqlite::Synchronous;
use crate::engine::{self, EngineOptions, Ticker};
use crate::fault::Faults;
use crate::limits;
use crate::link::binding::Bindings;
use crate::link::plan;
use crate::messages::{Messages, Subscription};
use crate::metrics::{Metrics, RouteMetrics};
use crate::observe::Readiness;
use crate::policy::Policies;
use crate::record::Recorder;
use crate::remote::client::{Remote, Remotes};
use crate::runtime_config::RuntimeConfig;
use crate::state::{LoadedComponent, Servers};
use anyhow::Context as _;
use maker::{Maker, Prepared, Provider};
use rayon::iter::{IntoParallelRefIterator as _, ParallelIterator as _};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use wasmtime::Engine;
use wasmtime::component::Linker;
use wasmtime::component::types::ComponentItem;

/// Numbers that the host does not know itself.
pub type MoreMetrics = Box<dyn Fn() -> String + Send + Sync>;

/// Told after each component that was compiled or found compiled: how many there are of how many.
pub type Progress = Box<dyn Fn(usize, usize) + Send + Sync>;

/// How to load.
pub struct LoadOptions {
    /// The engine.
    pub engine: EngineOptions,
    /// Databases, caches, copied files.
    pub state_dir: PathBuf,
    /// Where compiled components are kept, if anywhere.
    pub aot: Option<PathBuf>,
    /// How much a commit waits for the disk.
    pub synchronous: Synchronous,
    /// Where stores are, as far as somebody says.
    pub runtime_config: RuntimeConfig,
    /// How links are bound.
    pub bindings: Bindings,
    /// Components of other hosts.
    pub remotes: Remotes,
    /// Further numbers for `/metrics`, in the Prometheus text format; asked at each scrape.
    pub more_metrics: Option<MoreMetrics>,
    /// Named points that do something; `None` does not offer points at all.
    pub points: Option<Points>,
    /// Whoever wants to know how far loading is.
    pub progress: Option<Progress>,
}

/// An application, ready to serve.
pub struct Loaded {
    /// Its name.
    pub name: String,
    /// Whether it wants this host's own ways: problem+json from the host, no `spin-*` headers.
    pub ours: bool,
    /// Components that run by themselves, by id.
    pub units: BTreeMap<String, Arc<Unit>>,
    /// Where they answer, best match first.
    pub routes: Vec<LoadedRoute>,
    /// Messages to components with Redis triggers.
    pub messages: Arc<Messages>,
    /// Who listens to what.
    pub subscriptions: Vec<Subscription>,
    /// The numbers.
    pub metrics: Metrics,
    /// Further numbers.
    pub more_metrics: Option<MoreMetrics>,
    /// Whether requests are taken. Whoever starts the host says when it is ready.
    pub readiness: Readiness,
    /// How each component came to be.
    pub report: Vec<LoadReport>,
    /// Generations on trial that requests choose by a header.
    pub named_trials: AtomicUsize,
    /// What goes over a link, if anybody wants it.
    pub recorder: Recorder,
    /// Trouble on purpose.
    pub faults: Arc<Faults>,
    /// Components of other hosts that are called.
    pub remotes: BTreeMap<String, Remote>,
    /// Makes further generations.
    pub maker: Maker,
    cores: Mutex<Vec<mpsc::UnboundedSender<Tell>>>,
    /// Which core is told next.
    turn: AtomicUsize,
    _ticker: Ticker,
}

/// A route with its numbers.
pub struct LoadedRoute {
    /// The route.
    pub spec: RouteSpec,
    /// Its numbers, where no component answers.
    pub metrics: Option<RouteMetrics>,
}

/// How a component came to be.
pub struct LoadReport {
    /// Which one.
    pub component: String,
    /// Whether its machine code came from the cache.
    pub cached: bool,
    /// How long reading, compiling or loading took.
    pub time: Duration,
}

impl Loaded {
    /// A core that can be told something.
    pub fn join(&self, inbox: mpsc::UnboundedSender<Tell>) {
        if let Ok(mut cores) = self.cores.lock() {
            cores.push(inbox);
        }
    }

    /// Tells one core something: each in turn.
    pub fn tell_one(&self, tell: Tell) -> anyhow::Result<()> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let next = || {
            let cores = self.cores.lock().ok()?;
            let place = turn.checked_rem(cores.len())?;
            cores.get(place).cloned()
        };
        let give_up = Instant::now() + limits::CORE_START;
        let core = loop {
            match next() {
                Some(core) => break core,
                // They are threads, and may only be beginning.
                None if Instant::now() < give_up => std::thread::sleep(Duration::from_millis(1)),
                None => anyhow::bail!("no core is running"),
            }
        };
        core.send(tell)
            .map_err(|_| anyhow::anyhow!("the host is ending"))
    }

    /// Tells every core something. A core that has ended needs no telling.
    pub fn tell_all(&self, tell: impl Fn() -> Tell) {
        if let Ok(cores) = self.cores.lock() {
            for core in cores.iter() {
                let _ = core.send(tell());
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
    let mut units = plan::plan(&app, &options.bindings)?;
    let running = units.values().map(|unit| &unit.spec);
    let databases = found::databases(&app, running, &options)?;
    let redis = Arc::new(Redis::default());
    let stores_used = |unit: &plan::Unit| !unit.spec.key_value_stores.is_empty();
    let file = options.state_dir.join("key-value.db");
    let key_value = KeyValue::open(
        &file,
        units.values().any(stores_used),
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
    });
    let (mut specs, fetched) = (app.components, options.state_dir.join("fetched"));
    let runs = |id: &String, units: &BTreeMap<String, plan::Unit>| {
        units
            .values()
            .any(|unit| unit.spec.id == *id || unit.inside.contains(id))
    };
    for (id, spec) in &mut specs {
        if runs(id, &units) {
            found::fetch(spec, &app.source, &fetched)?;
        }
    }
    for unit in units.values_mut() {
        found::fetch(&mut unit.spec, &app.source, &fetched)?;
    }
    let remotes = find_remotes(&units, &options.remotes)?;
    let faults = Arc::<Faults>::default();
    let mut mounted = BTreeMap::new();
    for unit in units.values() {
        let files = files::files(&unit.spec, &app.source, &options.state_dir)?;
        mounted.insert(unit.spec.id.clone(), files);
    }
    let maker = Maker {
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
        max_memory: options.engine.max_instance_memory,
        metrics: metrics.clone(),
        specs,
        units,
        routes: routes_of(&app.routes),
    };
    let (components, report) = make_all(&maker, options.progress)?;
    let units = components.into_iter().map(|component| {
        (
            component.id.to_string(),
            Arc::new(Unit::new(Generation::new(component))),
        )
    });
    let routes = app.routes.into_iter().map(|spec| LoadedRoute {
        metrics: spec
            .component()
            .is_none()
            .then(|| metrics.route(spec.answerer(), 0, &spec.text)),
        spec,
    });
    Ok(Loaded {
        name: app.name,
        ours,
        units: units.collect(),
        routes: routes.collect(),
        messages,
        subscriptions: app.subscriptions,
        metrics,
        more_metrics: options.more_metrics,
        readiness: Readiness::default(),
        report,
        named_trials: AtomicUsize::new(0),
        recorder: Recorder::default(),
        faults,
        remotes,
        maker,
        cores: Mutex::default(),
        turn: AtomicUsize::new(0),
        _ticker: ticker,
    })
}

/// Asks other hosts for those of their components that are called.
fn find_remotes(
    units: &BTreeMap<String, plan::Unit>,
    remotes: &Remotes,
) -> anyhow::Result<BTreeMap<String, Remote>> {
    let mut found = BTreeMap::new();
    for component in units.values().flat_map(|unit| &unit.away) {
        let address = remotes.addresses.get(component);
        if let (Some(address), Some(key)) = (address, &remotes.key)
            && !found.contains_key(component)
        {
            found.insert(component.clone(), Remote::find(component, address, key)?);
        }
    }
    Ok(found)
}

/// The places and texts of the routes that each component answers.
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

/// Makes the first generation of all components, on as many threads as there are cores.
fn make_all(
    maker: &Maker,
    progress: Option<Progress>,
) -> anyhow::Result<(Vec<LoadedComponent>, Vec<LoadReport>)> {
    let files = maker.read()?;
    // Threads of their own: what compiling leaves in them goes when they end.
    let compilers = rayon::ThreadPoolBuilder::new().build();
    let compilers = compilers.context("starting threads that compile")?;
    let units: Vec<&plan::Unit> = maker.units().values().collect();
    let done = AtomicUsize::new(0);
    let prepare = |unit: &&plan::Unit| {
        let prepared = maker.prepare(unit, &files);
        let done = done.fetch_add(1, Ordering::Relaxed) + 1;
        if let Some(progress) = &progress {
            progress(done, units.len());
        }
        prepared
    };
    let prepared: Vec<Prepared> =
        compilers.install(|| units.par_iter().map(prepare).collect::<anyhow::Result<_>>())?;
    let report = prepared.iter().map(|one| LoadReport {
        component: one.id.clone(),
        cached: one.compiled.cached,
        time: one.compiled.time,
    });
    let report = report.collect();
    // What others call across is known by what was compiled; none of them is consumed before all are linked.
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
            .map(|(component, recipe)| Provider { component, recipe })
    };
    let linked = prepared
        .into_iter()
        .map(|one| maker.link(one, 1, &provider));
    Ok((linked.collect::<anyhow::Result<_>>()?, report))
}

/// The names of a component's imports and exports, for reports.
pub fn surface(
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
