//! From an application to components that can be instantiated: compile or load, link, check every import.

use crate::aot::AotCache;
use crate::app::{App, ComponentSpec, RouteSpec};
use crate::capability;
use crate::capability::key_value::KeyValue;
use crate::capability::points::Points;
use crate::capability::postgres::pool::Postgres;
use crate::capability::redis::Redis;
use crate::capability::sqlite::{Database, Databases, Synchronous};
use crate::compose::ComposeError;
use crate::engine::{self, EngineOptions, Ticker};
use crate::manifest::schema::FileMount;
use crate::manifest::{ManifestError, Source};
use crate::messages::{Messages, Subscription};
use crate::metrics::{Metrics, RouteMetrics};
use crate::runtime_config::RuntimeConfig;
use crate::state::{Entrances, HostState, HttpIndices, InboundIndex, LoadedComponent, Servers};
use anyhow::Context as _;
use rayon::iter::{IntoParallelRefIterator as _, ParallelIterator as _};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use wasmtime::Engine;
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{InstancePre, Linker};

/// What a component with a Redis trigger exports.
const INBOUND_REDIS: &str = "spin:redis/inbound-redis@3.0.0";
/// What it exported before.
const INBOUND_REDIS_BEFORE: &str = "fermyon:spin/inbound-redis";

/// Numbers that the host does not know itself.
pub type MoreMetrics = Box<dyn Fn() -> String + Send + Sync>;

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
    /// Further numbers for `/metrics`, in the Prometheus text format; asked at each scrape.
    pub more_metrics: Option<MoreMetrics>,
    /// Named points that do something; `None` does not offer points at all.
    pub points: Option<Points>,
}

/// An application, ready to serve.
pub struct Loaded {
    /// Its name.
    pub name: String,
    /// Whether it wants this host's own ways: problem+json from the host, no `spin-*` headers.
    pub ours: bool,
    /// Components that something triggers, by id.
    pub components: BTreeMap<String, Arc<LoadedComponent>>,
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
    /// Whether requests are answered; cleared while draining.
    pub ready: AtomicBool,
    /// How each component came to be.
    pub report: Vec<LoadReport>,
    _ticker: Ticker,
}

