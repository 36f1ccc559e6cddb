//! `localmart oci`: applications in registries, in the layout of Spin. Every command takes such an application with `-f`.

use crate::build;
use crate::progress::Progress;
use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use localmart_guest::config::EMBEDDED;
use localmart_host::app::{ResolveOptions, resolve};
use localmart_host::manifest::Source;
use localmart_oci::artifact::{self, MOST_LAYERS};
use localmart_oci::registry::{Inspected, Registry};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Mutex;

/// The environment variable of the cache for what was pulled.
const CACHE: &str = "LOCALMART_CACHE_DIR";
/// Bytes of a kibibyte.
const KIBIBYTE: u64 = 1 << 10;
/// Bytes of a mebibyte.
const MEBIBYTE: u64 = 1 << 20;

/// Pushes the application to a registry, pulls it, or looks at one there.
///
/// The layout is that of spin registry push: Spin runs what LocalMart pushed, and LocalMart runs what Spin pushed. Credentials
/// are those of Docker.
#[derive(Args)]
pub(crate) struct OciVerb {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Push the application; print the reference with its digest.
    Push(Push),
    /// Pull an application into the cache; print its folder.
    Pull(Pull),
    /// Show the components and triggers of an application in a registry.
    Inspect(Inspect),
}

/// Pushes the application. Components that are out of date are built first.
#[derive(Args)]
struct Push {
    /// The reference, as registry.example/shop:1.0
    reference: String,
    /// The manifest, or its folder.
    #[arg(
        short = 'f',
        long = "from",
        alias = "file",
        default_value = "spin.toml"
    )]
    from: PathBuf,
    /// Push the built components, even if their sources are newer.
    #[arg(long)]
    no_build: bool,
    /// Ask the registry over plain HTTP.
    #[arg(long, short = 'k')]
    insecure: bool,
}

/// Pulls an application into the cache: the folder that LOCALMART_CACHE_DIR names, or localmart in the user's cache folder.
#[derive(Args)]
struct Pull {
    /// The reference, as registry.example/shop:1.0 or registry.example/shop@sha256:…
    reference: String,
    /// Ask the registry over plain HTTP.
    #[arg(long, short = 'k')]
    insecure: bool,
}

/// Shows an application in a registry without pulling its components.
#[derive(Args)]
struct Inspect {
    /// The reference, as registry.example/shop:1.0 or registry.example/shop@sha256:…
    reference: String,
    /// Print JSON: reference, digest, manifest and locked application.
    #[arg(long)]
    json: bool,
    /// Ask the registry over plain HTTP.
    #[arg(long, short = 'k')]
    insecure: bool,
}

impl OciVerb {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        match self.verb {
            Verb::Push(verb) => verb.run(),
            Verb::Pull(verb) => {
                let manifest = pulled(&verb.reference, verb.insecure)?;
                println!("{}", manifest.parent().unwrap_or(&manifest).display());
                Ok(())
            }
            Verb::Inspect(verb) => verb.run(),
        }
    }
}

impl Push {
    fn run(self) -> anyhow::Result<()> {
        let registry = Registry::of(&self.reference, self.insecure)?;
        let source = Source::read(&self.from)?;
        if !self.no_build && build::is_stale(&source)? {
            build::build(&source, &[], false)?;
        }
        check(&source)?;
        let manifest = source.text.parse().context("the manifest cannot be read")?;
        let artifact = artifact::build(&source.folder(), &manifest, MOST_LAYERS)?;
        let bytes: usize = artifact.layers.iter().map(|layer| layer.bytes.len()).sum();
        let progress = Progress::new(false);
        let step = progress.counted("pushing layers", artifact.layers.len());
        let pushed = runtime()?.block_on(registry.push(artifact, &|done, _| step.at(done)))?;
        progress.end();
        eprintln!("pushed {}", size(bytes as u64));
        println!("{pushed}");
        Ok(())
    }
}

/// A manifest that does not hold together is not worth pushing. Values of required variables are not known here.
fn check(source: &Source) -> anyhow::Result<()> {
    let manifest = source.parse()?;
    let variables = manifest.variables.iter();
    let required = variables.filter(|(_, variable)| variable.get_ref().default.is_none());
    let options = ResolveOptions {
        generated: required
            .map(|(name, _)| (name.clone(), EMBEDDED.to_owned()))
            .collect(),
        ..ResolveOptions::default()
    };
    resolve(source.clone(), &options)?;
    Ok(())
}

