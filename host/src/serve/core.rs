//! A core: one thread with a current-thread runtime, its own connections and its own instances. A request never leaves
//! its core.

use super::clients::Connected;
use super::connection;
use super::deployment::{Deployment, Generation, RoutingKey};
use super::external_call::PendingCall;
use super::load::Loaded;
use super::local::LocalComponent;
use super::pool::LinkState;
use super::request_limits::Gates;
use super::timer::{self, Fired};
use super::transport::Acceptor;
use crate::app::Subscription;
use crate::capability::messages::{self, Message};
use crate::limits;
use crate::link::binding::Binding;
use crate::link::not_answered::{Answered, NotAnswered};
use crate::remote::client::{self, Http};
use crate::telemetry::Kind;
use crate::trace::Trace;
use anyhow::Context as _;
use futures::channel::oneshot;
use http::HeaderMap;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};

/// How often each core looks for idle instances.
const IDLE_CHECK_INTERVAL: Duration = Duration::from_secs(5);

/// A link to a component on another host: caller, callee, and the state of the link on this core.
type RemoteLink = (Arc<str>, Arc<str>, Rc<LinkState>);

/// One core of the host.
pub struct Core {
    /// The loaded application.
    pub loaded: Arc<Loaded>,
    /// The components by id, with their instances on this core.
    pub components: BTreeMap<String, LocalComponent>,
    /// Which limited requests run on this core.
    pub gates: Gates,
    /// Connections to other hosts.
    pub http: Http,
    /// Links to components on other hosts.
    remote_links: RefCell<Vec<RemoteLink>>,
    /// Traces whose request selected a generation on trial by header, with the id of the component on trial.
    header_selections: RefCell<Vec<(String, Arc<str>)>>,
    /// Becomes true when the host stops accepting work.
    pub stopped: watch::Receiver<bool>,
    peers: Arc<[Peer]>,
    index: usize,
    in_flight: Arc<AtomicUsize>,
}

thread_local! {
    static CURRENT: RefCell<Weak<Core>> = const { RefCell::new(Weak::new()) };
}

/// The core of the current thread; `None` outside of cores and during shutdown.
pub fn current() -> Option<Rc<Core>> {
    CURRENT.with(|core| core.borrow().upgrade())
}

/// A command to a core from another thread.
pub enum CoreCommand {
    /// Start an instance of a generation before it gets calls. The sender reports the result.
    Warm(
        Arc<Deployment>,
        Arc<Generation>,
        oneshot::Sender<Answered<()>>,
    ),
    /// Retire a generation. Calls that no guest has seen yet move to the second generation, if there is one.
    Retire(Arc<Deployment>, Arc<Generation>, Option<Arc<Generation>>),
    /// Call a function of a component.
    Call(PendingCall),
    /// Fire every timer now.
    Fire(oneshot::Sender<Vec<Fired>>),
}

/// A core as the other cores see it: its number of connections, and where to hand over another one.
struct Peer {
    connections: AtomicUsize,
    inbox: mpsc::UnboundedSender<Handed>,
}

/// A connection on its way to another core.
type Handed = (std::net::TcpStream, SocketAddr, Connected);

impl Core {
    /// Starts all cores on one listener.
    pub fn start_all(
        loaded: &Arc<Loaded>,
        listener: &TcpListener,
        threads: usize,
        stopped: &watch::Receiver<bool>,
        in_flight: &Arc<AtomicUsize>,
    ) -> anyhow::Result<Vec<std::thread::JoinHandle<()>>> {
        let (mut peers, mut inboxes) = (Vec::new(), Vec::new());
        for _ in 0..threads {
            let (inbox, handed) = mpsc::unbounded_channel();
            peers.push(Peer {
                connections: AtomicUsize::new(0),
                inbox,
            });
            inboxes.push(handed);
        }
        let peers: Arc<[Peer]> = peers.into();
        let mut handles = Vec::new();
        for (index, handed) in inboxes.into_iter().enumerate() {
            let listener = listener.try_clone().context("sharing the listener")?;
            let (loaded, peers, stopped, in_flight) = (
                loaded.clone(),
                peers.clone(),
                stopped.clone(),
                in_flight.clone(),
            );
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .context("starting an async runtime")?;
            let thread = std::thread::Builder::new()
                .name(format!("core-{index}"))
                .spawn(move || {
                    let share = share(loaded.deployments.len(), threads);
                    let component = |(id, deployment): (&String, &Arc<Deployment>)| {
                        (id.clone(), LocalComponent::new(deployment.clone(), share))
                    };
                    let components = loaded.deployments.iter().map(component).collect();
                    let core = Rc::new(Self {
                        gates: loaded.request_limits.gates(),
                        http: client::http(loaded.link_tls.as_ref()),
                        loaded,
                        components,
                        remote_links: RefCell::default(),
                        header_selections: RefCell::default(),
                        stopped,
                        peers,
                        index,
                        in_flight,
                    });
                    let local = tokio::task::LocalSet::new();
                    local.block_on(&runtime, core.run(listener, handed));
                });
            handles.push(thread.context("starting a core")?);
        }
        Ok(handles)
    }