/// A route with its numbers.
pub struct LoadedRoute {
    /// The route.
    pub spec: RouteSpec,
    /// Its numbers.
    pub metrics: RouteMetrics,
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

/// Loads an application.
pub async fn load(app: App, options: LoadOptions) -> anyhow::Result<Loaded> {
    let engine = engine::engine(options.engine)?;
    let ticker = engine::tick(&engine)?;
    let mut linker = Linker::new(&engine);
    capability::add_to_linker(&mut linker, options.points.is_some())?;
    std::fs::create_dir_all(&options.state_dir)
        .with_context(|| format!("making the state folder {}", options.state_dir.display()))?;
    let databases = databases(&app, &options)?;
    let redis = Arc::new(Redis::default());
    let stores_used = |spec: &ComponentSpec| !spec.key_value_stores.is_empty();
    let file = options.state_dir.join("key-value.db");
    let key_value = KeyValue::open(
        &file,
        app.components.values().any(stores_used),
        &options.runtime_config.key_value_stores,
        &redis,
        options.synchronous,
    );
    let key_value = key_value
        .await
        .map_err(|reason| anyhow::anyhow!("opening the key-value store: {reason}"))?;
    let metrics = Metrics::new()?;
    let (ours, name, source) = (app.tool.is_some(), app.name, app.source);
    let triggered: Vec<ComponentSpec> = app
        .components
        .into_values()
        .filter(|spec| spec.triggered)
        .collect();
    let triggered = fetch_all(triggered, &source, &options.state_dir.join("fetched"))?;
    let compiled = compile_all(&engine, &AotCache::new(options.aot), &source, &triggered)?;
    let messages = Arc::new(Messages::new(&app.subscriptions));
    let servers = Arc::new(Servers {
        postgres: Arc::new(Postgres::new(options.runtime_config.postgres_connections)),
        redis,
        messages: messages.clone(),
        embedded_messages: ours,
    });
    let points = Arc::new(options.points.unwrap_or_default());
    let (mut components, mut report) = (BTreeMap::new(), Vec::new());
    for (spec, compiled) in triggered.into_iter().zip(compiled) {
        report.push(LoadReport {
            component: spec.id.clone(),
            cached: compiled.cached,
            time: compiled.time,
        });
        let (pre, entrances) = link(&engine, &linker, &compiled.component, &spec, &source)?;
        let id: Arc<str> = spec.id.as_str().into();
        let component = LoadedComponent {
            id: id.clone(),
            engine: engine.clone(),
            pre,
            entrances,
            servers: servers.clone(),
            component: compiled.component,
            databases: databases
                .iter()
                .filter(|(label, _)| spec.sqlite_databases.contains_key(*label))
                .map(|(label, database)| (label.clone(), database.clone()))
                .collect(),
            key_value: key_value.clone(),
            files: files(&spec, &source, &options.state_dir)?,
            points: points.clone(),
            allowed_hosts: spec.allowed_hosts.clone().into(),
            max_memory: options.engine.max_instance_memory,
            postgres_share: servers.postgres.share(),
            metrics: metrics.component(&spec.id),
            spec,
        };
        components.insert(id.to_string(), Arc::new(component));
    }
    let routes = app
        .routes
        .into_iter()
        .map(|spec| LoadedRoute {
            metrics: metrics.route(spec.answerer(), &spec.text),
            spec,
        })
        .collect();
    Ok(Loaded {
        name,
        ours,
        components,
        routes,
        messages,
        subscriptions: app.subscriptions,
        metrics,
        more_metrics: options.more_metrics,
        ready: AtomicBool::new(true),
        report,
        _ticker: ticker,
    })
}

/// Fetches what the manifest names by URL, into a folder.
fn fetch_all(
    mut specs: Vec<ComponentSpec>,
    source: &Source,
    folder: &Path,
) -> anyhow::Result<Vec<ComponentSpec>> {
    for spec in &mut specs {
        let own = (&spec.remote, &mut spec.wasm, &spec.source_span);
        let composition = &mut spec.composition;
        let plugs = composition
            .dependencies
            .iter_mut()
            .chain(&mut composition.middleware);
        let plugs = plugs.map(|plug| (&plug.remote, &mut plug.wasm, &plug.span));
        for (remote, wasm, span) in std::iter::once(own).chain(plugs) {
            if let Some(remote) = remote {
                *wasm = remote.fetch(folder).map_err(|error| {
                    let help = "is the address right, and this machine connected?";
                    source.error(span.clone(), format!("{error:#}"), "named here", help)
                })?;
            }
        }
    }
    Ok(specs)
}

/// Compiles or loads all components, on as many threads as there are cores.
fn compile_all(
    engine: &Engine,
    cache: &AotCache,
    source: &Source,
    specs: &[ComponentSpec],
) -> anyhow::Result<Vec<crate::aot::Compiled>> {
    for spec in specs {
        let own = (&spec.id, &spec.wasm, &spec.source_span);
        let plugs = spec.composition.plugs();
        let plugs = plugs.map(|plug| (&plug.name, &plug.wasm, &plug.span));
        for (name, wasm, span) in std::iter::once(own).chain(plugs) {
            if !wasm.is_file() {
                let message = format!("`{name}` has no file {}", wasm.display());
                let help = "build it: localmart build";
                return Err(source
                    .error(span.clone(), message, "not found", help)
                    .into());
            }
        }
    }
    // Threads of their own: what compiling leaves in them goes when they end.
    let compilers = rayon::ThreadPoolBuilder::new().build();
    let compilers = compilers.context("starting threads that compile")?;
    let load = |spec: &ComponentSpec| {
        let loaded = cache.load(engine, &spec.wasm, &spec.composition);
        Ok(loaded.map_err(|error| {
            let plug = error.downcast_ref::<ComposeError>();
            let plug = plug.and_then(|error| error.span.clone());
            let (span, help) = match plug {
                Some(span) => (span, "see docs/reference/manifest.md"),
                None => (spec.source_span.clone(), "build it again: localmart build"),
            };
            let message = format!("`{}` cannot be loaded: {error:#}", spec.id);
            source.error(span, message, "here", help)
        })?)
    };
    compilers.install(|| specs.par_iter().map(load).collect())
}

/// The label of a database that every application may have.
const DEFAULT_LABEL: &str = "default";

fn databases(app: &App, options: &LoadOptions) -> anyhow::Result<Databases> {
    let mut databases = Databases::new();
    for spec in app.components.values().filter(|spec| spec.triggered) {
        for (label, span) in &spec.sqlite_databases {
            if let Some(path) = options.runtime_config.sqlite_databases.get(label) {
                if let Some(folder) = path.parent() {
                    std::fs::create_dir_all(folder)
                        .with_context(|| format!("making {}", folder.display()))?;
                }
                databases
                    .entry(label.clone())
                    .or_insert_with(|| Arc::new(Database::new(path, options.synchronous)));
                continue;
            }
            // As in Spin, one label needs no configuration.
            let path = match app.tool {
                Some(_) => options.state_dir.join(format!("{label}.db")),
                None => options.state_dir.join("sqlite_db.db"),
            };
            if app.tool.is_none() && label != DEFAULT_LABEL {
                let message = format!(
                    "component `{}` uses the database `{label}`, which is not configured",
                    spec.id
                );
                let help = "without [application.tool.localmart] only `default` and configured databases exist";
                return Err(app
                    .source
                    .error(span.clone(), message, "this label", help)
                    .into());
            }
            databases
                .entry(label.clone())
                .or_insert_with(|| Arc::new(Database::new(&path, options.synchronous)));
        }
    }
    Ok(databases)
}

/// Links a component's imports to the host and finds what its triggers call.
fn link(
    engine: &Engine,
    linker: &Linker<HostState>,
    component: &wasmtime::component::Component,
    spec: &ComponentSpec,
    source: &Source,
) -> anyhow::Result<(InstancePre<HostState>, Entrances)> {
    let pre = linker
        .instantiate_pre(component)
        .map_err(|error| unanswered(engine, component, spec, source, &error))?;
    let p3 = wasmtime_wasi_http::p3::bindings::ServiceIndices::new(&pre).map(HttpIndices::P3);
    let http = p3
        .or_else(|_| wasmtime_wasi_http::p2::bindings::ProxyIndices::new(&pre).map(HttpIndices::P2))
        .ok();
    let inbound = |interface: &str| {
        let interface = component.get_export_index(None, interface)?;
        component.get_export_index(Some(&interface), "handle-message")
    };
    let inbound_redis = inbound(INBOUND_REDIS).map(InboundIndex::V3);
    let inbound_redis =
        inbound_redis.or_else(|| inbound(INBOUND_REDIS_BEFORE).map(InboundIndex::V1));
    let missing = |trigger: &str, export: &str| {
        source.error(
            spec.source_span.clone(),
            format!("`{}` has {trigger} but does not export {export}", spec.id),
            "this file",
            "export it, or remove the trigger",
        )
    };
    if http.is_none() && spec.called_by_http {
        let export = "wasi:http/handler@0.3 or wasi:http/incoming-handler@0.2";
        return Err(missing("an HTTP trigger or a timer", export).into());
    }
    if inbound_redis.is_none() && spec.called_by_redis {
        return Err(missing("a Redis trigger", INBOUND_REDIS).into());
    }
    Ok((
        pre,
        Entrances {
            http,
            inbound_redis,
        },
    ))
}

/// The error for an import that nobody offers: which one, and what would answer it.
fn unanswered(
    engine: &Engine,
    component: &wasmtime::component::Component,
    spec: &ComponentSpec,
    source: &Source,
    error: &wasmtime::Error,
) -> ManifestError {
    let reason = format!("{error:#}");
    let imports = component.component_type();
    let missing = imports
        .imports(engine)
        .map(|(name, _)| name.to_owned())
        .find(|name| reason.contains(name.as_str()));
    let Some(import) = missing else {
        let message = format!("`{}` cannot be linked: {reason}", spec.id);
        return source.error(
            spec.source_span.clone(),
            message,
            "this file",
            "build it again: localmart build",
        );
    };
    let help = if import.starts_with("localmart:testing/") {
        "it was built with named points; build it again without --points, or start with --point"
            .to_owned()
    } else if import.starts_with("wasi:")
        || import.starts_with("spin:")
        || import.starts_with("fermyon:")
    {
        "this host offers wasi 0.2 and 0.3, spin:sqlite@3.1, spin:postgres@4.2, spin:redis@3, spin:key-value@3, spin:variables@3, spin:mqtt@3, fermyon:spin@2 and wasi:keyvalue; the list is in docs/reference/manifest.md".to_owned()
    } else {
        let noun = import
            .split([':', '/'])
            .nth(1)
            .unwrap_or_default()
            .to_owned();
        format!(
            "add the component that exports it to its links: [component.{}.tool.localmart] links = [\"{noun}\"], then localmart build",
            spec.id
        )
    };
    source.error(
        spec.source_span.clone(),
        format!(
            "`{}` imports `{import}`, which nobody offers: {reason}",
            spec.id
        ),
        "this file",
        help,
    )
}

/// Copies a component's files to a folder of its own, as Spin does: a snapshot, read only.
fn files(
    spec: &ComponentSpec,
    source: &Source,
    state_dir: &Path,
) -> anyhow::Result<Option<PathBuf>> {
    if spec.files.is_empty() {
        return Ok(None);
    }
    let (from, to) = (source.folder(), state_dir.join("files").join(&spec.id));
    if to.exists() {
        std::fs::remove_dir_all(&to).with_context(|| format!("clearing {}", to.display()))?;
    }
    let excluded: Vec<glob::Pattern> = spec
        .exclude_files
        .iter()
        .filter_map(|text| glob::Pattern::new(text).ok())
        .collect();
    let keep = |path: &Path| !excluded.iter().any(|pattern| pattern.matches_path(path));
    for (mount, span) in &spec.files {
        let wrong = |message: String| {
            source.error(
                span.clone(),
                message,
                "here",
                "write a glob, or { source = \"folder\", destination = \"/path\" }",
            )
        };
        match mount {
            FileMount::Glob(text) => {
                let pattern = from.join(text);
                let matches = glob::glob(&pattern.to_string_lossy())
                    .map_err(|error| wrong(error.to_string()))?;
                let mut any = false;
                for path in matches.filter_map(Result::ok).filter(|path| path.is_file()) {
                    any = true;
                    let relative = path.strip_prefix(&from).unwrap_or(&path).to_owned();
                    if keep(&relative) {
                        copy(&path, &to.join(&relative))?;
                    }
                }
                if !any {
                    return Err(wrong(format!("`{text}` matches no file")).into());
                }
            }
            FileMount::Placed {
                source: place,
                destination,
            } => {
                let Some(inner) = destination.strip_prefix('/') else {
                    return Err(wrong(format!("`{destination}` is not an absolute path")).into());
                };
                if inner.split('/').any(|part| part == "..") {
                    return Err(wrong(format!("`{destination}` leaves the guest's root")).into());
                }
                let place = from.join(place);
                if !place.exists() {
                    return Err(wrong(format!("there is no {}", place.display())).into());
                }
                copy_all(&place, &to.join(inner))?;
            }
        }
    }
    std::fs::create_dir_all(&to)?;
    Ok(Some(to))
}

fn copy_all(from: &Path, to: &Path) -> anyhow::Result<()> {
    if from.is_file() {
        return copy(from, to);
    }
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        copy_all(&entry.path(), &to.join(entry.file_name()))?;
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    if let Some(folder) = to.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::copy(from, to)
        .with_context(|| format!("copying {} to {}", from.display(), to.display()))?;
    Ok(())
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
