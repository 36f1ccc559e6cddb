//! The adapter to `wasi:http` 0.3: converts a WASI request to [`Incoming`] and a [`Response`] to a WASI response.

use super::message::Incoming;
use super::routes::{BodyError, HttpServer, Settings};
use super::{Problem, Response, answer};
use crate::config::{self, ConfigError};
use crate::log::{self, Level};
use crate::ports::Ports;
use crate::service::{Service, instance};
use crate::short_lived::ServiceStore;
use crate::token::TokenKey;
use spin_sdk::wasip3::http::types::{ErrorCode, Fields, Method, Request, Response as WasiResponse};
use spin_sdk::wasip3::{wit_future, wit_stream};
use std::any::Any;
use std::cell::RefCell;
use std::rc::Rc;

/// How many bytes of a body one read asks for.
const READ_BYTES: usize = 64 * 1024;

thread_local! {
    /// The server of this instance. A component has one HTTP API, so one slot is enough.
    static SERVER: RefCell<Option<Rc<dyn Any>>> = const { RefCell::new(None) };
}

type InstanceServer<S> = HttpServer<S, ServiceStore>;

/// Serves one request.
pub async fn handle<S: Service>(request: Request) -> Result<WasiResponse, ErrorCode> {
    let incoming = incoming(&request);
    let response = match server::<S>().await {
        Ok(server) => {
            answer(&server, incoming, async move |limit| {
                read(request, limit).await
            })
            .await
        }
        Err(error) => {
            let fields = [("component", S::NOUN), ("reason", &error.to_string())];
            log::write(Level::Error, "", "the component cannot start", &fields);
            Problem::unavailable().into_response(incoming.header("traceparent").unwrap_or_default())
        }
    };
    outgoing(response)
}

async fn server<S: Service>() -> Result<Rc<InstanceServer<S>>, ConfigError> {
    let known = SERVER.with_borrow(|slot| slot.clone());
    if let Some(server) = known.and_then(|server| server.downcast::<InstanceServer<S>>().ok()) {
        return Ok(server);
    }
    let ports = Ports::real();
    let token_key = TokenKey::parse(&config::text("jwt_public_key").await?);
    let settings = Settings {
        token_key: token_key.ok_or(ConfigError::Invalid(
            "jwt_public_key",
            "an Ed25519 key in base64url",
        ))?,
        sweep_token: config::text("sweep_token").await?,
        idempotency_ttl_ms: config::milliseconds("idempotency_ttl").await?,
    };
    let service = instance::<S>().await?;
    let server = Rc::new(HttpServer::new(service, settings, ports, ServiceStore));
    SERVER.with_borrow_mut(|slot| *slot = Some(server.clone()));
    Ok(server)
}

fn incoming(request: &Request) -> Incoming {
    let method = match request.get_method() {
        Method::Get => "GET".to_owned(),
        Method::Head => "HEAD".to_owned(),
        Method::Post => "POST".to_owned(),
        Method::Put => "PUT".to_owned(),
        Method::Delete => "DELETE".to_owned(),
        Method::Connect => "CONNECT".to_owned(),
        Method::Options => "OPTIONS".to_owned(),
        Method::Trace => "TRACE".to_owned(),
        Method::Patch => "PATCH".to_owned(),
        Method::Other(name) => name,
    };
    let header =
        |(name, value): (String, Vec<u8>)| (name, String::from_utf8_lossy(&value).into_owned());
    Incoming {
        method,
        target: request
            .get_path_with_query()
            .unwrap_or_else(|| "/".to_owned()),
        headers: request
            .get_headers()
            .copy_all()
            .into_iter()
            .map(header)
            .collect(),
    }
}

async fn read(request: Request, limit: usize) -> Result<Vec<u8>, BodyError> {
    let (_, unused) = wit_future::new(|| Ok(()));
    let (mut stream, trailers) = Request::consume_body(request, unused);
    let mut body = Vec::new();
    loop {
        let (status, chunk) = stream.read(Vec::with_capacity(READ_BYTES)).await;
        body.extend_from_slice(&chunk);
        if body.len() > limit {
            return Err(BodyError::TooLarge);
        }
        if matches!(status, spin_sdk::wit_bindgen::StreamResult::Dropped) {
            break;
        }
    }
    trailers.await.map(|_| body).map_err(|_| BodyError::Broken)
}

fn outgoing(response: Response) -> Result<WasiResponse, ErrorCode> {
    let mut entries: Vec<(String, Vec<u8>)> = Vec::with_capacity(response.headers.len() + 1);
    if ![204, 304].contains(&response.status) {
        entries.push((
            "content-length".to_owned(),
            response.body.len().to_string().into_bytes(),
        ));
    }
    entries.extend(
        response
            .headers
            .into_iter()
            .map(|(name, value)| (name, value.into_bytes())),
    );
    let internal =
        |error: &dyn std::fmt::Debug| ErrorCode::InternalError(Some(format!("{error:?}")));
    let fields = Fields::from_list(&entries).map_err(|error| internal(&error))?;
    let (_, trailers) = wit_future::new(|| Ok(None));
    let body = if response.body.is_empty() {
        None
    } else {
        let (mut writer, reader) = wit_stream::new();
        let bytes = response.body;
        spin_sdk::wasip3::spawn(async move {
            // The write fails if the client has disconnected; nobody needs the rest of the body then.
            let _ = writer.write_all(bytes).await;
        });
        Some(reader)
    };
    let (out, _sent) = WasiResponse::new(fields, body, trailers);
    out.set_status_code(response.status)
        .map_err(|()| internal(&response.status))?;
    Ok(out)
}
