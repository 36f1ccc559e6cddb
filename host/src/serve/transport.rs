//! Accepts connections and serves HTTP on them, for all addresses of a host: waits when the process has too many open
//! files, refuses connections beyond the limits, and closes connections whose clients are silent.

use super::activity::{Activity, Socket, UnderWay, check_interval};
use super::clients::{BUSY, Clients, Connected, Share};
use crate::app::client_limits::ClientLimits;
use crate::limits;
use crate::tls::ServerTls;
use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// How often a connection that drains is checked.
const DRAIN_CHECK_INTERVAL: Duration = Duration::from_millis(20);

/// Runs hyper's tasks on the core that accepted the connection.
#[derive(Clone, Copy)]
struct LocalExecutor;

impl<F: Future + 'static> hyper::rt::Executor<F> for LocalExecutor {
    fn execute(&self, task: F) {
        tokio::task::spawn_local(async move {
            task.await;
        });
    }
}

/// A listener that waits after an error instead of spinning.
#[derive(Debug)]
pub struct Acceptor {
    listener: TcpListener,
    clients: Arc<Clients>,
    pause: Duration,
    blocked_until: Option<tokio::time::Instant>,
}

impl Acceptor {
    /// Needs an async runtime.
    pub fn new(listener: std::net::TcpListener, clients: Arc<Clients>) -> std::io::Result<Self> {
        Ok(Self {
            listener: TcpListener::from_std(listener)?,
            clients,
            pause: limits::ACCEPT_PAUSE,
            blocked_until: None,
        })
    }

    /// The next connection within the limits. The future may be dropped at any time.
    pub async fn accept(&mut self) -> (TcpStream, SocketAddr, Connected) {
        loop {
            if let Some(until) = self.blocked_until {
                tokio::time::sleep_until(until).await;
                self.blocked_until = None;
            }
            match self.listener.accept().await {
                Ok((stream, peer)) => {
                    self.pause = limits::ACCEPT_PAUSE;
                    // Without it, responses can wait up to 40 ms for the client's acknowledgement.
                    if let Err(error) = stream.set_nodelay(true) {
                        tracing::debug!(%error, "TCP_NODELAY could not be set");
                    }
                    match self.clients.connect(peer.ip()) {
                        Ok(connected) => return (stream, peer, connected),
                        // The client may already be gone, and a full send buffer is no reason to wait.
                        Err(_) => drop(stream.try_write(BUSY)),
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    self.blocked_until = Some(tokio::time::Instant::now() + self.pause);
                    self.pause = (self.pause * 2).min(limits::ACCEPT_MAX_PAUSE);
                }
            }
        }
    }
}

/// Serves HTTP on a connection until it ends, its client is silent for too long, or the host drains. `answer` gets the
/// activity of the connection. With `ours`, a head that is not valid HTTP is answered with problem+json.
pub async fn serve<S, A, F, B>(
    stream: S,
    (clients, ours): (&Clients, bool),
    mut stopped: watch::Receiver<bool>,
    answer: A,
) where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
    A: Fn(Request<Incoming>, Rc<Activity>) -> F,
    F: Future<Output = Response<B>> + 'static,
    B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + 'static,
{
    let activity = Activity::new();
    let service = hyper::service::service_fn(|request| {
        let answer = answer(request, activity.clone());
        async move { Ok::<_, Infallible>(answer.await) }
    });
    // hyper's own timeouts are not used: they allocate a timer for each request.
    let builder = hyper_util::server::conn::auto::Builder::new(LocalExecutor);
    let socket = TokioIo::new(Socket::new(stream, activity.clone(), ours));
    let mut connection = pin!(builder.serve_connection(socket, service));
    let interval = check_interval(&clients.limits).min(limits::SILENCE_CHECK_INTERVAL);
    let mut check = pin!(tokio::time::sleep(interval));
    let mut ending_since: Option<Instant> = None;
    loop {
        tokio::select! {
            biased;
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "a connection ended early");
                }
                return;
            }
            () = check.as_mut() => {
                let now = Instant::now();
                let mut pause = interval;
                match ending_since {
                    None if activity.is_silent(&clients.limits, clients.longest_silence(), now) => {
                        clients.closed_silent();
                        if activity.is_blocked() {
                            return;
                        }
                        ending_since = Some(now);
                        connection.as_mut().graceful_shutdown();
                        pause = DRAIN_CHECK_INTERVAL;
                    }
                    None => (),
                    Some(since) => {
                        if activity.waits_for_client() && now.duration_since(since) >= limits::CLOSE_GRACE {
                            return;
                        }
                        pause = DRAIN_CHECK_INTERVAL;
                    }
                }
                check.as_mut().reset(tokio::time::Instant::now() + pause);
            }
            _ = stopped.wait_for(|stopped| *stopped), if ending_since.is_none() => {
                ending_since = Some(Instant::now());
                connection.as_mut().graceful_shutdown();
                check.as_mut().reset(tokio::time::Instant::now() + DRAIN_CHECK_INTERVAL);
            }
        }
    }
}

/// Serves an address that only operators and other hosts use, on the current thread, until the host stops.
pub async fn serve_internal<A, F, B>(
    (listener, tls): (std::net::TcpListener, Option<Arc<ServerTls>>),
    address: &str,
    mut stopped: watch::Receiver<bool>,
    answer: A,
) where
    A: Fn(Request<Incoming>) -> F + Clone + 'static,
    F: Future<Output = Response<B>> + 'static,
    B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Unpin + 'static,
{
    let limits = ClientLimits {
        connections: limits::INTERNAL_CONNECTIONS,
        connections_per_address: limits::INTERNAL_CONNECTIONS,
        ..ClientLimits::default()
    };
    let clients = Arc::new(Clients::new(limits));
    let mut acceptor = match Acceptor::new(listener, clients.clone()) {
        Ok(acceptor) => acceptor,
        Err(error) => {
            tracing::error!(%error, "{address} cannot be served");
            return;
        }
    };
    loop {
        let (stream, _, connected) = tokio::select! {
            accepted = acceptor.accept() => accepted,
            _ = stopped.wait_for(|stopped| *stopped) => return,
        };
        let (clients, answer, stopped) = (clients.clone(), answer.clone(), stopped.clone());
        let tls = tls.clone();
        tokio::task::spawn_local(async move {
            let _connected = connected;
            let answer = |request: Request<Incoming>, activity: Rc<Activity>| {
                let under_way = activity.request(request.version());
                let answered = answer(request);
                async move { answered.await.map(|body| Sent::new(body, under_way, None)) }
            };
            let Some(tls) = tls else {
                return serve(stream, (&clients, false), stopped, answer).await;
            };
            if let Some(stream) = tls.accept(stream, clients.limits.head_timeout).await {
                serve(stream, (&clients, false), stopped, answer).await;
            }
        });
    }
}

/// A response body, which keeps its request counted until it is sent.
pub struct Sent<B> {
    body: B,
    _under_way: UnderWay,
    _share: Option<Share>,
}

impl<B> Sent<B> {
    /// Wraps a body.
    pub fn new(body: B, under_way: UnderWay, share: Option<Share>) -> Self {
        Self {
            body,
            _under_way: under_way,
            _share: share,
        }
    }
}

impl<B: Body + Unpin> Body for Sent<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
