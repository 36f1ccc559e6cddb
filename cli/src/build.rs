//! `localmart build`: compile the components, put their migrations into them, fuse them along their links.

use crate::app::AppOptions;
use anyhow::{Context as _, bail};
use clap::Args;
use localmart_host::link::fuse::{Part, fuse};
use localmart_host::link::promise::{self, Promise, Promises};
use localmart_host::manifest::schema::{Commands, Component, ComponentTool};
use localmart_host::manifest::{Manifest, Source};
use localmart_host::sections;
use serde::Deserialize as _;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;
use wit_parser::UnresolvedPackageGroup;

/// The target of every component.
pub(crate) const TARGET: &str = "wasm32-wasip2";
/// The cargo profile of every component.
pub(crate) const PROFILE: &str = "component";
/// What components of this repository's layout share; each has its own sources in `components/<id>` beside them.
const SHARED: &[&str] = &[
    "crates/kernel",
    "crates/guest",
    "wit",
    "Cargo.lock",
    "Cargo.toml",
];
/// The custom section that carries a service's migrations.
pub(crate) const MIGRATIONS: &str = "localmart:migrations";

/// Builds components.
#[derive(Args)]
pub(crate) struct Build {
    #[command(flatten)]
    app: AppOptions,
    /// Only these components, and what is fused from them.
    components: Vec<String>,
    /// Build with named points for tests, into dist/points.
    #[arg(long, hide = true)]
    points: bool,
}

impl Build {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let source = self.app.source()?;
        build(&source, &self.components, self.points)
    }
}

/// Builds what a manifest names: components of this repository's layout with cargo, others with their own commands.
pub(crate) fn build(source: &Source, only: &[String], points: bool) -> anyhow::Result<()> {
    let manifest = source.parse()?;
    for name in only {
        if !manifest.component.contains_key(name) {
            let known: Vec<&str> = manifest.component.keys().map(String::as_str).collect();
            bail!(
                "there is no component `{name}`; name one of: {}",
                known.join(", ")
            );
        }
    }
    let folder = source.folder();
    let ours: Vec<&String> = manifest
        .component
        .keys()
        .filter(|id| is_ours(&folder, id))
        .collect();
    if !ours.is_empty() {
        compile(&folder, &ours, points)?;
        assemble(&folder, &ours, points)?;
    }
    for (id, component) in &manifest.component {
        if !is_ours(&folder, id) && (only.is_empty() || only.contains(id)) {
            run_commands(&folder, id, component.get_ref())?;
        }
    }
    fuse_all(source, &manifest, points)
}

/// Whether something that a manifest names was built from older sources, or not at all.
pub(crate) fn is_stale(source: &Source) -> anyhow::Result<bool> {
    let manifest = source.parse()?;
    let folder = source.folder();
    let mut files = Vec::new();
    ours(&folder, &manifest, &mut files);
    if files.is_empty() {
        return Ok(false);
    }
    files.push(source.path.clone());
    let newest = files.iter().filter_map(|file| modified(file)).max();
    let mut oldest = None;
    for component in manifest.component.values() {
        if let Some(wasm) = component.get_ref().source.get_ref().as_str() {
            let Some(built) = modified(&folder.join(wasm)) else {
                return Ok(true);
            };
            oldest = Some(oldest.map_or(built, |oldest: SystemTime| oldest.min(built)));
        }
    }
    Ok(oldest < newest)
}

/// The files that components are built from: those of this repository's layout, and what other manifests say under `build.watch`.
pub(crate) fn sources(source: &Source) -> anyhow::Result<Vec<PathBuf>> {
    let (manifest, folder) = (source.parse()?, source.folder());
    let mut files = Vec::new();
    ours(&folder, &manifest, &mut files);
    for (id, component) in &manifest.component {
        let build = component.get_ref().build.as_ref();
        let Some(build) = build.filter(|_| !is_ours(&folder, id)) else {
            continue;
        };
        for pattern in &build.watch {
            let pattern = folder.join(&build.workdir).join(pattern);
            let found = glob::glob(&pattern.to_string_lossy());
            let found = found.with_context(|| format!("`{id}` watches {}", pattern.display()))?;
            files.extend(found.filter_map(Result::ok).filter(|path| path.is_file()));
        }
    }
    Ok(files)
}

/// The sources of the components of this repository's layout: their own folders, and what they share.
fn ours(folder: &Path, manifest: &Manifest, files: &mut Vec<PathBuf>) {
    let names = manifest.component.keys().filter(|id| is_ours(folder, id));
    let own: Vec<PathBuf> = names.map(|id| folder.join("components").join(id)).collect();
    if own.is_empty() {
        return;
    }
    for place in own
        .into_iter()
        .chain(SHARED.iter().map(|place| folder.join(place)))
    {
        files_in(&place, files);
    }
}

fn files_in(path: &Path, files: &mut Vec<PathBuf>) {
    match std::fs::read_dir(path) {
        Err(_) => files.push(path.to_owned()),
        Ok(entries) => {
            for entry in entries.filter_map(Result::ok) {
                files_in(&entry.path(), files);
            }
        }
    }
}

fn is_ours(folder: &Path, id: &str) -> bool {
    folder
        .join("components")
        .join(id)
        .join("Cargo.toml")
        .is_file()
}

fn modified(path: &Path) -> Option<SystemTime> {
    path.metadata().ok()?.modified().ok()
}

