//! The HTTP layer of a component. A handler decodes the request, calls one operation and encodes the result; everything
//! else happens here.
//!
//! In reading order: [`problem`] (problem+json), [`decode`] (strict bodies), [`message`] (requests, queries and
//! responses), [`routes`] (the route table and the order of checks), [`idempotency`] (keys on POST). `wasi` adapts the
//! layer to `wasi:http` 0.3. A component implements [`Service`] and calls [`crate::export_http!`].

pub mod decode;
pub mod idempotency;
pub mod message;
pub mod problem;
pub mod routes;
mod unique_json;
#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
pub mod wasi;

pub use decode::{Fields, Invalid};
pub use message::{IfMatch, Request, Response};
pub use problem::{FieldProblem, Problem};
pub use routes::{Access, Routes, answer};

use crate::config::ConfigError;
use crate::ports::Ports;

/// Longest request body in bytes.
pub const MAX_BODY_BYTES: usize = 1024 * 1024;

/// The result of a handler.
pub type Answer = Result<Response, Problem>;

/// A component with an HTTP API.
#[allow(async_fn_in_trait, reason = "components have one thread")]
pub trait Service: Sized + 'static {
    /// The noun: the name of the component, its folder, its database and its metrics.
    const NOUN: &'static str;

    /// Reads the configuration and builds the service. Called once per instance, before the first request.
    async fn start(ports: Ports) -> Result<Self, ConfigError>;

    /// The route table. Called once per instance.
    fn routes() -> Routes<Self>;
}

/// Exports a [`Service`] as `wasi:http/handler@0.3.0`.
#[macro_export]
macro_rules! export_http {
    ($service:ty) => {
        #[cfg(target_arch = "wasm32")]
        mod http_export {
            use super::*;
            struct Component;
            $crate::wasip3::http::service::export!(Component with_types_in $crate::wasip3);
            impl $crate::wasip3::exports::http::handler::Guest for Component {
                async fn handle(
                    request: $crate::wasip3::http::types::Request,
                ) -> Result<
                    $crate::wasip3::http::types::Response,
                    $crate::wasip3::http::types::ErrorCode,
                > {
                    $crate::http::wasi::handle::<$service>(request).await
                }
            }
        }
    };
}
