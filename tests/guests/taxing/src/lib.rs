//! A guest for tests: a tax policy that adds 20 %, or misbehaves. A test writes the behaviour into the wasm file at
//! [`WHAT`]: `traps`, `runs` forever, `greedy` for memory, or `wrong` answers; anything else adds the tax.

#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    reason = "generated from documented WIT"
)]
mod bindings {
    wit_bindgen::generate!({
        world: "localmart:tax/component@1.0.0",
        path: "../../../wit/tax",
    });
}

use bindings::exports::localmart::tax::tax::{Assessment, Error, Guest, Line, Question};
use std::hint::black_box;

/// The behaviour, padded to a fixed length.
static WHAT: [u8; 24] = *b"hindrance:none          ";

struct Policy;
bindings::export!(Policy with_types_in bindings);

impl Guest for Policy {
    fn assess(question: Question) -> Result<Assessment, Error> {
        let what = String::from_utf8_lossy(black_box(&WHAT));
        match what.trim().trim_start_matches("hindrance:") {
            "traps" => std::process::abort(),
            "runs" => loop {
                black_box(&what);
            },
            "greedy" => drop(black_box(vec![1_u8; 256 * 1024 * 1024])),
            "wrong" => {
                return Ok(Assessment {
                    lines: Vec::new(),
                    shipping: 0,
                });
            }
            "says no" => return Err(Error::Other("no".to_owned())),
            _ => {}
        }
        let fifth = |line: &Line| line.amount / 5;
        Ok(Assessment {
            lines: question.lines.iter().map(fifth).collect(),
            shipping: 0,
        })
    }
}
