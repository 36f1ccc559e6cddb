//! What one instance owns on the host's side: WASI, its handles, its limits. Dropping it gives everything back.

use crate::app::ComponentSpec;
use crate::capability::key_value::KeyValue;
use crate::capability::outgoing::Outgoing;
use crate::capability::points::Points;
use crate::capability::postgres;
use crate::capability::postgres::pool::{Postgres, Share};
use crate::capability::redis::Redis;
use crate::capability::sqlite::Databases;
use crate::capability::stdio::GuestLog;
use crate::clock::Clock;
use crate::fault::{Faults, Strikes};
use crate::link::fit;
use crate::link::promise::{self, Promise, Promises};
use crate::messages::Messages;
use crate::metrics::{ComponentMetrics, RouteMetrics};
use crate::policy::{PolicyLimits, PolicyState};
use crate::recipe::Recipe;
use crate::serve::ended::Doom;
use prometheus::{IntCounter, IntGauge};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use wasmtime::component::{Component, ComponentExportIndex, InstancePre, ResourceTable};
use wasmtime::{Engine, ResourceLimiter, Store, UpdateDeadline};
use wasmtime_wasi::{FsPerms, WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

/// A component, loaded, linked and ready to be instantiated.
pub struct LoadedComponent {
    /// What the manifest says of it.
    pub spec: ComponentSpec,
    /// Its id, shared by logs.
    pub id: Arc<str>,
    /// Which generation of it this is, counted from 1.
    pub generation: u64,
    /// The engine it was compiled for.
    pub engine: Engine,
    /// Linked; a policy is linked to another engine.
    pub code: Code,
    /// What the host can call of it.
    pub entrances: Entrances,
    /// Kept so that its code stays mapped.
    pub component: Component,
    /// The databases it may open.
    pub databases: Databases,
    /// Connections to servers, shared by all components.
    pub servers: Arc<Servers>,
    /// The key-value stores.
    pub key_value: KeyValue,
    /// Where its files lie, if it has any.
    pub files: Option<PathBuf>,
    /// Trouble on purpose.
    pub faults: Arc<Faults>,
    /// Named points that do something.
    pub points: Arc<Points>,
    /// The wall clock that it sees.
    pub clock: Clock,
    /// Where it may connect to.
    pub allowed_hosts: Arc<[crate::allowed_hosts::AllowedHost]>,
    /// Linear memory of one instance in bytes.
    pub max_memory: usize,
    /// The Postgres connections that it may hold.
    pub postgres_share: Share,
    /// Its numbers.
    pub metrics: ComponentMetrics,
    /// Its numbers per route, by the place of the route.
    pub routes: BTreeMap<usize, RouteMetrics>,
    /// What it was made of.
    pub recipe: Recipe,
    /// What its interfaces promise of asking again.
    pub promises: OnceLock<Promises>,
}

impl LoadedComponent {
    /// What an interface that it exports promises of asking a function again; see [`crate::link::cross::key`].
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

    /// The same without any grant.
    fn bare(&self) -> Self {
        let mut spec = self.spec.clone();
        spec.variables.clear();
        spec.key_value_stores.clear();
        spec.sqlite_databases.clear();
        let servers = Servers {
            postgres: self.servers.postgres.clone(),
            redis: self.servers.redis.clone(),
            messages: self.servers.messages.clone(),
            embedded_messages: false,
        };
        Self {
            spec,
            id: self.id.clone(),
            generation: self.generation,
            engine: self.engine.clone(),
            code: self.code.clone(),
            entrances: self.entrances.clone(),
            component: self.component.clone(),
            databases: Databases::new(),
            servers: Arc::new(servers),
            key_value: self.key_value.clone(),
            files: None,
            faults: self.faults.clone(),
            points: self.points.clone(),
            clock: self.clock.clone(),
            allowed_hosts: Arc::default(),
            max_memory: self.max_memory,
            postgres_share: self.postgres_share.clone(),
            metrics: self.metrics.clone(),
            routes: BTreeMap::new(),
            recipe: self.recipe.clone(),
            promises: OnceLock::new(),
        }
    }
}

/// A component, linked.
#[derive(Clone)]
pub enum Code {
    /// To what it may ask of the host.
    Component(InstancePre<HostState>),
    /// To nothing, in the engine of policies.
    Policy(InstancePre<PolicyState>, PolicyLimits),
}

impl Code {
    /// Of what is instantiated with a [`HostState`].
    pub fn component(&self) -> wasmtime::Result<&InstancePre<HostState>> {
        match self {
            Self::Component(pre) => Ok(pre),
            Self::Policy(..) => Err(wasmtime::Error::msg("a policy only decides")),
        }
    }
}

/// What the host can call of a component.
#[derive(Clone)]
pub struct Entrances {
    /// Its HTTP export.
    pub http: Option<HttpIndices>,
    /// What takes its Redis messages.
    pub inbound_redis: Option<InboundIndex>,
    /// The functions of the interfaces that it exports, by [`crate::link::cross::key`].
    pub functions: Arc<BTreeMap<String, LinkedIndex>>,
}

/// Where a function of an interface is.
#[derive(Clone, Copy)]
pub struct LinkedIndex {
    /// Where it is.
    pub index: ComponentExportIndex,
    /// How many values it returns: one or none.
    pub results: usize,
}

/// Where the `handle-message` of a component is.
#[derive(Clone, Copy)]
pub enum InboundIndex {
    /// `fermyon:spin/inbound-redis`.
    V1(ComponentExportIndex),
    /// `spin:redis/inbound-redis@3.0.0`.
    V3(ComponentExportIndex),
}

/// Where the HTTP export of a component is.
#[derive(Clone)]
pub enum HttpIndices {
    /// `wasi:http/incoming-handler@0.2`.
    P2(wasmtime_wasi_http::p2::bindings::ProxyIndices),
    /// `wasi:http/handler@0.3`.
    P3(wasmtime_wasi_http::p3::bindings::ServiceIndices),
}

/// What all components share of servers elsewhere.
pub struct Servers {
    /// Postgres.
    pub postgres: Arc<Postgres>,
    /// Redis.
    pub redis: Arc<Redis>,
    /// Messages to triggers.
    pub messages: Arc<Messages>,
    /// Whether the address `embedded` carries messages within this process.
    pub embedded_messages: bool,
}

/// The data of an instance's store.
pub struct HostState {
    /// WASI.
    wasi: WasiCtx,
    /// Handles.
    pub table: ResourceTable,
    http: WasiHttpCtx,
    /// What outgoing requests may do.
    pub outgoing: Outgoing,
    /// Which component this is.
    pub component: Arc<LoadedComponent>,
    /// Trouble on purpose that this instance meets.
    pub strikes: Strikes,
    /// Open Redis handles.
    pub redis_handles: usize,
    /// Open Postgres handles.
    pub postgres_handles: usize,
    /// Open MQTT handles.
    pub mqtt_handles: usize,
    limiter: Limiter,
    /// What the components inside this one see that have none of its grants; made when one asks.
    bare: Option<Box<HostState>>,
}

/// Keeps linear memories and tables within bounds.
struct Limiter {
    max_memory: usize,
    component: Arc<str>,
    limited: IntCounter,
    /// What all instances of the component have, and what this one has of it, in bytes.
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
            tracing::warn!(component = %self.component, desired, limit = self.max_memory, "a guest wants more memory than it may have");
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
    /// A store for one instance of a component. `doom` ends it from outside, even in a busy loop.
    pub fn store(
        component: &Arc<LoadedComponent>,
        doom: &Arc<Doom>,
    ) -> wasmtime::Result<Store<Self>> {
        let (id, clock) = (component.id.clone(), component.clock.clone());
        let log = GuestLog::new(id, component.generation, clock.clone());
        let mut wasi = WasiCtxBuilder::new();
        wasi.stdout(log.clone()).stderr(log).wall_clock(clock);
        for (name, value) in &component.spec.environment {
            wasi.env(name, value);
        }
        wasi.env(postgres::PIPELINES_FLAG, "1");
        if crate::telemetry::is_on() {
            wasi.env(crate::telemetry::GUEST_FLAG, "1");
        }
        if let Some(files) = &component.files {
            wasi.preopened_dir(files, "/", FsPerms::ReadOnly)?;
        }
        allow_sockets(&mut wasi, &component.allowed_hosts);
        let strikes = Strikes::new(component.faults.clone(), component.id.clone(), doom.clone());
        let state = Self::new(component, wasi.build(), strikes);
        let mut store = Store::new(&component.engine, state);
        store.limiter(|state| &mut state.limiter);
        store.set_epoch_deadline(1);
        let doom = doom.clone();
        store.epoch_deadline_callback(move |_| {
            if doom.is_sealed() {
                Ok(UpdateDeadline::Interrupt)
            } else {
                Ok(UpdateDeadline::Yield(1))
            }
        });
        Ok(store)
    }

    fn new(component: &Arc<LoadedComponent>, wasi: WasiCtx, strikes: Strikes) -> Self {
        Self {
            wasi,
            table: ResourceTable::new(),
            http: WasiHttpCtx::new(),
            outgoing: Outgoing {
                component: component.id.clone(),
                allowed: component.allowed_hosts.clone(),
                trace: None,
                strikes: strikes.clone(),
            },
            component: component.clone(),
            strikes,
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
            bare: None,
        }
    }

    /// What this would be without any grant. What is opened there fails, so its table stays empty.
    pub fn bare(&mut self) -> &mut Self {
        let (component, strikes) = (&self.component, &self.strikes);
        self.bare.get_or_insert_with(|| {
            let bare = Arc::new(component.bare());
            let mut wasi = WasiCtxBuilder::new();
            wasi.wall_clock(bare.clock.clone());
            Box::new(Self::new(&bare, wasi.build(), strikes.clone()))
        })
    }

    /// WASI without any grant, and the handles of this.
    pub fn bare_wasi(&mut self) -> (&mut WasiCtx, &mut ResourceTable) {
        self.bare();
        let bare = self.bare.as_deref_mut().map(|bare| &mut bare.wasi);
        (bare.unwrap_or(&mut self.wasi), &mut self.table)
    }

    /// HTTP without any grant, with the handles of this.
    pub fn bare_http(&mut self) -> WasiHttpCtxView<'_> {
        self.bare();
        let bare = self.bare.as_deref_mut().map(|bare| &mut bare.outgoing);
        WasiHttpCtxView {
            hooks: bare.unwrap_or(&mut self.outgoing),
            table: &mut self.table,
            ctx: &mut self.http,
        }
    }
}

/// Lets a guest open sockets to its allowed hosts, by address, and nothing else.
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
            // Connecting binds to a port of the system's choice; a guest may not choose one, nor listen.
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
