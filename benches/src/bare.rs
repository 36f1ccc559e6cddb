//! The ceiling: hyper and wasmtime with as little as possible in between. Components and their imports are those of the host. The serving
//! code is not: no deadlines, metrics, traces, fairness or limits on instances. Each core keeps instances, and gives a request to one
//! with capacity.

use futures::channel::oneshot;
use futures::stream::{FuturesUnordered, StreamExt as _};
use http::{Request, Response};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use localmart_host::app::{ResolveOptions, Target, resolve};
use localmart_host::capability::sqlite::Synchronous;
use localmart_host::capability::state::{HostState, HttpIndices, LoadedComponent};
use localmart_host::clock::Clock;
use localmart_host::engine::EngineOptions;
use localmart_host::link::binding::{Binding, Bindings};
use localmart_host::manifest::Source;
use localmart_host::remote::client::RemoteConfig;
use localmart_host::runtime_config::RuntimeConfig;
use localmart_host::serve::load::{LoadOptions, Loaded, load};
use localmart_host::termination::Termination;
use localmart_measure::server::{Server, free_address};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::future::poll_fn;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};
use tokio::sync::mpsc;
use wasmtime::AsContextMut as _;
use wasmtime_wasi_http::handler::{Prepared, Proxy};
use wasmtime_wasi_http::{Error, WasiBody, WasiHttpView as _};

type Answer = Result<Response<WasiBody>, wasmtime::Error>;
type Call = (Request<WasiBody>, oneshot::Sender<Answer>);

/// Serves an application until it is killed.
pub(crate) fn serve(listen: SocketAddr, manifest: &Path, state: &Path) -> anyhow::Result<()> {
    let loaded = Arc::new(loaded(manifest, state)?);
    let listener = TcpListener::bind(listen)?;
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let inboxes: Vec<mpsc::UnboundedSender<TcpStream>> = (0..threads)
        .map(|_| {
            let (inbox, handed) = mpsc::unbounded_channel();
            let loaded = loaded.clone();
            std::thread::spawn(move || core(loaded, handed));
            inbox
        })
        .collect();
    // Connections are assigned to the cores in turn.
    for (stream, inbox) in listener.incoming().zip(inboxes.iter().cycle()) {
        let stream = stream?;
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        inbox.send(stream)?;
    }
    Ok(())
}

