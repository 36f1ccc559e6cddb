//! Gathers the contract suites from the folders of the components, and tells the program which commit it is built from, if that is
//! known.
//!
//! A release build is compiled again after each commit, but only this crate. A debug build is not: it reads the commit of its
//! checkout when it is asked, because its tests would have to be compiled again too.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

#[path = "src/commit.rs"]
mod commit;

/// The commit of a build whose sources are not in a checkout, such as that of an image.
const GIVEN: &str = "LOCALMART_COMMIT";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    gather_contracts()?;
    tell_commit();
    Ok(())
}

/// Writes a module with a suite for each `components/<noun>/contract.rs`.
fn gather_contracts() -> Result<(), Box<dyn std::error::Error>> {
    let components = Path::new(env!("CARGO_MANIFEST_DIR")).join("../components");
    println!("cargo::rerun-if-changed={}", components.display());
    let mut suites: Vec<(String, PathBuf)> = Vec::new();
    for entry in std::fs::read_dir(&components)? {
        let entry = entry?;
        let suite = entry.path().join("contract.rs");
        if suite.is_file() {
            let noun = entry.file_name().to_string_lossy().into_owned();
            suites.push((noun, suite.canonicalize()?));
        }
    }
    suites.sort();
    let (mut modules, mut list) = (String::new(), String::new());
    for (noun, suite) in suites {
        let module = noun.replace('-', "_");
        writeln!(
            modules,
            "#[path = {:?}]\nmod {module};",
            suite.display().to_string()
        )?;
        writeln!(list, "    ({noun:?}, {module}::CASES),")?;
    }
    let text = format!(
        "{modules}\n/// The suites by component.\nconst SUITES: &[(&str, &[Case])] = &[\n{list}];\n"
    );
    let out = std::env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?;
    std::fs::write(Path::new(&out).join("contracts.rs"), text)?;
    Ok(())
}

fn tell_commit() {
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
