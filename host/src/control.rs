//! The control socket: a Unix socket that only this user can open, on which a running host is asked to swap components and says
//! how it is. It speaks HTTP, so that `curl --unix-socket` will do; it is never on a network.
//!
//! [`place`] says where it is, [`status`] what is told, [`client`] asks.

pub mod client;
pub mod place;
pub mod status;

use crate::fault::{Fault, Place};
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

/// Bytes of a question.
const QUESTION_BYTES: usize = 1024 * 1024;

/// What a host says of itself beside its status. Whoever starts it decides what is in it.
#[derive(Clone, Debug, Default)]
pub struct About {
    /// `GET /about`: addresses, folders, files. Nothing secret.
    pub facts: serde_json::Value,
    /// `GET /variables`: the values that the application's variables have, secrets included.
    pub variables: BTreeMap<String, String>,
}

/// The control socket of a running host; it goes when this is dropped.
pub struct Control {
    path: PathBuf,
}

impl Drop for Control {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// A component that is named.
#[derive(Debug, Serialize, Deserialize)]
pub struct Named {
    /// Its id.
    pub component: String,
}

/// A fault by its number; all without one.
#[derive(Debug, Serialize, Deserialize)]
pub struct Which {
    /// Its number.
    pub number: Option<u64>,
}

/// A fault that was added.
#[derive(Debug, Serialize, Deserialize)]
pub struct Added {
    /// Its number.
    pub number: u64,
}

/// Faults that were cleared.
#[derive(Debug, Serialize, Deserialize)]
pub struct Cleared {
    /// How many.
    pub cleared: usize,
}

/// A recording that ended.
#[derive(Debug, Serialize, Deserialize)]
pub struct Ended {
    /// How many calls it has.
    pub calls: u64,
}

/// What a call from outside brought back, in WAVE.
#[derive(Debug, Serialize, Deserialize)]
pub struct Answered {
    /// The value.
    pub answer: Option<String>,
}

/// A link that is to be recorded.
#[derive(Debug, Serialize, Deserialize)]
pub struct Record {
    /// Who calls.
    pub caller: String,
    /// Who is called.
    pub callee: String,
    /// Into which file.
    pub file: PathBuf,
}

/// A call from outside; values in WAVE.
#[derive(Debug, Serialize, Deserialize)]
pub struct Call {
    /// Who is called.
    pub component: String,
    /// What.
    pub function: String,
    /// With what.
    pub arguments: Vec<String>,
}

/// Starts answering on the socket of a port.
pub fn start(swapper: Arc<Swapper>, port: u16, about: About) -> anyhow::Result<Control> {
    let (path, listener) = place::bind(port)?;
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
            &json!({ "error": "too long" }),
        );
    };
    let body = body.to_bytes();
    // Compiling takes long; other questions are answered meanwhile.
    let answered =
        tokio::task::spawn_blocking(move || route(&swapper, &about, &method, &path, &body));
    match answered.await {
        Ok(Ok(Some(body))) => response(StatusCode::OK, &body),
        Ok(Ok(None)) => {
            let error = "there are GET /about, GET /variables, GET /status, GET /swap/<component>, POST /swap, /promote, /rollback and /call, POST and DELETE /record, GET, POST and DELETE /faults";
            response(StatusCode::NOT_FOUND, &json!({ "error": error }))
        }
        Ok(Err(error)) => {
            let error = format!("{error:#}");
            response(StatusCode::BAD_REQUEST, &json!({ "error": error }))
        }
        Err(_) => {
            let error = "the host failed; its log says why";
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
        (&Method::POST, "/swap") => serde_json::to_value(swapper.swap(read(body)?)?)?,
        (&Method::POST, "/promote") => {
            let Named { component } = read(body)?;
            serde_json::to_value(swapper.promote(&component)?)?
        }
        (&Method::POST, "/rollback") => {
            let Named { component } = read(body)?;
            serde_json::to_value(swapper.rollback(&component, "it was asked for")?)?
        }
        (&Method::POST, "/record") => {
            let Record {
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
            serde_json::to_value(Ended { calls })?
        }
        (&Method::POST, "/call") => {
            let call: Call = read(body)?;
            let arguments: Vec<&str> = call.arguments.iter().map(String::as_str).collect();
            let loaded = swapper.loaded();
            let answer = loaded.call(&call.component, &call.function, &arguments)?;
            serde_json::to_value(Answered {
                answer: Some(answer),
            })?
        }
        (&Method::GET, "/faults") => serde_json::to_value(swapper.loaded().faults.list())?,
        (&Method::POST, "/faults") => {
            let fault: Fault = read(body)?;
            possible(swapper, &fault)?;
            let number = swapper.loaded().faults.add(fault.clone());
            tracing::warn!(number, %fault, "a fault was put here on purpose");
            serde_json::to_value(Added { number })?
        }
        (&Method::DELETE, "/faults") => {
            let Which { number } = read(body)?;
            let cleared = swapper.loaded().faults.clear(number);
            serde_json::to_value(Cleared { cleared })?
        }
        (&Method::GET, path) => match path.strip_prefix("/swap/") {
            Some(component) => serde_json::to_value(swapper.report(component)?)?,
            None => return Ok(None),
        },
        _ => return Ok(None),
    };
    Ok(Some(answer))
}

/// A link whose calls pass the host.
fn passes(swapper: &Swapper, caller: &str, callee: &str) -> anyhow::Result<()> {
    let units = swapper.loaded().maker.units();
    let Some(unit) = units.get(caller) else {
        let known: Vec<&str> = units.keys().map(String::as_str).collect();
        bail!(
            "there is no component `{caller}` here; there are {}",
            known.join(", ")
        );
    };
    if unit.inside.contains(callee) {
        bail!(
            "the link {caller}->{callee} is fused: its calls do not pass the host; start with --binding '{caller}->{callee}=isolated'"
        );
    }
    if !unit.across.contains(callee) && !unit.away.contains(callee) {
        let known: Vec<&str> = unit.across.union(&unit.away).map(String::as_str).collect();
        bail!(
            "`{caller}` does not call `{callee}`; it calls {}",
            known.join(", ")
        );
    }
    Ok(())
}

/// A fault is put only where it can strike.
fn possible(swapper: &Swapper, fault: &Fault) -> anyhow::Result<()> {
    let loaded = swapper.loaded();
    match &fault.place {
        Place::Link { caller, callee } => passes(swapper, caller, callee)?,
        Place::Capability {
            component: Some(component),
            ..
        } => {
            if !loaded.units.contains_key(component) {
                bail!("there is no component `{component}` here");
            }
        }
        Place::Capability {
            component: None, ..
        } => {}
    }
    Ok(())
}

fn read<T: DeserializeOwned>(body: &[u8]) -> anyhow::Result<T> {
    serde_json::from_slice(body).context("the question cannot be read")
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