    async fn run(
        self: Rc<Self>,
        listener: TcpListener,
        mut handed: mpsc::UnboundedReceiver<Handed>,
    ) {
        let mut acceptor = match Acceptor::new(listener, self.loaded.clients.clone()) {
            Ok(acceptor) => acceptor,
            Err(error) => {
                tracing::error!(%error, "a core cannot listen");
                return;
            }
        };
        CURRENT.with(|core| core.replace(Rc::downgrade(&self)));
        let (inbox, mut messages) = mpsc::unbounded_channel();
        self.loaded.messages.register_core(inbox);
        let (inbox, mut commands) = mpsc::unbounded_channel();
        self.loaded.register_core(inbox);
        if self.index == 0 {
            timer::start(&self);
            messages::subscribe(&self.loaded.messages);
        }
        tokio::task::spawn_local(self.clone().retire_idle_instances());
        let mut stopped = self.stopped.clone();
        loop {
            tokio::select! {
                (stream, peer, connected) = acceptor.accept() => self.accept(stream, peer, connected),
                Some((stream, peer, connected)) = handed.recv() => match TcpStream::from_std(stream) {
                    Ok(stream) => self.serve(stream, peer, connected),
                    Err(error) => {
                        tracing::warn!(%error, "a connection was lost between cores");
                        self.connection_closed();
                    }
                },
                Some(message) = messages.recv() => self.deliver(&message),
                Some(command) = commands.recv() => self.execute(command),
                _ = stopped.wait_for(|stopped| *stopped) => break,
            }
        }
        drop(acceptor);
        self.loaded.readiness.drain();
        while self.has_connections() {
            // Connections that were handed over too late are closed. Their clients have not sent a request yet.
            while handed.try_recv().is_ok() {
                self.connection_closed();
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Passes a message to every component that subscribes to its channel.
    fn deliver(&self, message: &Message) {
        let listens =
            |one: &&Subscription| one.address == message.address && one.channel == message.channel;
        for subscription in self.loaded.subscriptions.iter().filter(listens) {
            if let Some(component) = self.components.get(&subscription.component) {
                let trace = Trace::of(None);
                let pool = component.choose(&RoutingKey {
                    trace_id: trace.id(),
                    ..RoutingKey::default()
                });
                let payload = message.payload.clone();
                let (component, channel) =
                    (subscription.component.clone(), message.channel.clone());
                tokio::task::spawn_local(async move {
                    let begun = SystemTime::now();
                    let handled = pool.message(payload, trace.clone()).await;
                    let name = || format!("receive {channel}");
                    trace.ended(Kind::Consumer, name, begun, handled.is_err(), Vec::new);
                    if let Err(error) = handled {
                        tracing::warn!(
                            component,
                            channel,
                            trace_id = trace.id(),
                            ?error,
                            "a message was not handled"
                        );
                    }
                });
            }
        }
    }

    /// Executes a command from another thread.
    fn execute(self: &Rc<Self>, command: CoreCommand) {
        match command {
            CoreCommand::Warm(deployment, generation, done) => {
                let pool = self
                    .components
                    .get(&*deployment.id)
                    .map(|component| component.pool(&generation));
                tokio::task::spawn_local(async move {
                    let warm = match pool {
                        Some(pool) => pool.warm().await,
                        None => Err(NotAnswered::Unknown),
                    };
                    // The receiver is gone if the swap gave up waiting.
                    let _ = done.send(warm);
                });
            }
            CoreCommand::Call(call) => self.run_external_call(call),
            CoreCommand::Fire(done) => {
                tokio::task::spawn_local(timer::fire_all(self.clone(), done));
            }
            CoreCommand::Retire(deployment, generation, instead) => {
                if let Some(component) = self.components.get(&*deployment.id) {
                    component.retire(&generation, instead.as_ref());
                }
            }
        }
    }

    /// Records that a request selects generations on trial by its headers. The selection lasts as long as the guard.
    pub fn select_by_header(
        self: &Rc<Self>,
        trace_id: &str,
        headers: &HeaderMap,
    ) -> Option<HeaderSelection> {
        if self.loaded.header_trials.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let is_selected = |component: &&LocalComponent| {
            let traffic = component.deployment.traffic();
            let trial = traffic.trial.as_ref();
            trial.is_some_and(|trial| trial.is_selected_by(headers))
        };
        let chosen = self.components.values().filter(is_selected);
        let chosen: Vec<_> = chosen
            .map(|component| (trace_id.to_owned(), component.deployment.id.clone()))
            .collect();
        self.header_selections
            .borrow_mut()
            .extend(chosen.iter().cloned());
        Some(HeaderSelection(self.clone(), chosen))
    }

    /// Counts an answer of a linked component that its caller rejects: against the generation that got the call.
    pub fn record_rejection(&self, caller: &str, callee: &str, trace_id: &str) {
        let of = |id: &str| self.components.get(id);
        let links =
            of(caller).map(|caller| caller.deployment.stable().component.spec.links.clone());
        // Nobody counts errors of others.
        if !links.is_some_and(|links| links.iter().any(|link| link == callee)) {
            return;
        }
        if let Some(callee) = of(callee) {
            let pool = callee.choose(&RoutingKey {
                trace_id,
                headers: None,
                header_selected: self.is_selected_by_header(trace_id, &callee.deployment.id),
            });
            pool.generation.health.record_rejection();
        }
    }

    /// The state of a link to a component on another host.
    pub fn remote_link(&self, caller: &Arc<str>, callee: &Arc<str>) -> Rc<LinkState> {
        let mut remote_links = self.remote_links.borrow_mut();
        let known = remote_links
            .iter()
            .find(|(from, to, _)| from == caller && to == callee);
        if let Some((_, _, known)) = known {
            return known.clone();
        }
        let metrics = self.loaded.metrics.component(callee, 0);
        let metrics = metrics.link(caller, Binding::Remote);
        let link = Rc::new(LinkState::new(caller.clone(), Binding::Remote, metrics));
        remote_links.push((caller.clone(), callee.clone(), link.clone()));
        link
    }

    /// Whether a call of this trace goes to the generation on trial because the request selected it by header.
    pub fn is_selected_by_header(&self, trace_id: &str, component: &str) -> bool {
        let header_selections = self.header_selections.borrow();
        header_selections
            .iter()
            .any(|(trace, id)| trace == trace_id && **id == *component)
    }

    /// Serves a connection on this core, or hands it to the core with the fewest connections. It is counted at once, so
    /// that a burst of connections is spread evenly.
    fn accept(self: &Rc<Self>, stream: TcpStream, from: SocketAddr, connected: Connected) {
        let busy = |(place, peer): &(usize, &Peer)| {
            (
                peer.connections.load(Ordering::Relaxed),
                *place != self.index,
            )
        };
        let Some((place, peer)) = self.peers.iter().enumerate().min_by_key(busy) else {
            return;
        };
        peer.connections.fetch_add(1, Ordering::Relaxed);
        if place == self.index {
            self.serve(stream, from, connected);
            return;
        }
        let handed = stream
            .into_std()
            .map(|stream| peer.inbox.send((stream, from, connected)));
        if !matches!(handed, Ok(Ok(()))) {
            peer.connections.fetch_sub(1, Ordering::Relaxed);
            tracing::warn!("a connection was lost between cores");
        }
    }

    /// Serves a connection that is already counted.
    fn serve(self: &Rc<Self>, stream: TcpStream, peer: SocketAddr, connected: Connected) {
        let core = self.clone();
        tokio::task::spawn_local(async move {
            let _connected = connected;
            connection::serve(&core, stream, peer).await;
            core.connection_closed();
        });
    }

    fn connection_closed(&self) {
        if let Some(peer) = self.peers.get(self.index) {
            peer.connections.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn has_connections(&self) -> bool {
        let mine = self.peers.get(self.index);
        mine.is_some_and(|peer| peer.connections.load(Ordering::Relaxed) > 0)
    }

    /// Counts a request in flight for as long as the guard lives.
    pub fn request(&self) -> InFlight {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight(self.in_flight.clone())
    }

    async fn retire_idle_instances(self: Rc<Self>) {
        loop {
            tokio::time::sleep(IDLE_CHECK_INTERVAL).await;
            let now = Instant::now();
            for component in self.components.values() {
                component.retire_idle(now);
            }
        }
    }
}

/// The maximum number of instances of one component on one core, so that no component can use up the instance pool.
fn share(components: usize, threads: usize) -> usize {
    let pool = usize::try_from(limits::POOL_INSTANCES).unwrap_or(usize::MAX);
    let share = pool / (components.max(1) * threads.max(1));
    share.clamp(
        limits::MIN_INSTANCES_PER_CORE,
        limits::MAX_INSTANCES_PER_CORE,
    )
}

/// Guard of a request that selected generations on trial by its headers.
pub struct HeaderSelection(Rc<Core>, Vec<(String, Arc<str>)>);

impl Drop for HeaderSelection {
    fn drop(&mut self) {
        let mut header_selections = self.0.header_selections.borrow_mut();
        for chosen in &self.1 {
            if let Some(place) = header_selections.iter().position(|one| one == chosen) {
                header_selections.swap_remove(place);
            }
        }
    }
}

/// Guard that counts a request in flight.
pub struct InFlight(Arc<AtomicUsize>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
