//! Finds files that are older than their sources. Modification times decide, as they do for make and cargo.

use super::Project;
use anyhow::Context as _;
use localmart_host::manifest::Source;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// The sources that all components of this repository's layout share; each also has its own in `components/<id>`, and the
/// contracts of itself and its links in `wit`. The last four turn the output of the compiler into a component.
const SHARED: &[&str] = &[
    "crates/kernel",
    "crates/guest",
    "crates/component",
    "crates/declaration",
    "crates/events",
    "wit/kernel",
    "wit/deps",
    ".cargo/config.toml",
    "Cargo.lock",
    "Cargo.toml",
    "rust-toolchain.toml",
    "cli/src/build/compile.rs",
    "cli/src/build/fuse.rs",
    "host/src/link/fuse.rs",
    "host/src/sections.rs",
];

impl Project<'_> {
    /// The given components whose own file is missing or older than its sources.
    pub(super) fn stale(&self, ids: &BTreeSet<String>) -> BTreeSet<String> {
        let shared = SHARED.iter().map(|place| self.folder.join(place));
        let shared = shared.filter_map(|place| newest(&place)).max();
        let is_stale = |id: &&String| {
            let own = self
                .own_sources(id)
                .filter_map(|place| newest(&place))
                .max();
            let built = modified(&self.part(id));
            built.is_none() || built < own.max(shared)
        };
        ids.iter().filter(is_stale).cloned().collect()
    }

    /// The sources that a component does not share with all others.
    fn own_sources(&self, id: &str) -> impl Iterator<Item = PathBuf> {
        let contracts = self.parts(id).into_iter();
        let contracts = contracts.map(|part| self.folder.join("wit").join(part));
        std::iter::once(self.folder.join("components").join(id)).chain(contracts)
    }

    /// Whether a component with links must be fused again.
    pub(super) fn is_fused_stale(&self, id: &str) -> bool {
        let Some(fused) = modified(&self.fused(id)) else {
            return true;
        };
        let parts = self.parts(id);
        let parts = parts.iter().filter_map(|part| modified(&self.part(part)));
        // The manifest lists the links.
        let sources = parts.chain(modified(&self.source.path));
        sources.max().is_some_and(|newest| fused < newest)
    }
}

/// The files that components are built from: those of this repository's layout, and the `build.watch` patterns of others.
pub(crate) fn sources(source: &Source) -> anyhow::Result<Vec<PathBuf>> {
    let project = Project::read(source, false)?;
    let (mut files, ours) = (Vec::new(), project.ours());
    if !ours.is_empty() {
        let own = ours.iter().flat_map(|id| project.own_sources(id));
        let shared = SHARED.iter().map(|place| project.folder.join(place));
        for place in own.chain(shared) {
            files_in(&place, &mut files);
        }
    }
    for (id, component) in &project.manifest.component {
        let build = component.get_ref().build.as_ref();
        let Some(build) = build.filter(|_| !ours.contains(id)) else {
            continue;
        };
        for pattern in &build.watch {
            let pattern = project.folder.join(&build.workdir).join(pattern);
            let found = glob::glob(&pattern.to_string_lossy());
            let found = found.with_context(|| format!("`{id}` watches {}", pattern.display()))?;
            files.extend(found.filter_map(Result::ok).filter(|path| path.is_file()));
        }
    }
    Ok(files)
}

/// When the newest file in a folder, or a single file, was changed.
fn newest(place: &Path) -> Option<SystemTime> {
    let mut files = Vec::new();
    files_in(place, &mut files);
    files.iter().filter_map(|file| modified(file)).max()
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

pub(super) fn modified(path: &Path) -> Option<SystemTime> {
    path.metadata().ok()?.modified().ok()
}
