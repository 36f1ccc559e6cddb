//! A guest for tests: a dependency. It reports the result of using each capability, so that a test sees which grants it
//! has inherited.

#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    reason = "generated from WIT"
)]
mod bindings {
    wit_bindgen::generate!({
        path: ["../../../wit/deps/fermyon-spin@2.0.0", "wit"],
        world: "localmart:guests/greeter",
        generate_all,
    });
}

use bindings::exports::localmart::guests::greeting::Guest;
use bindings::fermyon::spin::{key_value, sqlite, variables};
use std::net::TcpStream;
use std::sync::atomic::{AtomicU32, Ordering};

static ASKED: AtomicU32 = AtomicU32::new(0);

struct Greeter;
bindings::export!(Greeter with_types_in bindings);

impl Guest for Greeter {
    fn ask(question: String) -> String {
        let count = ASKED.fetch_add(1, Ordering::Relaxed) + 1;
        let (question, detail) = question.split_once('?').unwrap_or((&question, ""));
        match question {
            "variable" => format!("{:?}", variables::get("greeting")),
            "environment" => format!("{:?}", std::env::var("COLOUR").ok()),
            "file" => {
                let text = std::fs::read_to_string("/data/note.txt");
                text.unwrap_or_else(|error| error.kind().to_string())
            }
            "key-value" => format!("{:?}", key_value::Store::open("default").map(drop)),
            "sqlite" => format!("{:?}", sqlite::Connection::open("default").map(drop)),
            "tcp" => match TcpStream::connect(detail) {
                Ok(_) => "connected".to_owned(),
                Err(error) => error.kind().to_string(),
            },
            _ => format!("hello for the {count}. time"),
        }
    }
}
