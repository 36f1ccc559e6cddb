//! Mutated inputs for parsers: valid examples with bytes replaced, inserted, removed and mixed.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use std::time::{Duration, Instant};

/// The environment variable with the time for each parser, in seconds.
const SECONDS: &str = "LOCALMART_FUZZ_SECONDS";

/// The time for each parser, unless the variable names another one.
const DEFAULT_TIME: Duration = Duration::from_secs(1);
/// Inputs between two looks at the clock.
const CASES: u32 = 256;
/// Changes of one example.
const EDITS: usize = 8;

/// Byte sequences that parsers treat in a special way.
const TOKENS: &[&[u8]] = &[
    b"\0",
    b"%00",
    b"%",
    b"%zz",
    b"..",
    b"//",
    b"?",
    b"&",
    b"=",
    b"+",
    b",",
    b";",
    b"\"",
    b"\\",
    b"\\u0000",
    b"\\ud800",
    b"{",
    b"}",
    b"[",
    b"]",
    b"null",
    b"-0",
    b"1e999",
    b"18446744073709551616",
    b"\r\n",
    b"\n",
    b"\t",
    "\u{feff}".as_bytes(),
    "\u{ffff}".as_bytes(),
    "\u{200b}".as_bytes(),
    "e\u{301}".as_bytes(),
    "\u{1f600}".as_bytes(),
    b"\xff",
    b"\xc0\xaf",
    b"{{",
    b"}}",
];

#[derive(Clone, Debug)]
enum Edit {
    Replace(u8),
    Insert(u8),
    Token(usize),
    Remove(u8),
    Repeat(u8),
    Splice(usize, u16),
}

fn edit() -> impl Strategy<Value = Edit> {
    prop_oneof![
        any::<u8>().prop_map(Edit::Replace),
        any::<u8>().prop_map(Edit::Insert),
        (0..TOKENS.len()).prop_map(Edit::Token),
        any::<u8>().prop_map(Edit::Remove),
        any::<u8>().prop_map(Edit::Repeat),
        any::<(usize, u16)>().prop_map(|(example, from)| Edit::Splice(example, from)),
    ]
}

fn apply(bytes: &mut Vec<u8>, place: u16, edit: &Edit, examples: &[&[u8]]) {
    let place = usize::from(place) % (bytes.len() + 1);
    let until = |length: u8| (place + usize::from(length)).min(bytes.len());
    match edit {
        Edit::Replace(byte) => {
            if let Some(there) = bytes.get_mut(place) {
                *there = *byte;
            }
        }
        Edit::Insert(byte) => bytes.insert(place, *byte),
        Edit::Token(token) => {
            let token = TOKENS.get(*token).copied().unwrap_or_default();
            bytes.splice(place..place, token.iter().copied());
        }
        Edit::Remove(length) => {
            bytes.drain(place..until(*length));
        }
        Edit::Repeat(length) => {
            let part = bytes
                .get(place..until(*length))
                .unwrap_or_default()
                .to_vec();
            bytes.splice(place..place, part);
        }
        Edit::Splice(example, from) => {
            let example = examples
                .get(example % examples.len())
                .copied()
                .unwrap_or_default();
            let from = usize::from(*from) % (example.len() + 1);
            bytes.truncate(place);
            bytes.extend_from_slice(example.get(from..).unwrap_or_default());
        }
    }
}

/// Passes mutated examples to `check`, which panics if the parser is wrong about one. The smallest such input is printed.
pub fn fuzz(examples: &[&[u8]], check: impl Fn(&[u8])) {
    let seconds = std::env::var(SECONDS)
        .ok()
        .and_then(|text| text.parse().ok());
    let end = Instant::now() + seconds.map_or(DEFAULT_TIME, Duration::from_secs);
    let inputs = (0..examples.len(), vec((any::<u16>(), edit()), 0..EDITS));
    let inputs = inputs.prop_map(|(example, edits)| {
        let mut bytes = examples.get(example).copied().unwrap_or_default().to_vec();
        for (place, edit) in &edits {
            apply(&mut bytes, *place, edit, examples);
        }
        bytes
    });
    let config = Config {
        cases: CASES,
        failure_persistence: None,
        ..Config::default()
    };
    while Instant::now() < end {
        let ran = TestRunner::new(config.clone()).run(&inputs, |bytes| {
            check(&bytes);
            Ok(())
        });
        if let Err(failure) = ran {
            panic!("{failure}");
        }
    }
}
