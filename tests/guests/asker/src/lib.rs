//! A guest for tests: answers over WASI 0.2 with the answer of its dependency. Paths below `/own` use its own grants.

#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    reason = "generated from WIT"
)]
mod bindings {
    wit_bindgen::generate!({
        path: ["../../../wit/deps/fermyon-spin@2.0.0", "../greeter/wit"],
        world: "localmart:guests/asker",
        generate_all,
    });
}

use bindings::fermyon::spin::variables;
use bindings::localmart::guests::greeting;
use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{
    Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam,
};

struct Asker;
wasip2::http::proxy::export!(Asker);

impl Guest for Asker {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let path = request.path_with_query().unwrap_or_default();
        let text = if path.starts_with("/own") {
            format!("{:?}", variables::get("greeting"))
        } else {
            greeting::ask(path.rsplit('/').next().unwrap_or_default())
        };
        let response = OutgoingResponse::new(Fields::new());
        let body = response.body();
        ResponseOutparam::set(out, Ok(response));
        if let Ok(body) = body {
            if let Ok(stream) = body.write() {
                // A client that has disconnected needs no body.
                let _ = stream.blocking_write_and_flush(text.as_bytes());
            }
            let _ = OutgoingBody::finish(body, None);
        }
    }
}