impl Inspect {
    fn run(self) -> anyhow::Result<()> {
        let registry = Registry::of(&self.reference, self.insecure)?;
        let found = runtime()?.block_on(registry.inspect())?;
        if self.json {
            let all = json!({
                "reference": self.reference,
                "digest": found.digest,
                "manifest": found.manifest,
                "application": found.application,
            });
            println!("{}", serde_json::to_string_pretty(&all)?);
            return Ok(());
        }
        print!("{}", described(&self.reference, &found));
        Ok(())
    }
}

/// What people want to know about an application in a registry.
fn described(reference: &str, found: &Inspected) -> String {
    let text = |of: &Value, path: &str| {
        let text = of.pointer(path).and_then(Value::as_str);
        text.unwrap_or_default().to_owned()
    };
    let application = &found.application;
    let mut lines = vec![
        format!("Reference:  {reference}"),
        format!("Digest:     {}", found.digest),
        format!(
            "Name:       {} {}",
            text(application, "/metadata/name"),
            text(application, "/metadata/version")
        ),
        format!(
            "Size:       {} in {} layers",
            size(found.bytes()),
            found.manifest.layers.len()
        ),
        "Components:".to_owned(),
    ];
    let all = |key: &str| application.get(key).and_then(Value::as_array);
    for component in all("components").into_iter().flatten() {
        let digest = text(component, "/source/digest");
        let bytes = found.layer_bytes(&digest).map(size).unwrap_or_default();
        lines.push(format!(
            "  {:<20} {bytes:>9}  {digest}",
            text(component, "/id")
        ));
    }
    lines.push("Triggers:".to_owned());
    for trigger in all("triggers").into_iter().flatten() {
        let config = |key: &str| {
            let value = trigger.pointer(&format!("/trigger_config/{key}"));
            value.map(|value| {
                value
                    .as_str()
                    .map_or_else(|| value.to_string(), str::to_owned)
            })
        };
        let what = config("route")
            .or_else(|| config("channel"))
            .or_else(|| config("topic"));
        lines.push(format!(
            "  {:<6} {:<32} {}",
            text(trigger, "/trigger_type"),
            what.unwrap_or_default(),
            config("component").unwrap_or_default()
        ));
    }
    lines
        .iter()
        .map(|line| format!("{}\n", line.trim_end()))
        .collect()
}

/// A size for people.
fn size(bytes: u64) -> String {
    let (unit, name) = match bytes < MEBIBYTE {
        true => (KIBIBYTE, "KiB"),
        false => (MEBIBYTE, "MiB"),
    };
    let tenths = bytes.saturating_mul(10) / unit;
    format!("{}.{} {name}", tenths / 10, tenths % 10)
}

/// The manifest of an application in a registry, pulled once per process: all parts of a command see the same application, even
/// if the tag moves meanwhile.
pub(crate) fn pulled(reference: &str, insecure: bool) -> anyhow::Result<PathBuf> {
    static PULLED: Mutex<BTreeMap<String, PathBuf>> = Mutex::new(BTreeMap::new());
    let Ok(mut pulled) = PULLED.lock() else {
        bail!("an earlier pull failed");
    };
    if let Some(manifest) = pulled.get(reference) {
        return Ok(manifest.clone());
    }
    let registry = Registry::of(reference, insecure)?;
    let progress = Progress::new(false);
    let step = Mutex::new(None);
    let show = |done: usize, all: usize| {
        if let Ok(mut step) = step.lock() {
            step.get_or_insert_with(|| progress.counted("pulling layers", all))
                .at(done);
        }
    };
    let found = runtime()?.block_on(registry.pull(&cache()?, &show))?;
    progress.end();
    let manifest = found.folder.join("spin.toml");
    pulled.insert(reference.to_owned(), manifest.clone());
    Ok(manifest)
}

/// The folder for what was pulled.
fn cache() -> anyhow::Result<PathBuf> {
    let folder = |name: &str| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    if let Some(named) = folder(CACHE) {
        return Ok(named);
    }
    let caches = folder("XDG_CACHE_HOME").or_else(|| Some(folder("HOME")?.join(".cache")));
    let caches = caches.with_context(|| format!("there is no HOME; name a folder with {CACHE}"))?;
    Ok(caches.join("localmart"))
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    runtime.context("starting the client for registries")
}
