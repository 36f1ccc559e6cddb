//! A guest for tests: a tax policy that adds a fifth, or misbehaves. What it does is written into the wasm by whoever makes the
//! file, in the place of [`WHAT`]: `traps`, `runs` for ever, is `greedy`, answers `wrong`; anything else taxes.

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

/// What it does, padded to so many bytes.
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
