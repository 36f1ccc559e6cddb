//! Response bodies of guests. A body whose instance ended by a trap or from outside is cut off, not complete: its reader
//! gets an error, so that HTTP/1 closes the connection, HTTP/2 resets the stream, and a component sees that it got a part.

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use wasmtime_wasi_http::{Error, WasiBody};

/// Whether an instance ended before it had answered everything.
#[derive(Clone, Debug, Default)]
pub struct Failed(Arc<AtomicBool>);

impl Failed {
    /// The instance has failed.
    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// The instance that answers a request, once one has taken it.
#[derive(Clone, Debug, Default)]
pub struct AnsweredBy(Arc<OnceLock<Failed>>);

impl AnsweredBy {
    /// An instance has taken the request.
    pub fn set(&self, instance: &Failed) {
        // A request is taken by one instance only.
        let _ = self.0.set(instance.clone());
    }

    /// Watches the body of the answer.
    pub fn watch(self, body: WasiBody) -> WasiBody {
        if body.is_end_stream() {
            return body;
        }
        let answered_by = self;
        GuestBody { body, answered_by }.boxed_unsync()
    }
}

struct GuestBody {
    body: WasiBody,
    answered_by: AnsweredBy,
}

impl Body for GuestBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(cx));
        let failed = || self.answered_by.0.get().is_some_and(Failed::is_set);
        if frame.is_none() && failed() {
            return Poll::Ready(Some(Err(Error::HttpResponseIncomplete)));
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        // Only the last poll shows whether the body is complete.
        false
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
