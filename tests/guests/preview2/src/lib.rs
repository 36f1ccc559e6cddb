//! A guest for tests: answers over WASI 0.2 and counts in its own memory, which must be new for every request. It also
//! uses older interfaces of Spin.

mod older;

use std::sync::atomic::{AtomicU32, Ordering};
use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{
    Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam,
};

static SERVED: AtomicU32 = AtomicU32::new(0);

struct Preview2;
wasip2::http::proxy::export!(Preview2);

impl Guest for Preview2 {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let count = SERVED.fetch_add(1, Ordering::Relaxed) + 1;
        let path = request.path_with_query().unwrap_or_default();
        let response = OutgoingResponse::new(Fields::new());
        let body = response.body();
        ResponseOutparam::set(out, Ok(response));
        if let Ok(body) = body {
            let place = path.rsplit('/').next().unwrap_or_default();
            let text = older::ask(place).unwrap_or_else(|| format!("{path} {count}"));
            if let Ok(stream) = body.write() {
                // A client that has disconnected needs no body.
                let _ = stream.blocking_write_and_flush(text.as_bytes());
            }
            if place == "cut" {
                std::process::abort();
            }
            let _ = OutgoingBody::finish(body, None);
        }
    }
}
