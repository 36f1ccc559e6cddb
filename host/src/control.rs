//! The control socket: a Unix socket that only this user can open. It answers questions about a running host and
//! executes commands such as swaps. The protocol is HTTP, so `curl --unix-socket` works; it is never exposed to a
//! network.
//!
//! [`socket`] finds the socket, [`status`] describes the host, [`clock`] moves a test clock, [`client`] is the other side.

pub mod client;
pub mod clock;
pub mod socket;
pub mod status;

use crate::fault::{Fault, FaultTarget};
use crate::link::binding::Link;
use crate::serve::swap::Swapper;
use anyhow::{Context as _, bail};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::Arc;

/// The maximum size of a request, in bytes.
const QUESTION_BYTES: usize = 1024 * 1024;

/// What a host reports about itself besides its status. The program that starts it decides.
#[derive(Clone, Debug, Default)]
pub struct About {
    /// `GET /about`: addresses, folders, files. Nothing secret.
    pub facts: serde_json::Value,
    /// `GET /variables`: the values of the application's variables, secrets included.
    pub variables: BTreeMap<String, String>,
}

/// The control socket of a running host. Dropping it removes the socket file.
pub struct Control {
    path: PathBuf,
}

impl Drop for Control {
    fn drop(&mut self) {
        // The file may have been removed already.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// A request about one component.
#[derive(Debug, Serialize, Deserialize)]
pub struct ComponentName {
    /// The id of the component.
    pub component: String,
}

/// A request about one fault, or about all of them.
#[derive(Debug, Serialize, Deserialize)]
pub struct WhichFault {
    /// The number of the fault; `None` means all faults.
    pub number: Option<u64>,
}

/// The answer when a fault was added.
#[derive(Debug, Serialize, Deserialize)]
pub struct FaultAdded {
    /// The number of the fault.
    pub number: u64,
}

/// The answer when faults were removed.
#[derive(Debug, Serialize, Deserialize)]
pub struct FaultsCleared {
    /// The number of removed faults.
    pub cleared: usize,
}

/// The answer when a recording was stopped.
#[derive(Debug, Serialize, Deserialize)]
pub struct RecordingEnded {
    /// The number of recorded calls.
    pub calls: u64,
}

/// The answer to a call.
#[derive(Debug, Serialize, Deserialize)]
pub struct CallAnswer {
    /// The returned value in WAVE; `None` if the function returns nothing.
    pub answer: Option<String>,
}

/// A request to record the calls of a link.
#[derive(Debug, Serialize, Deserialize)]
pub struct StartRecording {
    /// The calling component.
    pub caller: String,
    /// The called component.
    pub callee: String,
    /// The file to write.
    pub file: PathBuf,
}

/// A request to call a function of a component.
#[derive(Debug, Serialize, Deserialize)]
pub struct CallCommand {
    /// The component to call.
    pub component: String,
    /// The name of the function.
    pub function: String,
    /// The arguments in WAVE.
    pub arguments: Vec<String>,
}

/// Opens the control socket of a port and answers requests on a thread of its own.
pub fn start(swapper: Arc<Swapper>, port: u16, about: About) -> anyhow::Result<Control> {
    let (path, listener) = socket::bind(port)?;
    listener.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let thread = std::thread::Builder::new().name("control".to_owned());
    let serving = thread.spawn(move || {
        if let Err(error) = runtime.block_on(serve(&swapper, &Arc::new(about), listener)) {
            tracing::error!(%error, "the control socket cannot be served");
        }
    });
    serving.context("starting the control thread")?;
    Ok(Control { path })
}

async fn serve(
    swapper: &Arc<Swapper>,
    about: &Arc<About>,
    listener: UnixListener,
) -> std::io::Result<()> {
    let listener = tokio::net::UnixListener::from_std(listener)?;
    let owner = rustix::process::getuid().as_raw();
    loop {
        let (stream, _) = listener.accept().await?;
        // The folder keeps everybody else out; secrets deserve a second lock.
        if !stream.peer_cred().is_ok_and(|peer| peer.uid() == owner) {
            continue;
        }
        let (swapper, about) = (swapper.clone(), about.clone());
        tokio::spawn(async move {
            let service = hyper::service::service_fn(move |request| {
                let (swapper, about) = (swapper.clone(), about.clone());
                async move { Ok::<_, Infallible>(answer(swapper, about, request).await) }
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service);
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a control connection ended early");
            }
        });
    }
}

async fn answer(
    swapper: Arc<Swapper>,
    about: Arc<About>,
    request: Request<Incoming>,
) -> Response<Full<Bytes>> {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let body = Limited::new(request.into_body(), QUESTION_BYTES)
        .collect()
        .await;
    let Ok(body) = body else {
        return response(
            StatusCode::PAYLOAD_TOO_LARGE,
            &json!({ "error": "the request is too large" }),
        );
    };
    let body = body.to_bytes();
    // Compiling takes long, and other requests should be answered meanwhile.
    let answered =
        tokio::task::spawn_blocking(move || route(&swapper, &about, &method, &path, &body));
    match answered.await {
        Ok(Ok(Some(body))) => response(StatusCode::OK, &body),
        Ok(Ok(None)) => {
            let error = "unknown request; there are GET /about, GET /variables, GET /status, GET and POST /clock, GET /swap/<component>, POST /swap, /promote, /rollback and /call, POST and DELETE /record, GET, POST and DELETE /faults";
            response(StatusCode::NOT_FOUND, &json!({ "error": error }))
        }
        Ok(Err(error)) => {
            let error = format!("{error:#}");
            response(StatusCode::BAD_REQUEST, &json!({ "error": error }))
        }
        Err(_) => {
            let error = "the host panicked; see its log";
            response(
                StatusCode::INTERNAL_SERVER_ERROR,
                &json!({ "error": error }),
            )
        }
    }
}

fn route(
    swapper: &Arc<Swapper>,
    about: &About,
    method: &Method,
    path: &str,
    body: &[u8],
) -> anyhow::Result<Option<serde_json::Value>> {
    let answer = match (method, path) {
        (&Method::GET, "/about") => about.facts.clone(),
        (&Method::GET, "/variables") => serde_json::to_value(&about.variables)?,
        (&Method::GET, "/status") => serde_json::to_value(status::status(swapper)?)?,
        (&Method::GET, "/clock") => serde_json::to_value(clock::status(&swapper.loaded().clock))?,
        (&Method::POST, "/clock") => {
            serde_json::to_value(clock::advance(swapper.loaded(), &read(body)?)?)?
        }
        (&Method::POST, "/swap") => serde_json::to_value(swapper.swap(read(body)?)?)?,
        (&Method::POST, "/promote") => {
            let ComponentName { component } = read(body)?;
            serde_json::to_value(swapper.promote(&component)?)?
        }
        (&Method::POST, "/rollback") => {
            let ComponentName { component } = read(body)?;
            serde_json::to_value(swapper.rollback(&component, "requested by the user")?)?
        }
        (&Method::POST, "/record") => {
            let StartRecording {
                caller,
                callee,
                file,
            } = read(body)?;
            passes(swapper, &caller, &callee)?;
            let link = Link { caller, callee };
            swapper.loaded().recorder.begin(link, &file)?;
            json!({})
        }
        (&Method::DELETE, "/record") => {
            let calls = swapper.loaded().recorder.end()?;
            serde_json::to_value(RecordingEnded { calls })?
        }
        (&Method::POST, "/call") => {
            let call: CallCommand = read(body)?;
            let arguments: Vec<&str> = call.arguments.iter().map(String::as_str).collect();
            let loaded = swapper.loaded();
            let answer = loaded.call(&call.component, &call.function, &arguments)?;
            serde_json::to_value(CallAnswer {
                answer: Some(answer),
            })?
        }
        (&Method::GET, "/faults") => serde_json::to_value(swapper.loaded().faults.list())?,
        (&Method::POST, "/faults") => {
            let fault: Fault = read(body)?;
            possible(swapper, &fault)?;
            let number = swapper.loaded().faults.add(fault.clone());
            tracing::warn!(number, %fault, "a fault was added");
            serde_json::to_value(FaultAdded { number })?
        }
        (&Method::DELETE, "/faults") => {
            let WhichFault { number } = read(body)?;
            let cleared = swapper.loaded().faults.clear(number);
            serde_json::to_value(FaultsCleared { cleared })?
        }
        (&Method::GET, path) => match path.strip_prefix("/swap/") {
            Some(component) => serde_json::to_value(swapper.report(component)?)?,
            None => return Ok(None),
        },
        _ => return Ok(None),
    };
    Ok(Some(answer))
}

/// Checks that the calls of a link pass through the host.
fn passes(swapper: &Swapper, caller: &str, callee: &str) -> anyhow::Result<()> {
    let plans = swapper.loaded().loader.plans();
    let Some(plan) = plans.get(caller) else {
        let known: Vec<&str> = plans.keys().map(String::as_str).collect();
        bail!(
            "there is no component `{caller}` here; known components: {}",
            known.join(", ")
        );
    };
    if plan.fused.contains(callee) {
        bail!(
            "the link {caller}->{callee} is fused, so its calls do not pass through the host; start with --binding '{caller}->{callee}=isolated'"
        );
    }
    if !plan.local.contains(callee) && !plan.remote.contains(callee) {
        let known: Vec<&str> = plan.local.union(&plan.remote).map(String::as_str).collect();
        bail!(
            "`{caller}` does not call `{callee}`; it calls {}",
            known.join(", ")
        );
    }
    Ok(())
}

/// Checks that a fault can take effect.
fn possible(swapper: &Swapper, fault: &Fault) -> anyhow::Result<()> {
    let loaded = swapper.loaded();
    match &fault.target {
        FaultTarget::Link { caller, callee } => passes(swapper, caller, callee)?,
        FaultTarget::Capability {
            component: Some(component),
            ..
        } => {
            if !loaded.deployments.contains_key(component) {
                bail!("there is no component `{component}` here");
            }
        }
        FaultTarget::Capability {
            component: None, ..
        } => {}
    }
    Ok(())
}

fn read<T: DeserializeOwned>(body: &[u8]) -> anyhow::Result<T> {
    serde_json::from_slice(body).context("the request is invalid")
}

fn response(status: StatusCode, body: &serde_json::Value) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body.to_string())));
    *response.status_mut() = status;
    response.headers_mut().insert(
        http::header::CONTENT_TYPE,
        http::HeaderValue::from_static("application/json"),
    );
    response
}
