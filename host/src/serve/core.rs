//! A core: a thread with a current-thread runtime, its connections and its instances. A request never leaves it.

use super::ask::Asked;
use super::connection;
use super::here::Here;
use super::load::Loaded;
use super::pool::Caller;
use super::timer;
use super::unit::{Generation, Signs, Unit};
use crate::limits;
use crate::link::binding::Binding;
use crate::messages::{self, Message};
use crate::remote::client::{self, Http};
use crate::telemetry::Kind;
use crate::trace::Trace;
use anyhow::Context as _;
use futures::channel::oneshot;
use http::HeaderMap;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::TcpListener;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};

/// How often idle instances are looked for.
const TIDY_EVERY: Duration = Duration::from_secs(5);

/// A link to a component of another host: who calls, who is called, and what this core knows of it.
type Abroad = (Arc<str>, Arc<str>, Rc<Caller>);

/// One core of the host, as its connections see it.
pub struct Core {
    /// The application.
    pub loaded: Arc<Loaded>,
    /// The components, with their instances on this core.
    pub units: BTreeMap<String, Here>,
    /// Connections to other hosts.
    pub http: Http,
    /// Links to components there.
    abroad: RefCell<Vec<Abroad>>,
    /// Traces whose requests chose a generation on trial by a header, each with the component.
    marked: RefCell<Vec<(String, Arc<str>)>>,
    /// Says true when no more may begin.
    pub stopped: watch::Receiver<bool>,
    peers: Arc<[Peer]>,
    index: usize,
    in_flight: Arc<AtomicUsize>,
}

thread_local! {
    static HERE: RefCell<Weak<Core>> = const { RefCell::new(Weak::new()) };
}

/// The core that this thread is.
pub fn here() -> Option<Rc<Core>> {
    HERE.with(|here| here.borrow().upgrade())
}

/// What a core is told from outside.
pub enum Tell {
    /// Make an instance of a generation, before it gets calls.
    Warm(
        Arc<Unit>,
        Arc<Generation>,
        oneshot::Sender<Result<(), String>>,
    ),
    /// A generation gets no calls any more. What no guest has seen goes to another, if one is named.
    Retire(Arc<Unit>, Arc<Generation>, Option<Arc<Generation>>),
    /// A question to a component.
    Ask(Asked),
}

