//! The HTTP layer of a component. A handler decodes the request, calls one operation and encodes the result; everything
//! else happens here.
//!
//! In reading order: [`problem`] (problem+json), [`decode`] (strict bodies), [`message`] (requests, queries and
//! responses), [`routes`] (the route table and the order of checks), [`idempotency`] (keys on POST), `sweep` (the periodic
//! work of a service). `wasi` adapts the
//! layer to `wasi:http` 0.3.

pub mod decode;
pub mod idempotency;
pub mod message;
pub mod problem;
pub mod routes;
mod sweep;
mod unique_json;
#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
pub mod wasi;

pub use decode::{Fields, Invalid};
pub use message::{IfMatch, Request, Response};
pub use problem::{FieldProblem, Problem};
pub use routes::{Access, Routes, answer};

/// Longest request body in bytes.
pub const MAX_BODY_BYTES: usize = 1024 * 1024;

/// The result of a handler.
pub type Answer = Result<Response, Problem>;

/// Exports a [`crate::service::Service`] as `wasi:http/handler@0.3.0`.
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
