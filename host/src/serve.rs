//! Serving: one current-thread runtime per core, with its own connections and its own instances of every component.
//!
//! Modules in reading order:
//!
//! - [`load`]: from a resolved application to components that can be instantiated
//! - [`core`]: one serving thread; [`transport`] and [`activity`]: connections; [`clients`]: the limits for clients
//! - [`connection`]: HTTP requests; [`request_body`]: their bodies; [`request_limits`]: rates of single requests;
//!   [`routes`]: route matching
//! - [`deployment`]: which generation of a component gets a call; [`local`]: a component on one core
//! - [`pool`]: which instance gets a call; [`instance`] and [`instance_task`]: one instance; [`response_body`]: what an
//!   instance answers
//! - [`health`]: call statistics of a generation; [`swap`]: replacing a component while it serves
//! - [`answer`] and [`overview`]: responses made by the host; [`chain`]: HTTP requests between components; [`timer`]: periodic requests
//! - [`external_call`]: calls from outside the cores; [`termination`]: ending an instance from outside

pub mod activity;
pub mod answer;
pub mod chain;
pub mod clients;
pub mod connection;
pub mod core;
pub mod external_call;
pub mod health;
pub mod instance;
pub mod instance_task;
pub mod link_server;
pub mod load;
pub mod local;
pub mod observe;
pub mod overview;
pub mod pool;
pub mod request_body;
pub mod request_limits;
pub mod response_body;
pub mod stub;
pub mod transport;

pub mod deployment;
pub mod swap;
pub mod timer;

use crate::limits;
use crate::remote::sign::Key;
use anyhow::Context as _;
use load::Loaded;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// A host that is serving.
pub struct Running {
    /// The public HTTP address, with the port that was actually bound.
    pub address: SocketAddr,
    /// The address of the metrics and health endpoint, with the port that was actually bound.
    pub observe: Option<SocketAddr>,
    /// The address that accepts link calls from other hosts, with the port that was actually bound.
    pub links: Option<SocketAddr>,
    stop: watch::Sender<bool>,
    in_flight: Arc<AtomicUsize>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

/// Binds an address. The error says what to do about it; `flag` is the option that chooses the address.
pub fn bind(address: SocketAddr, flag: &str) -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind(address).map_err(|error| {
        let remedy = match error.kind() {
            std::io::ErrorKind::AddrInUse => format!(
                "another process listens there; stop it, or choose another address with {flag} 127.0.0.1:0"
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

/// Starts serving on `threads` cores, and on the observe and link addresses if there are any.
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
            "the shop has a test clock, which localmart clock advance moves; it is for tests only"
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
        let answering = link_server::start(loaded.clone(), key, listener, stopped.clone());
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
    /// Stops accepting connections and waits up to [`limits::DRAIN_TIMEOUT`] for requests in flight. Returns whether
    /// all of them finished.
    pub fn drain(self) -> bool {
        // Sending fails only if every thread has ended already.
        let _ = self.stop.send(true);
        let give_up = Instant::now() + limits::DRAIN_TIMEOUT;
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
