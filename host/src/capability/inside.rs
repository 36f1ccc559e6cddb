//! What capabilities ask of the cores, which are above them: requests to other components of the application, and counts of
//! rejected answers.

use futures::channel::oneshot;
use http::{Request, Response};
use std::fmt::Debug;
use wasmtime_wasi_http::{Error, WasiBody};

/// The destination of a chained request.
pub enum ChainTarget {
    /// A component by id, whether or not it has a route.
    Component(String),
    /// The component whose route matches the path.
    Routes,
}

/// The response to a chained request.
pub type ChainAnswer = oneshot::Receiver<Result<Response<WasiBody>, Error>>;

/// The cores of this process.
pub trait Inside: Debug + Send + Sync {
    /// Sends a request to a component on this core. The receiver resolves to the response.
    fn send(&self, to: ChainTarget, request: Request<WasiBody>) -> ChainAnswer;

    /// Counts an answer of a linked component that its caller rejects.
    fn record_rejection(&self, caller: &str, callee: &str, trace_id: &str);
}
