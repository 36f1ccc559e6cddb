//! Any text as a manifest: it is resolved or refused with an error that can be shown, and never stops the program.

#![allow(clippy::unwrap_used, reason = "a test may stop at once")]

use localmart_host::app::{ResolveOptions, resolve};
use localmart_host::manifest::Source;
use localmart_testkit::fuzz;
use std::path::PathBuf;
use std::sync::Arc;

#[test]
fn any_manifest() {
    let shop = include_str!("../../spin.toml");
    let files = include_str!("../../tests/conformance/files/spin.toml");
    let dependency = include_str!("../../tests/conformance/dependency/spin.toml");
    let variables = include_str!("../../tests/conformance/variables/spin.toml");
    let examples = [shop, files, dependency, variables].map(str::as_bytes);
    let options = ResolveOptions {
        flags: [("admin_password", "a"), ("jwt_public_key", "b")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        ..ResolveOptions::default()
    };
    fuzz(&examples, |bytes| {
        let source = Source {
            path: PathBuf::from("spin.toml"),
            text: Arc::new(String::from_utf8_lossy(bytes).into_owned()),
            profile: None,
        };
        for options in [&options, &ResolveOptions::default()] {
            if let Err(error) = resolve(source.clone(), options) {
                let shown = format!("{:?}", miette::Report::new(error));
                assert!(!shown.is_empty());
            }
        }
    });
}
