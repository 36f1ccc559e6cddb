//! `localmart up --watch`: builds what changed in the sources and swaps it, while the shop runs.

use crate::build;
use anyhow::Context as _;
use localmart_host::manifest::Source;
use localmart_host::recipe::WasmFile;
use localmart_host::serve::swap::{RollbackLimits, SwapRequest, Swapper};
use localmart_host::wiring::plan::standalone_file;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// How often the sources are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Looks at the sources of an application, on a thread of its own.
pub(super) fn begin(swapper: Arc<Swapper>, source: Source) -> anyhow::Result<()> {
    let mut seen = Seen::now(&source)?;
    let look = move || {
        loop {
            std::thread::sleep(LOOK_EVERY);
            // While an editor writes a file, it may be gone for a moment.
            let Ok(now) = Seen::now(&source) else {
                continue;
            };
            if now.manifest != seen.manifest {
                eprintln!("spin.toml changed; start again for what it says");
            }
            let changed = now.sources != seen.sources;
            seen = now;
            if changed && let Err(error) = renew(&swapper, &source) {
                eprintln!("{error:#}");
            }
        }
    };
    let thread = std::thread::Builder::new().name("sources".to_owned());
    thread.spawn(look).context("watching the sources").map(drop)
}

/// When something was last changed.
#[derive(PartialEq, Eq)]
struct Seen {
    manifest: Option<SystemTime>,
    sources: BTreeMap<PathBuf, SystemTime>,
}

impl Seen {
    fn now(source: &Source) -> anyhow::Result<Self> {
        let mut sources = BTreeMap::new();
        for path in build::sources(source)? {
            if let Ok(time) = path.metadata().and_then(|found| found.modified()) {
                sources.insert(path, time);
            }
        }
        let manifest = source.path.metadata().and_then(|found| found.modified());
        Ok(Self {
            manifest: manifest.ok(),
            sources,
        })
    }
}

/// Builds, and swaps those components whose files are others now.
fn renew(swapper: &Arc<Swapper>, source: &Source) -> anyhow::Result<()> {
    build::build(source, &[], false)?;
    let running = running(swapper);
    for (component, (file, digest)) in running {
        if WasmFile::read(&file)?.digest == digest {
            continue;
        }
        match swap(swapper, &component, &file) {
            Ok(generation) => println!("{component}: generation {generation}"),
            Err(error) => eprintln!("{component} stays as it is: {error:#}"),
        }
    }
    Ok(())
}

fn swap(swapper: &Arc<Swapper>, component: &str, file: &Path) -> anyhow::Result<u64> {
    let report = swapper.swap(SwapRequest {
        component: component.to_owned(),
        file: file.to_owned(),
        share: None,
        header: None,
        shadow: false,
        limits: RollbackLimits::default(),
        promote: false,
    })?;
    let replaced = report.replaced.iter().map(|(_, _, new)| *new).max();
    Ok(replaced.unwrap_or_default())
}

/// The components that run, with where the file of each is and what was in it.
fn running(swapper: &Swapper) -> BTreeMap<String, (PathBuf, String)> {
    let mut running = BTreeMap::new();
    for deployment in swapper.loaded().deployments.values() {
        let generation = deployment.stable();
        let recipe = &generation.component.recipe;
        for one in std::iter::once(&recipe.root).chain(&recipe.fused) {
            let spec = swapper.loaded().loader.spec(&one.id);
            let file = spec
                .map(|spec| standalone_file(&spec.wasm))
                .filter(|file| file.is_file());
            if let Some(file) = file {
                running.insert(one.id.clone(), (file, one.file.digest.clone()));
            }
        }
    }
    running
}
