//! Response bodies of guests. A body whose instance ended by a trap or from outside is cut off, not complete: its reader
//! gets an error, so that HTTP/1 closes the connection, HTTP/2 resets the stream, and a component sees that it got a part.

use bytes::Bytes;
use http::Response;
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

    /// Watches the body of an answer of this component.
    pub fn watch(self, component: &Arc<str>, response: Response<WasiBody>) -> Response<WasiBody> {
        let length = response.headers().get(http::header::CONTENT_LENGTH);
        let announced = length.and_then(|length| length.to_str().ok()?.parse().ok());
        response.map(|body| {
            if body.is_end_stream() {
                return body;
            }
            let guest_body = GuestBody {
                body,
                answered_by: self,
                component: component.clone(),
                announced,
                sent: 0,
            };
            guest_body.boxed_unsync()
        })
    }
}

struct GuestBody {
    body: WasiBody,
    answered_by: AnsweredBy,
    component: Arc<str>,
    /// The `content-length` of the guest, in bytes.
    announced: Option<u64>,
    /// Bytes so far.
    sent: u64,
}

impl GuestBody {
    /// Says which component has sent another length than it announced. The client only sees a broken connection.
    fn check_length(&mut self, complete: bool) {
        let Some(announced) = self.announced else {
            return;
        };
        if self.sent > announced || (complete && self.sent < announced) {
            tracing::error!(
                component = %self.component, announced, sent = self.sent,
                "the guest's content-length is not the length of its body"
            );
            self.announced = None;
        }
    }
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
        if let Some(Ok(frame)) = &frame {
            let bytes = frame.data_ref().map_or(0, Bytes::len);
            self.sent = self.sent.saturating_add(bytes as u64);
        }
        self.check_length(frame.is_none());
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
