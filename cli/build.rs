//! Tells the program which commit it is built from, if that is known.
//!
//! A release build is compiled again after each commit, but only this crate. A debug build is not: it reads the commit of its
//! checkout when it is asked, because its tests would have to be compiled again too.

use std::path::Path;

#[path = "src/commit.rs"]
mod commit;

/// The commit of a build whose sources are not in a checkout, such as that of an image.
const GIVEN: &str = "LOCALMART_COMMIT";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=src/commit.rs");
    println!("cargo::rerun-if-env-changed={GIVEN}");
    if std::env::var("PROFILE").is_ok_and(|profile| profile == "debug") {
        return;
    }
    let given = std::env::var(GIVEN)
        .ok()
        .filter(|commit| !commit.is_empty());
    let commit = given.unwrap_or_else(|| {
        let (commit, files) =
            commit::checked_out(&Path::new(env!("CARGO_MANIFEST_DIR")).join(".."));
        for file in files {
            println!("cargo::rerun-if-changed={}", file.display());
        }
        commit.unwrap_or_default()
    });
    println!("cargo::rustc-env=LOCALMART_BUILD_COMMIT={commit}");
}
