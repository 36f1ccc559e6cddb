//! Components of this repository's layout: cargo compiles them, then each gets its migrations, its declaration and the
//! retry promises of its interfaces as custom sections.

use super::{Project, TARGET, write};
use anyhow::{Context as _, bail};
use localmart_declaration::Declaration;
use localmart_host::link::promise::{self, Promise, Promises};
use localmart_host::sections;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;
use wit_parser::UnresolvedPackageGroup;

/// The cargo profile of every component.
const PROFILE: &str = "component";
/// The custom section that carries a service's migrations.
pub(crate) const MIGRATIONS: &str = "localmart:migrations";
/// The custom section that carries the declaration of a component, as JSON.
pub(crate) const DECLARATION: &str = "localmart:component";
/// The package and the folder of the guest kit.
const KIT: (&str, &str) = ("localmart-guest", "crates/guest");

/// A cargo command that builds packages as components.
pub(crate) fn cargo(folder: &Path) -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .current_dir(folder)
        .args(["build", "--target", TARGET, "--profile", PROFILE])
        .arg("--target-dir")
        .arg(target(folder));
    cargo
}

/// The folder in which cargo puts the compiled components.
pub(crate) fn built_by_cargo(folder: &Path) -> PathBuf {
    target(folder).join(TARGET).join(PROFILE)
}

fn target(folder: &Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| folder.join("target"), PathBuf::from)
}

/// Waits until no other build uses the target folder. Other builds wait until the returned lock is dropped.
pub(super) fn lock(folder: &Path) -> anyhow::Result<File> {
    let target = target(folder);
    let path = target.join("localmart-build.lock");
    let locked = || -> std::io::Result<File> {
        std::fs::create_dir_all(&target)?;
        let file = File::options()
            .create(true)
            .write(true)
            .truncate(false)
            .open(&path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                eprintln!(
                    "waiting for another localmart build in {}",
                    target.display()
                );
                file.lock()?;
            }
            Err(TryLockError::Error(error)) => return Err(error),
        }
        Ok(file)
    };
    locked().with_context(|| format!("locking {}", path.display()))
}

impl Project<'_> {
    pub(super) fn compile(&self, ids: &BTreeSet<String>) -> anyhow::Result<()> {
        let mut cargo = cargo(&self.folder);
        let mut package = |name: &str, features: &[&str]| {
            cargo.args(["--package", name]);
            for feature in features {
                cargo.arg("--features").arg(format!("{name}/{feature}"));
            }
        };
        let points: &[&str] = if self.points { &["points"] } else { &[] };
        for id in ids {
            package(id, points);
        }
        // Cargo unifies the features of dependencies over all packages of a command. With the guest kit among them the features are
        // the same for one component as for all, so no dependency is compiled twice.
        if self.folder.join(KIT.1).join("Cargo.toml").is_file() {
            package(KIT.0, &[&["component"], points].concat());
        }
        let status = cargo
            .status()
            .context("cargo cannot be started; is Rust installed? https://rustup.rs")?;
        if !status.success() {
            bail!(
                "the components do not build; if the target is missing: rustup target add {TARGET}"
            );
        }
        Ok(())
    }

    /// Puts each service's migrations into its wasm, the kit's before its own, and those of the bus:
    /// `{ service, migrations: [{ name, sql }] }`.
    pub(super) fn assemble(&self, ids: &BTreeSet<String>, begun: SystemTime) -> anyhow::Result<()> {
        let folder = &self.folder;
        let kit = folder.join(KIT.1).join("migrations");
        for id in ids {
            let built = built_by_cargo(folder).join(format!("{}.wasm", id.replace('-', "_")));
            let mut wasm =
                std::fs::read(&built).with_context(|| format!("reading {}", built.display()))?;
            let own = migrations(&folder.join("components").join(id).join("migrations"), "")?;
            if !own.is_empty() {
                let all = [migrations(&kit.join("service"), "kit_")?, own].concat();
                let bus = migrations(&kit.join("bus"), "")?;
                for (service, migrations) in [(id.as_str(), all), ("bus", bus)] {
                    let section =
                        serde_json::json!({ "service": service, "migrations": migrations });
                    wasm = sections::append(&wasm, MIGRATIONS, section.to_string().as_bytes());
                }
            }
            let declared = folder.join("components").join(id);
            if declared.join(localmart_declaration::FILE).is_file() {
                let declared = serde_json::to_vec(&Declaration::read(&declared)?)?;
                wasm = sections::append(&wasm, DECLARATION, &declared);
            }
            let promises = promises(&folder.join("wit").join(id))?;
            if !promises.is_empty() {
                let section = serde_json::to_vec(&promises)?;
                wasm = sections::append(&wasm, promise::SECTION, &section);
            }
            write(&self.part(id), &wasm, begun)?;
        }
        Ok(())
    }
}

/// What the interfaces of a WIT package promise about retrying their functions.
fn promises(package: &Path) -> anyhow::Result<Promises> {
    let mut promises = Promises::new();
    if !package.is_dir() {
        return Ok(promises);
    }
    let group = UnresolvedPackageGroup::parse_dir(package)?;
    let package = &group.main;
    for (_, interface) in &package.interfaces {
        let Some(name) = &interface.name else {
            continue;
        };
        let functions = interface.functions.values().filter_map(|function| {
            let docs = function.docs.contents.as_deref()?;
            Some((function.name.clone(), Promise::of(docs)?))
        });
        let functions: BTreeMap<String, Promise> = functions.collect();
        if !functions.is_empty() {
            promises.insert(package.name.interface_id(name), functions);
        }
    }
    Ok(promises)
}

/// The migrations in a folder, in order. `prefix` distinguishes those of the kit from those of the service.
fn migrations(folder: &Path, prefix: &str) -> anyhow::Result<Vec<serde_json::Value>> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Ok(Vec::new());
    };
    let mut files: Vec<PathBuf> = entries
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "sql"));
    files.sort();
    let read = |path: &PathBuf| {
        let sql =
            std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        Ok(serde_json::json!({ "name": format!("{prefix}{name}"), "sql": sql }))
    };
    files.iter().map(read).collect()
}