fn compile(folder: &Path, components: &[&String], points: bool) -> anyhow::Result<()> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .current_dir(folder)
        .args([
            "build",
            "--target",
            TARGET,
            "--profile",
            PROFILE,
            "--target-dir",
        ])
        .arg(target(folder, points));
    for id in components {
        cargo.args(["--package", id]);
        if points {
            cargo.arg("--features").arg(format!("{id}/points"));
        }
    }
    eprintln!(
        "building {} components; the first time this takes some minutes",
        components.len()
    );
    let status = cargo
        .status()
        .context("cargo cannot be started; is Rust installed? https://rustup.rs")?;
    if !status.success() {
        bail!("the components do not build; if the target is missing: rustup target add {TARGET}");
    }
    Ok(())
}

/// Where cargo builds: those with points have a folder of their own, as their files have the same names.
pub(crate) fn target(folder: &Path, points: bool) -> PathBuf {
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| folder.join("target"), PathBuf::from);
    if points {
        target.join("points")
    } else {
        target
    }
}

fn dist(folder: &Path, points: bool) -> PathBuf {
    if points {
        folder.join("dist/points")
    } else {
        folder.join("dist")
    }
}

/// Puts each service's migrations into its wasm, the kit's before its own, and those of the bus:
/// `{ service, migrations: [{ name, sql }] }`.
fn assemble(folder: &Path, components: &[&String], points: bool) -> anyhow::Result<()> {
    let target = target(folder, points);
    let kit = folder.join("crates/guest/migrations");
    for id in components {
        let built = target
            .join(TARGET)
            .join(PROFILE)
            .join(format!("{}.wasm", id.replace('-', "_")));
        let mut wasm =
            std::fs::read(&built).with_context(|| format!("reading {}", built.display()))?;
        let own = migrations(&folder.join("components").join(id).join("migrations"), "")?;
        if !own.is_empty() {
            let all = [migrations(&kit.join("service"), "kit_")?, own].concat();
            let bus = migrations(&kit.join("bus"), "")?;
            for (service, migrations) in [(id.as_str(), all), ("bus", bus)] {
                let section = serde_json::json!({ "service": service, "migrations": migrations });
                wasm = sections::append(&wasm, MIGRATIONS, section.to_string().as_bytes());
            }
        }
        let promises = promises(&folder.join("wit").join(id))?;
        if !promises.is_empty() {
            let section = serde_json::to_vec(&promises)?;
            wasm = sections::append(&wasm, promise::SECTION, &section);
        }
        write(&dist(folder, points).join(format!("{id}.wasm")), &wasm)?;
    }
    Ok(())
}

/// What the interfaces of a WIT package say of asking their functions again.
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

/// The migrations in a folder, in order; `prefix` tells those of the kit from those of the service.
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

fn fuse_all(source: &Source, manifest: &Manifest, points: bool) -> anyhow::Result<()> {
    let folder = source.folder();
    let mut links = BTreeMap::new();
    for (id, component) in &manifest.component {
        links.insert(id.clone(), links_of(source, component.get_ref())?);
    }
    for (id, linked) in links.iter().filter(|(_, linked)| !linked.is_empty()) {
        let mut parts: Vec<Part> = Vec::new();
        let mut wanted = vec![id.clone()];
        while let Some(next) = wanted.pop() {
            if parts.iter().any(|part| part.id == next) {
                continue;
            }
            let path = dist(&folder, points).join(format!("{next}.wasm"));
            let wasm =
                std::fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
            let links = links.get(&next).cloned().unwrap_or_default();
            wanted.extend(links.clone());
            parts.push(Part {
                id: next,
                wasm,
                links,
                unfused: Vec::new(),
            });
        }
        let span = manifest
            .component
            .get(id)
            .and_then(|component| component.get_ref().tool.get("localmart"))
            .map(toml::Spanned::span);
        let fused = fuse(id, &parts).map_err(|error| {
            let help = format!("these are the links: {id} → {}", linked.join(", "));
            source.error(
                span.unwrap_or_default(),
                error.to_string(),
                "these links",
                help,
            )
        })?;
        write(
            &dist(&folder, points)
                .join("fused")
                .join(format!("{id}.wasm")),
            &fused,
        )?;
    }
    Ok(())
}

fn links_of(source: &Source, component: &Component) -> anyhow::Result<Vec<String>> {
    let Some(table) = component.tool.get("localmart") else {
        return Ok(Vec::new());
    };
    let tool = ComponentTool::deserialize(table.get_ref().clone());
    let tool = tool.map_err(|error| {
        source.error(
            table.span(),
            error.message().to_owned(),
            "in this table",
            "see docs/reference/manifest.md",
        )
    })?;
    Ok(tool.links)
}

/// Runs the build commands of a component of somebody else's layout, in order, as Spin does.
fn run_commands(folder: &Path, id: &str, component: &Component) -> anyhow::Result<()> {
    let Some(build) = &component.build else {
        return Ok(());
    };
    let commands = match &build.command {
        Commands::One(command) => std::slice::from_ref(command),
        Commands::Several(commands) => commands.as_slice(),
    };
    for command in commands {
        eprintln!("building {id}: {command}");
        let status = Command::new("sh")
            .arg("-c")
            .arg(command)
            .current_dir(folder.join(&build.workdir))
            .status();
        if !status
            .with_context(|| format!("starting `{command}`"))?
            .success()
        {
            bail!("the build of `{id}` failed: {command}");
        }
    }
    Ok(())
}

/// Writes a file whole or not at all; its time is new even if its content is not.
fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let folder = path.parent().context("a path without a folder")?;
    std::fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    // Two builds at once write two files, and the last to be renamed stays.
    let unfinished = path.with_extension(format!("{}.part", std::process::id()));
    std::fs::write(&unfinished, bytes)
        .with_context(|| format!("writing {}", unfinished.display()))?;
    std::fs::rename(&unfinished, path).with_context(|| format!("writing {}", path.display()))
}
