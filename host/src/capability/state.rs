//! The host's data for one instance: WASI, open handles, limits. Dropping it releases everything.

use super::inside::Inside;
use super::key_value::KeyValue;
use super::messages::Messages;
use super::outgoing::Outgoing;
use super::points::Points;
use super::postgres;
use super::postgres::pool::{Member, Postgres};
use super::redis::Redis;
use super::sqlite::Databases;
use super::stdio::{GuestLog, Stream};
use crate::app::ComponentSpec;
use crate::clock::Clock;
use crate::fault::{Faults, InstanceFaults};
use crate::link::fit;
use crate::link::promise::{self, Promise, Promises};
use crate::metrics::{ComponentMetrics, RouteMetrics};
use crate::policy::{PolicyLimits, PolicyState};
use crate::recipe::Recipe;
use crate::termination::Termination;
use percent_encoding::percent_decode_str;
use prometheus::{IntCounter, IntGauge};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use wasmtime::component::{Component, ComponentExportIndex, InstancePre, ResourceTable};
use wasmtime::{Engine, ResourceLimiter, Store, UpdateDeadline};
use wasmtime_wasi::{FsPerms, WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

/// A component that is linked and ready to be instantiated.
pub struct LoadedComponent {
    /// Its resolved manifest entry.
    pub spec: ComponentSpec,
    /// Its id.
    pub id: Arc<str>,
    /// Its generation, counted from 1.
    pub generation: u64,
    /// The engine that it was compiled for.
    pub engine: Engine,
    /// The linked code.
    pub code: Code,
    /// The exports that the host can call.
    pub entry_points: EntryPoints,
    /// The compiled component; it keeps the machine code mapped.
    pub component: Component,
    /// The databases that it may open.
    pub databases: Databases,
    /// Connections to servers, shared by all components.
    pub servers: Arc<Servers>,
    /// The key-value stores.
    pub key_value: KeyValue,
    /// The folder with its files.
    pub files: Option<PathBuf>,
    /// The active faults.
    pub faults: Arc<Faults>,
    /// The test points with an action.
    pub points: Arc<Points>,
    /// The wall clock that it sees.
    pub clock: Clock,
    /// The cores, for requests to other components.
    pub inside: &'static dyn Inside,
    /// Where it may connect to.
    pub allowed_hosts: Arc<[crate::allowed_hosts::AllowedHost]>,
    /// The limit for the linear memory of one instance, in bytes.
    pub max_memory: usize,
    /// The component as the pool of Postgres connections sees it.
    pub postgres: Member,
    /// Its metrics.
    pub metrics: ComponentMetrics,
    /// Its metrics per route, by the position of the route.
    pub routes: BTreeMap<usize, RouteMetrics>,
    /// The inputs that it was compiled from.
    pub recipe: Recipe,
    /// The promises of its functions about repeated calls; read when first needed.
    pub promises: OnceLock<Promises>,
}

impl LoadedComponent {
    /// What an exported function promises about repeated calls; `key` is a [`crate::link::function::key`].
    pub fn promise(&self, key: &str) -> Option<Promise> {
        let promises = self
            .promises
            .get_or_init(|| promise::read(&self.recipe.root.file.bytes));
        let (interface, function) = key.split_once('#')?;
        let mut same = promises
            .iter()
            .filter(|(name, _)| fit::track(name) == interface);
        same.find_map(|(_, functions)| functions.get(function).copied())
    }

    /// A copy without grants.
    fn without_grants(&self) -> Self {
        let mut spec = self.spec.clone();
        spec.variables.clear();
        spec.key_value_stores.clear();
        spec.sqlite_databases.clear();
        let servers = Servers {
            postgres: self.servers.postgres.clone(),
            redis: self.servers.redis.clone(),
            messages: self.servers.messages.clone(),
            embedded_messages: false,
            ours: false,
        };
        Self {
            spec,
            id: self.id.clone(),
            generation: self.generation,
            engine: self.engine.clone(),
            code: self.code.clone(),
            entry_points: self.entry_points.clone(),
            component: self.component.clone(),
            databases: Databases::new(),
            servers: Arc::new(servers),
            key_value: self.key_value.clone(),
            files: None,
            faults: self.faults.clone(),
            points: self.points.clone(),
            clock: self.clock.clone(),
            inside: self.inside,
            allowed_hosts: Arc::default(),
            max_memory: self.max_memory,
            postgres: self.postgres.clone(),
            metrics: self.metrics.clone(),
            routes: BTreeMap::new(),
            recipe: self.recipe.clone(),
            promises: OnceLock::new(),
        }
    }
}

/// A linked component.
#[derive(Clone)]
pub enum Code {
    /// A component that is linked to the host's capabilities.
    Component(InstancePre<HostState>),
    /// A policy, which runs in another engine without capabilities.
    Policy(InstancePre<PolicyState>, PolicyLimits),
}

impl Code {
    /// The linked component; an error for a policy.
    pub fn component(&self) -> wasmtime::Result<&InstancePre<HostState>> {
        match self {
            Self::Component(pre) => Ok(pre),
            Self::Policy(..) => Err(wasmtime::Error::msg("a policy has no host state")),
        }
    }
}

/// The exports that the host can call.
#[derive(Clone)]
pub struct EntryPoints {
    /// The HTTP handler.
    pub http: Option<HttpIndices>,
    /// The handler for Redis messages.
    pub inbound_redis: Option<InboundIndex>,
    /// The functions of all exported interfaces, by [`crate::link::function::key`].
    pub functions: Arc<BTreeMap<String, FunctionIndex>>,
}

/// The location of a function of an exported interface.
#[derive(Clone, Copy)]
pub struct FunctionIndex {
    /// The export index.
    pub index: ComponentExportIndex,
    /// The number of results: 0 or 1.
    pub results: usize,
}

/// The export index of `handle-message`.
#[derive(Clone, Copy)]
pub enum InboundIndex {
    /// `fermyon:spin/inbound-redis`.
    V1(ComponentExportIndex),
    /// `spin:redis/inbound-redis@3.0.0`.
    V3(ComponentExportIndex),
}

/// The export indices of the HTTP handler.
#[derive(Clone)]
pub enum HttpIndices {
    /// `wasi:http/incoming-handler@0.2`.
    P2(wasmtime_wasi_http::p2::bindings::ProxyIndices),
    /// `wasi:http/handler@0.3`.
    P3(wasmtime_wasi_http::p3::bindings::ServiceIndices),
}

/// Connections to servers, shared by all components.
pub struct Servers {
    /// Postgres.
    pub postgres: Arc<Postgres>,
    /// Redis.
    pub redis: Arc<Redis>,
    /// Delivery of messages to Redis triggers.
    pub messages: Arc<Messages>,
    /// Whether the address `embedded` delivers messages within this process.
    pub embedded_messages: bool,
    /// Whether the application has a `[application.tool.localmart]` table.
    pub ours: bool,
}

/// The data in the store of an instance.
pub struct HostState {
    /// The WASI context.
    wasi: WasiCtx,
    /// Open handles.
    pub table: ResourceTable,
    http: WasiHttpCtx,
    /// The permissions and state of outgoing HTTP requests.
    pub outgoing: Outgoing,
    /// The component of this instance.
    pub component: Arc<LoadedComponent>,
    /// The faults that apply to this instance.
    pub faults: InstanceFaults,
    /// Open Redis handles.
    pub redis_handles: usize,
    /// Open Postgres handles.
    pub postgres_handles: usize,
    /// Open MQTT handles.
    pub mqtt_handles: usize,
    limiter: Limiter,
    /// The state for inner components that have no grants; created on first use.
    ungranted: Option<Box<HostState>>,
    /// The output of the guest: stdout and stderr.
    output: Option<[GuestLog; 2]>,
}

/// Limits linear memories and tables.
struct Limiter {
    max_memory: usize,
    component: Arc<str>,
    limited: IntCounter,
    /// The memory of all instances of the component, and this instance's part of it, in bytes.
    memory: IntGauge,
    held: i64,
}

impl Drop for Limiter {
    fn drop(&mut self) {
        self.memory.sub(self.held);
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let granted = desired <= self.max_memory;
        if granted {
            let more = i64::try_from(desired.saturating_sub(current)).unwrap_or_default();
            self.memory.add(more);
            self.held += more;
        }
        if !granted {
            self.limited.inc();
            tracing::warn!(component = %self.component, desired, limit = self.max_memory, "a guest exceeded its memory limit");
        }
        Ok(granted)
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(desired <= 1_000_000)
    }
}

impl HostState {
    /// Creates the store for one instance. `termination` can end the instance from outside, even in a busy loop.
    pub fn store(
        component: &Arc<LoadedComponent>,
        termination: &Arc<Termination>,
    ) -> wasmtime::Result<Store<Self>> {
        let (id, clock) = (component.id.clone(), component.clock.clone());
        let log = |stream| {
            GuestLog::new(
                stream,
                id.clone(),
                component.generation,
                clock.clone(),
                component.inside,
            )
        };
        let output = [log(Stream::Stdout), log(Stream::Stderr)];
        let [stdout, stderr] = output.clone();
        let mut wasi = WasiCtxBuilder::new();
        wasi.stdout(stdout).stderr(stderr).wall_clock(clock.clone());
        for (name, value) in &component.spec.environment {
            wasi.env(name, value);
        }
        // Other people's applications see the environment that Spin gives them.
        if component.servers.ours {
            wasi.env(postgres::PIPELINES_FLAG, "1");
        }
        if crate::telemetry::is_on() {
            wasi.env(crate::telemetry::GUEST_FLAG, "1");
        }
        if let Some(files) = &component.files {
            wasi.preopened_dir(files, "/", FsPerms::ReadOnly)?;
        }
        allow_sockets(&mut wasi, &component.allowed_hosts);
        let faults = InstanceFaults::new(
            component.faults.clone(),
            component.id.clone(),
            termination.clone(),
        );
        let mut state = Self::new(component, wasi.build(), faults);
        state.output = Some(output);
        let mut store = Store::new(&component.engine, state);
        store.limiter(|state| &mut state.limiter);
        store.set_epoch_deadline(1);
        let termination = termination.clone();
        store.epoch_deadline_callback(move |_| {
            if termination.is_requested() {
                Ok(UpdateDeadline::Interrupt)
            } else {
                Ok(UpdateDeadline::Yield(1))
            }
        });
        Ok(store)
    }

    /// Checks that a variable of the component names the files of an address: a guest may not choose the files that the
    /// host reads.
    pub fn check_files<'f>(&self, files: impl Iterator<Item = &'f Path>) -> Result<(), String> {
        let variables = &self.component.spec.variables;
        let named = |file: &str| {
            let parts = variables
                .values()
                .flat_map(|value| value.split(['?', '&', '=', ' ', ',']));
            parts
                .map(percent_decode_str)
                .any(|part| part.decode_utf8_lossy() == file)
        };
        for file in files {
            let file = file.display().to_string();
            if !named(&file) {
                return Err(format!(
                    "no variable of the component names the file {file}"
                ));
            }
        }
        Ok(())
    }

    /// Logs a connection that `allowed_outbound_hosts` does not allow. The destination has no user name and no password.
    pub fn log_refused(&self, destination: &str) {
        let component = &self.component.id;
        tracing::warn!(%component, destination, "a connection was refused: allowed_outbound_hosts does not allow its destination");
    }

    fn new(component: &Arc<LoadedComponent>, wasi: WasiCtx, faults: InstanceFaults) -> Self {
        Self {
            wasi,
            table: ResourceTable::new(),
            http: WasiHttpCtx::new(),
            outgoing: Outgoing {
                component: component.id.clone(),
                allowed: component.allowed_hosts.clone(),
                trace: None,
                faults: faults.clone(),
                inside: component.inside,
            },
            component: component.clone(),
            faults,
            redis_handles: 0,
            postgres_handles: 0,
            mqtt_handles: 0,
            limiter: Limiter {
                max_memory: component.max_memory,
                component: component.id.clone(),
                limited: component.metrics.limited_memory.clone(),
                memory: component.metrics.memory.clone(),
                held: 0,
            },
            ungranted: None,
            output: None,
        }
    }

    /// Ends unfinished lines of output.
    pub fn end_lines(&self) {
        for stream in self.output.iter().flatten() {
            stream.end_line();
        }
    }

    /// The state of this instance without any grant. Opening handles with it fails, so its table stays empty.
    pub fn without_grants(&mut self) -> &mut Self {
        let (component, faults) = (&self.component, &self.faults);
        self.ungranted.get_or_insert_with(|| {
            let ungranted = Arc::new(component.without_grants());
            let mut wasi = WasiCtxBuilder::new();
            wasi.wall_clock(ungranted.clock.clone());
            Box::new(Self::new(&ungranted, wasi.build(), faults.clone()))
        })
    }

    /// A WASI context without grants, with the handles of this instance.
    pub fn wasi_without_grants(&mut self) -> (&mut WasiCtx, &mut ResourceTable) {
        self.without_grants();
        let ungranted = self
            .ungranted
            .as_deref_mut()
            .map(|ungranted| &mut ungranted.wasi);
        (ungranted.unwrap_or(&mut self.wasi), &mut self.table)
    }

    /// HTTP without grants, with the handles of this instance.
    pub fn http_without_grants(&mut self) -> WasiHttpCtxView<'_> {
        self.without_grants();
        let ungranted = self
            .ungranted
            .as_deref_mut()
            .map(|ungranted| &mut ungranted.outgoing);
        WasiHttpCtxView {
            hooks: ungranted.unwrap_or(&mut self.outgoing),
            table: &mut self.table,
            ctx: &mut self.http,
        }
    }
}