/// A core as the others see it: how many connections it has, and where to hand it one more.
struct Peer {
    connections: AtomicUsize,
    inbox: mpsc::UnboundedSender<std::net::TcpStream>,
}

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
                .context("making a runtime")?;
            let thread = std::thread::Builder::new()
                .name(format!("core-{index}"))
                .spawn(move || {
                    let share = share(loaded.units.len(), threads);
                    let here = |(id, unit): (&String, &Arc<Unit>)| {
                        (id.clone(), Here::new(unit.clone(), share))
                    };
                    let units = loaded.units.iter().map(here).collect();
                    let core = Rc::new(Self {
                        loaded,
                        units,
                        http: client::http(),
                        abroad: RefCell::default(),
                        marked: RefCell::default(),
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
        mut handed: mpsc::UnboundedReceiver<std::net::TcpStream>,
    ) {
        let listener = match tokio::net::TcpListener::from_std(listener) {
            Ok(listener) => listener,
            Err(error) => {
                tracing::error!(%error, "a core cannot listen");
                return;
            }
        };
        HERE.with(|here| here.replace(Rc::downgrade(&self)));
        let (inbox, mut messages) = mpsc::unbounded_channel();
        self.loaded.messages.join(inbox);
        let (inbox, mut told) = mpsc::unbounded_channel();
        self.loaded.join(inbox);
        if self.index == 0 {
            timer::start(&self);
            messages::subscribe(&self.loaded.messages);
        }
        tokio::task::spawn_local(self.clone().tidy());
        let mut stopped = self.stopped.clone();
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => self.take(stream),
                    Err(error) => {
                        // Out of file descriptors: wait for some to come back instead of spinning.
                        tracing::warn!(%error, "a connection could not be accepted");
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                },
                Some(stream) = handed.recv() => match TcpStream::from_std(stream) {
                    Ok(stream) => self.serve(stream),
                    Err(error) => {
                        tracing::warn!(%error, "a connection was lost between cores");
                        self.ended();
                    }
                },
                Some(message) = messages.recv() => self.hear(&message),
                Some(tell) = told.recv() => self.heed(tell),
                _ = stopped.wait_for(|stopped| *stopped) => break,
            }
        }
        drop(listener);
        self.loaded.readiness.drain();
        while self.has_connections() {
            // What was handed over too late is closed; its client has sent nothing that was promised an answer.
            while handed.try_recv().is_ok() {
                self.ended();
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Hands a message to every component that listens to its channel.
    fn hear(&self, message: &Message) {
        let listens = |one: &&messages::Subscription| {
            one.address == message.address && one.channel == message.channel
        };
        for subscription in self.loaded.subscriptions.iter().filter(listens) {
            if let Some(here) = self.units.get(&subscription.component) {
                let trace = Trace::of(None);
                let pool = here.choose(&Signs {
                    trace_id: trace.id(),
                    ..Signs::default()
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
                        tracing::warn!(component, channel, ?error, "a message was not handled");
                    }
                });
            }
        }
    }

    /// Does what it is told from outside.
    fn heed(self: &Rc<Self>, tell: Tell) {
        match tell {
            Tell::Warm(unit, generation, done) => {
                let pool = self.units.get(&*unit.id).map(|here| here.pool(&generation));
                tokio::task::spawn_local(async move {
                    let warm = match pool {
                        Some(pool) => pool.warm().await,
                        None => Err("there is no such component".to_owned()),
                    };
                    // Whoever asked may have given up.
                    let _ = done.send(warm);
                });
            }
            Tell::Ask(asked) => self.answer(asked),
            Tell::Retire(unit, generation, instead) => {
                if let Some(here) = self.units.get(&*unit.id) {
                    here.retire(&generation, instead.as_ref());
                }
            }
        }
    }

    /// Remembers for as long as the guard lives that a request chose generations on trial by its headers.
    pub fn mark(self: &Rc<Self>, trace_id: &str, headers: &HeaderMap) -> Option<Mark> {
        if self.loaded.named_trials.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let is_named = |here: &&Here| {
            let traffic = here.unit.traffic();
            let trial = traffic.trial.as_ref();
            trial.is_some_and(|trial| trial.is_named(headers))
        };
        let chosen = self.units.values().filter(is_named);
        let chosen: Vec<_> = chosen
            .map(|here| (trace_id.to_owned(), here.unit.id.clone()))
            .collect();
        self.marked.borrow_mut().extend(chosen.iter().cloned());
        Some(Mark(self.clone(), chosen))
    }

    /// A link to a component of another host, as this core sees it.
    pub fn abroad(&self, caller: &Arc<str>, callee: &Arc<str>) -> Rc<Caller> {
        let mut abroad = self.abroad.borrow_mut();
        let known = abroad
            .iter()
            .find(|(from, to, _)| from == caller && to == callee);
        if let Some((_, _, known)) = known {
            return known.clone();
        }
        let metrics = self.loaded.metrics.component(callee, 0);
        let metrics = metrics.link(caller, Binding::Remote);
        let link = Rc::new(Caller::new(caller.clone(), Binding::Remote, metrics));
        abroad.push((caller.clone(), callee.clone(), link.clone()));
        link
    }

    /// Whether a call of this trace goes to the generation on trial, by its request's header.
    pub fn is_marked(&self, trace_id: &str, component: &str) -> bool {
        let marked = self.marked.borrow();
        marked
            .iter()
            .any(|(trace, id)| trace == trace_id && **id == *component)
    }

    /// Serves a connection here, or hands it to a core that has fewer. It is counted at once, so that a burst of
    /// connections does not all go the same way.
    fn take(self: &Rc<Self>, stream: TcpStream) {
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
            self.serve(stream);
            return;
        }
        let handed = stream.into_std().map(|stream| peer.inbox.send(stream));
        if !matches!(handed, Ok(Ok(()))) {
            peer.connections.fetch_sub(1, Ordering::Relaxed);
            tracing::warn!("a connection was lost between cores");
        }
    }

    /// Serves a connection that is counted already.
    fn serve(self: &Rc<Self>, stream: TcpStream) {
        let core = self.clone();
        tokio::task::spawn_local(async move {
            connection::serve(&core, stream).await;
            core.ended();
        });
    }

    fn ended(&self) {
        if let Some(peer) = self.peers.get(self.index) {
            peer.connections.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn has_connections(&self) -> bool {
        let mine = self.peers.get(self.index);
        mine.is_some_and(|peer| peer.connections.load(Ordering::Relaxed) > 0)
    }

    /// Counts a request for as long as the guard lives.
    pub fn request(&self) -> InFlight {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight(self.in_flight.clone())
    }

    async fn tidy(self: Rc<Self>) {
        loop {
            tokio::time::sleep(TIDY_EVERY).await;
            let now = Instant::now();
            for here in self.units.values() {
                here.tidy(now);
            }
        }
    }
}

/// How many instances a component may have on a core, so that no component can empty the pool for the others.
fn share(components: usize, threads: usize) -> usize {
    let pool = usize::try_from(limits::POOL_INSTANCES).unwrap_or(usize::MAX);
    let share = pool / (components.max(1) * threads.max(1));
    share.clamp(limits::LEAST_INSTANCES_PER_CORE, limits::INSTANCES_PER_CORE)
}

/// A request that chose generations on trial by its headers.
pub struct Mark(Rc<Core>, Vec<(String, Arc<str>)>);

impl Drop for Mark {
    fn drop(&mut self) {
        let mut marked = self.0.marked.borrow_mut();
        for chosen in &self.1 {
            if let Some(place) = marked.iter().position(|one| one == chosen) {
                marked.swap_remove(place);
            }
        }
    }
}

/// A request under way.
pub struct InFlight(Arc<AtomicUsize>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