fn loaded(manifest: &Path, state: &Path) -> anyhow::Result<Loaded> {
    let secrets = std::fs::read_to_string(state.join("secrets.toml")).unwrap_or_default();
    let mut made: BTreeMap<String, String> = toml::from_str(&secrets)?;
    // The manifest names the components; each says which exports it has.
    let source = Source::read(manifest)?;
    let known = source.parse()?.variables;
    made.retain(|name, _| known.contains_key(name));
    let options = ResolveOptions {
        generated: made,
        ..ResolveOptions::default()
    };
    let app = resolve(source, &options)?;
    let options = LoadOptions {
        engine: EngineOptions::default(),
        state_dir: state.to_owned(),
        aot: Some(state.join("aot")),
        synchronous: Synchronous::Normal,
        runtime_config: RuntimeConfig::default(),
        bindings: Bindings::all(Binding::Fused),
        remotes: RemoteConfig::default(),
        tls: None,
        extra_metrics: None,
        points: None,
        clock: Clock::machine(),
        progress: None,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(load(app, options))
}

fn core(loaded: Arc<Loaded>, mut handed: mpsc::UnboundedReceiver<TcpStream>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async move {
        let instances: BTreeMap<String, Rc<Instances>> = loaded
            .deployments
            .iter()
            .map(|(id, deployment)| {
                let component = deployment.stable().component.clone();
                (id.clone(), Rc::new(Instances::new(component)))
            })
            .collect();
        let instances = Rc::new(instances);
        while let Some(stream) = handed.recv().await {
            let stream = tokio::net::TcpStream::from_std(stream)?;
            let (loaded, instances) = (loaded.clone(), instances.clone());
            tokio::task::spawn_local(async move {
                let service = hyper::service::service_fn(|request| {
                    let (loaded, instances) = (loaded.clone(), instances.clone());
                    async move { Ok::<_, Infallible>(answer(&loaded, &instances, request).await) }
                });
                // A client that disconnects ends its connection.
                let _ = http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
        Ok(())
    })
}

async fn answer(
    loaded: &Loaded,
    instances: &BTreeMap<String, Rc<Instances>>,
    request: Request<Incoming>,
) -> Response<WasiBody> {
    let path = request.uri().path();
    let route = loaded
        .routes
        .iter()
        .find(|route| route.spec.pattern.matches(path).is_some());
    let found = route.and_then(|route| match &route.spec.target {
        Target::Component(id) => instances.get(id),
        Target::Fixed(_) => None,
    });
    let (mut parts, body) = request.into_parts();
    let mut uri = std::mem::take(&mut parts.uri).into_parts();
    uri.scheme = Some(http::uri::Scheme::HTTP);
    uri.authority = Some(http::uri::Authority::from_static("localhost"));
    parts.uri = http::Uri::from_parts(uri).unwrap_or_default();
    let body = body.map_err(|_| Error::ConnectionTerminated).boxed_unsync();
    let answered = match found {
        Some(instances) => instances.call(Request::from_parts(parts, body)).await,
        None => Err(wasmtime::Error::msg("no route")),
    };
    answered.unwrap_or_else(|_| {
        let empty = http_body_util::Empty::new().map_err(|never| match never {});
        let mut response = Response::new(empty.boxed_unsync());
        *response.status_mut() = http::StatusCode::INTERNAL_SERVER_ERROR;
        response
    })
}

/// The instances of a component on a core.
struct Instances {
    component: Arc<LoadedComponent>,
    all: RefCell<Vec<Rc<Instance>>>,
}

/// An instance, as seen by its callers.
#[derive(Default)]
struct Instance {
    inbox: RefCell<VecDeque<Call>>,
    busy: Cell<usize>,
    taken: Cell<usize>,
    waker: RefCell<Option<Waker>>,
}

impl Instances {
    fn new(component: Arc<LoadedComponent>) -> Self {
        Self {
            component,
            all: RefCell::default(),
        }
    }

    async fn call(self: &Rc<Self>, request: Request<WasiBody>) -> Answer {
        let (answer, answered) = oneshot::channel();
        let spec = &self.component.spec;
        let has_room = |one: &&Rc<Instance>| {
            one.busy.get() < spec.calls_per_instance && one.taken.get() < spec.calls_per_life
        };
        let found = self.all.borrow().iter().rev().find(has_room).cloned();
        let instance = found.unwrap_or_else(|| self.make());
        instance.busy.set(instance.busy.get() + 1);
        instance.taken.set(instance.taken.get() + 1);
        instance.inbox.borrow_mut().push_back((request, answer));
        if let Some(waker) = instance.waker.borrow_mut().take() {
            waker.wake();
        }
        answered
            .await
            .unwrap_or_else(|_| Err(wasmtime::Error::msg("the instance ended")))
    }

    fn make(self: &Rc<Self>) -> Rc<Instance> {
        let instance = Rc::new(Instance::default());
        self.all.borrow_mut().push(instance.clone());
        let (all, made) = (self.clone(), instance.clone());
        tokio::task::spawn_local(async move {
            if let Err(error) = run(&all.component, &made).await {
                eprintln!("an instance of {} ended: {error:?}", all.component.id);
            }
            all.all.borrow_mut().retain(|one| !Rc::ptr_eq(one, &made));
        });
        instance
    }
}

async fn run(component: &Arc<LoadedComponent>, instance: &Instance) -> anyhow::Result<()> {
    let mut store = HostState::store(component, &Arc::new(Termination::default()))?;
    let made = component
        .code
        .component()?
        .instantiate_async(&mut store)
        .await?;
    let Some(HttpIndices::P3(indices)) = &component.entry_points.http else {
        anyhow::bail!("only WASI 0.3 is served here");
    };
    let proxy = Proxy::P3(indices.load(&mut store, &made)?);
    let life = component.spec.calls_per_life;
    let served = store.run_concurrent(async |accessor| {
        let mut calls = FuturesUnordered::new();
        poll_fn(|cx| {
            instance.waker.replace(Some(cx.waker().clone()));
            loop {
                if let Poll::Ready(Some(answered)) = calls.poll_next_unpin(cx) {
                    let answered: wasmtime::Result<()> = answered;
                    instance.busy.set(instance.busy.get().saturating_sub(1));
                    if answered.is_err() {
                        return Poll::Ready(answered);
                    }
                    continue;
                }
                let Some((request, answer)) = instance.inbox.borrow_mut().pop_front() else {
                    // A body may still be sent when its call has returned.
                    let done = instance.taken.get() >= life
                        && calls.is_empty()
                        && accessor.poll_no_interesting_tasks(cx).is_ready();
                    return if done {
                        Poll::Ready(Ok(()))
                    } else {
                        Poll::Pending
                    };
                };
                let prepared = accessor.with(|mut access| {
                    let store = access.as_context_mut();
                    Prepared::new(store, &proxy, request, |state| state.http(), answer)
                });
                match prepared {
                    Ok(prepared) => calls.push(async move {
                        prepared
                            .run(accessor, std::future::pending())
                            .await
                            .map(drop)
                    }),
                    Err(error) => return Poll::Ready(Err(error)),
                }
            }
        })
        .await
    });
    Ok(served.await??)
}

/// Starts this program on an application.
pub(crate) fn server(manifest: &Path, state: &Path, path: &str) -> anyhow::Result<Server> {
    let address = free_address()?;
    let mut command = Command::new(std::env::current_exe()?);
    command.stderr(Stdio::null());
    command.args(["bare", "--listen", &address.to_string(), "--manifest"]);
    command.arg(manifest).arg("--state").arg(state);
    Server::start(command, address, path)
}