/// Lets a guest open sockets to its allowed hosts, by address, and forbids everything else.
fn allow_sockets(wasi: &mut WasiCtxBuilder, allowed: &Arc<[crate::allowed_hosts::AllowedHost]>) {
    let allowed = allowed.clone();
    wasi.allow_tcp(true)
        .allow_udp(true)
        .allow_ip_name_lookup(true);
    wasi.socket_addr_check(move |address, usage| {
        use wasmtime_wasi::sockets::SocketAddrUse;
        let scheme = match usage {
            SocketAddrUse::TcpConnect => "tcp",
            SocketAddrUse::UdpSend | SocketAddrUse::UdpReceive => "udp",
            // Connecting binds implicitly to a port that the system chooses. A guest may not choose the port, nor
            // listen.
            SocketAddrUse::TcpBind | SocketAddrUse::UdpBind => {
                let implicit = address.ip().is_unspecified() && address.port() == 0;
                return Box::pin(async move { implicit });
            }
            SocketAddrUse::TcpListen | SocketAddrUse::TcpAccept => {
                return Box::pin(async { false });
            }
        };
        let (host, port) = (address.ip().to_string(), address.port());
        let granted = allowed
            .iter()
            .any(|allowed| allowed.allows(scheme, &host, port));
        Box::pin(async move { granted })
    });
}

impl WasiView for HostState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.table,
        }
    }
}

impl WasiHttpView for HostState {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView {
            hooks: &mut self.outgoing,
            table: &mut self.table,
            ctx: &mut self.http,
        }
    }
}
