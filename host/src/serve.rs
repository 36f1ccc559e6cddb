//! Serving: one current-thread runtime per core, with its own connections and its own instances of every component.
//!
//! In reading order: [`load`] (from an application to components that can be instantiated), [`core`] (a thread),
//! [`connection`] (HTTP in), [`routes`] (which component), [`unit`] and [`here`] (which of its generations, on which core), [`pool`] and [`instance`] (which
//! instance, and its [`life`]), [`health`] (how a generation fares), [`swap`] (another generation in its place),
//! [`answer`] (what the host says itself), [`ask`] (calls from outside of the cores), [`chain`] (requests among components), [`timer`], [`ended`] (how an instance is ended from outside).

pub mod answer;
pub mod ask;
pub mod chain;
pub mod connection;
pub mod core;
pub mod ended;
pub mod health;
pub mod here;
pub mod instance;
pub mod life;
pub mod load;
pub mod pool;
pub mod routes;

pub mod swap;
pub mod timer;
pub mod unit;

use crate::limits;
use crate::observe;
use crate::remote::{self, sign::Key};
use anyhow::Context as _;
use load::Loaded;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// A host that serves.
pub struct Running {
    /// The address shoppers connect to, with its real port.
    pub address: SocketAddr,
    /// The observe address, with its real port.
    pub observe: Option<SocketAddr>,
    /// The address of links of other hosts, with its real port.
    pub links: Option<SocketAddr>,
    stop: watch::Sender<bool>,
    in_flight: Arc<AtomicUsize>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

/// Binds an address. The error names the remedy.
pub fn bind(address: SocketAddr, flag: &str) -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind(address).map_err(|error| {
        let remedy = match error.kind() {
            std::io::ErrorKind::AddrInUse => format!(
                "something else listens there; end it, or choose another with {flag} 127.0.0.1:0"
            ),
            std::io::ErrorKind::PermissionDenied => {
                format!("ports below 1024 need privileges; choose another with {flag}")
            }
            _ => format!("choose an address of this machine with {flag}"),
        };
        anyhow::anyhow!("cannot listen on {address}: {error}\n  help: {remedy}")
    })?;
    listener
        .set_nonblocking(true)
        .context("preparing the listener")?;
    Ok(listener)
}

/// Starts serving.
pub fn start(
    loaded: Arc<Loaded>,
    listener: TcpListener,
    observe: Option<TcpListener>,
    links: Option<(TcpListener, Key)>,
    threads: usize,
) -> anyhow::Result<Running> {
    let address = listener.local_addr()?;
    let observe_address = observe.as_ref().map(TcpListener::local_addr).transpose()?;
    if loaded.clock.is_test() {
        tracing::warn!(
            ahead_s = loaded.clock.ahead().as_secs(),
            "a test clock runs, which localmart clock advance moves; this is for tests only"
        );
    }
    let (stop, stopped) = watch::channel(false);
    let in_flight = Arc::new(AtomicUsize::new(0));
    let cores = core::Core::start_all(&loaded, &listener, threads.max(1), &stopped, &in_flight)?;
    let mut handles = cores;
    let links_address = links
        .as_ref()
        .map(|(listener, _)| listener.local_addr())
        .transpose()?;
    if let Some((listener, key)) = links {
        let answering = remote::server::start(loaded.clone(), key, listener, stopped.clone());
        handles.push(answering?);
    }
    if let Some(listener) = observe {
        handles.push(observe::start(loaded, listener, stopped)?);
    }
    Ok(Running {
        address,
        observe: observe_address,
        links: links_address,
        stop,
        in_flight,
        threads: handles,
    })
}

impl Running {
    /// Stops accepting, lets what is under way end, for at most [`limits::DRAIN`]. Returns whether everything ended.
    pub fn drain(self) -> bool {
        // Threads that already ended need no telling.
        let _ = self.stop.send(true);
        let give_up = Instant::now() + limits::DRAIN;
        let mut threads = self.threads;
        while Instant::now() < give_up {
            threads.retain(|thread| !thread.is_finished());
            if threads.is_empty() {
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        threads.is_empty() && self.in_flight.load(Ordering::Relaxed) == 0
    }
}
