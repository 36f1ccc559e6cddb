//! The HTTP door of a component, as `API.md` wants it: decode, one verb, encode; everything else happens here.
//!
//! In reading order: [`problem`] (problem+json), [`decode`] (strict bodies and queries), [`message`] (requests and
//! responses), [`routes`] (the table and the order of checks), [`idempotency`] (keys on POST). `wasi` adapts it to
//! `wasi:http` 0.3. A component implements [`Service`] and calls [`crate::door!`].

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
pub use message::{Request, Response};
pub use problem::{FieldProblem, Problem};
pub use routes::{Access, Routes, answer};

use crate::config::ConfigError;
use crate::ports::Ports;

/// Longest request body in bytes.
pub const MAX_BODY_BYTES: usize = 1024 * 1024;

/// What a handler returns.
pub type Answer = Result<Response, Problem>;

/// A component as the door sees it.
#[allow(async_fn_in_trait, reason = "components have one thread")]
pub trait Service: Sized + 'static {
    /// The noun: the name of the folder, of the component, of its metrics.
    const NOUN: &'static str;

    /// Reads the configuration and wires the service; once per instance.
    async fn start(ports: Ports) -> Result<Self, ConfigError>;

    /// The routes; once per instance.
    fn routes() -> Routes<Self>;
}

/// Exports a [`Service`] as `wasi:http/handler@0.3.0`.
#[macro_export]
macro_rules! door {
    ($service:ty) => {
        #[cfg(target_arch = "wasm32")]
        mod door_export {
            use super::*;
            struct Door;
            $crate::wasip3::http::service::export!(Door with_types_in $crate::wasip3);
            impl $crate::wasip3::exports::http::handler::Guest for Door {
                async fn handle(
                    request: $crate::wasip3::http::types::Request,
                ) -> Result<
                    $crate::wasip3::http::types::Response,
                    $crate::wasip3::http::types::ErrorCode,
                > {
                    $crate::door::wasi::handle::<$service>(request).await
                }
            }
        }
    };
}
