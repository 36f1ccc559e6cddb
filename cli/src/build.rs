//! `localmart build`: decides which components to build, compiles them, fuses them with their links, and reports the time.
//!
//! In reading order: [`stale`] (which files are older than their sources), [`compile`] (cargo, and the custom sections of a
//! component), [`fuse`] (joining a component with its links).

mod compile;
mod fuse;
mod stale;

use crate::app::AppOptions;
use anyhow::{Context as _, bail};
use clap::Args;
pub(crate) use compile::{DECLARATION, MIGRATIONS, built_by_cargo, cargo};
use localmart_host::manifest::schema::{Commands, Component, ComponentTool};
use localmart_host::manifest::{Manifest, Source};
use serde::Deserialize as _;
pub(crate) use stale::sources;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

/// The target of every component.
pub(crate) const TARGET: &str = "wasm32-wasip2";
/// Subtracted from the start of a build, because file systems store modification times less precisely than the clock.
const CLOCK_TICK: Duration = Duration::from_millis(20);

/// Builds the components that are older than their sources, and fuses linked components.
#[derive(Args)]
pub(crate) struct Build {
    #[command(flatten)]
    app: AppOptions,
    /// Compile only these components. Fused files that contain them are fused again. A link that must be fused into one of
    /// them and was never built is compiled too.
    components: Vec<String>,
    /// Also build components that are up to date.
    #[arg(long)]
    force: bool,
    /// For tests: build with named points, into dist/points.
    #[arg(long, hide = true)]
    points: bool,
}

impl Build {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        if let Some(reference) = self.app.reference() {
            bail!(
                "{reference} is in a registry, where applications are built; build in the folder of its sources"
            );
        }
        let source = self.app.source()?;
        Wanted {
            only: &self.components,
            force: self.force,
            points: self.points,
        }
        .build(&source)
    }
}

/// Builds those of the given components that are stale; of all components if none are given.
pub(crate) fn build(source: &Source, only: &[String], points: bool) -> anyhow::Result<()> {
    let force = false;
    Wanted {
        only,
        force,
        points,
    }
    .build(source)
}

/// Whether any component of a manifest is older than its sources or not built.
pub(crate) fn is_stale(source: &Source) -> anyhow::Result<bool> {
    Ok(!stale(source)?.is_empty())
}

/// The components that are older than their sources or not built. For components outside this repository's layout only a missing
/// file counts; their own build commands know their sources.
pub(crate) fn stale(source: &Source) -> anyhow::Result<BTreeSet<String>> {
    let project = Project::read(source, false)?;
    let ours = project.ours();
    if ours.is_empty() {
        return Ok(ours);
    }
    let mut stale = project.stale(&ours);
    let ids = project.manifest.component.keys();
    stale.extend(ids.filter(|id| project.lacks_its_file(id)).cloned());
    let fused = project.links.keys();
    stale.extend(fused.filter(|id| project.is_fused_stale(id)).cloned());
    Ok(stale)
}

/// The arguments of a build.
struct Wanted<'a> {
    /// The components to build; all if empty.
    only: &'a [String],
    /// Build components that are up to date too.
    force: bool,
    /// Build with named points.
    points: bool,
}

/// A manifest and the folder in which its components are built.
struct Project<'a> {
    source: &'a Source,
    manifest: Manifest,
    folder: PathBuf,
    points: bool,
    /// The links of each component that has links.
    links: BTreeMap<String, Vec<String>>,
}

impl Wanted<'_> {
    /// Builds the components of a manifest: those of this repository's layout with one cargo command, others with their own
    /// commands.
    fn build(&self, source: &Source) -> anyhow::Result<()> {
        let (clock, begun) = (Instant::now(), SystemTime::now() - CLOCK_TICK);
        let project = Project::read(source, self.points)?;
        let selected = self.selected(&project)?;
        for id in selected.iter().filter(|id| !project.is_ours(id)) {
            let component = project.manifest.component.get(id);
            if let Some(component) = component {
                run_commands(&project.folder, id, component.get_ref())?;
            }
        }
        let ours = project.ours();
        // Cargo's output files have the same names with and without named points, so no other build may run until they are
        // copied.
        let _lock = match ours.is_empty() {
            true => None,
            false => Some(compile::lock(&project.folder)?),
        };
        let mut chosen: BTreeSet<String> = ours.intersection(&selected).cloned().collect();
        if !self.force {
            chosen = project.stale(&chosen);
        }
        if !chosen.is_empty() {
            let first = !built_by_cargo(&project.folder).is_dir();
            eprintln!(
                "building {} ({} of {} components){}",
                joined(&chosen),
                chosen.len(),
                project.manifest.component.len(),
                if first {
                    "; the first build also compiles their dependencies and takes a few minutes"
                } else {
                    ""
                }
            );
            project.compile(&chosen)?;
            project.assemble(&chosen, begun)?;
        }
        let fused = self.fuse(&project, &selected, begun)?;
        let took = clock.elapsed().as_secs_f64();
        match (chosen.is_empty(), fused.is_empty()) {
            (true, true) if !ours.is_empty() => eprintln!(
                "{} up to date in {}; --force builds again",
                match self.only {
                    [] => format!("all {} components are", project.manifest.component.len()),
                    only => is_or_are(only),
                },
                project.dist().display()
            ),
            (true, true) => {}
            (true, false) => eprintln!("fused {} in {took:.1} s", joined(&fused)),
            (false, true) => eprintln!("built {} in {took:.1} s", joined(&chosen)),
            (false, false) => eprintln!(
                "built {} and fused {} in {took:.1} s",
                joined(&chosen),
                joined(&fused)
            ),
        }
        Ok(())
    }

    /// The components that the arguments name, and those that must be fused into one of these and were never built.
    fn selected(&self, project: &Project<'_>) -> anyhow::Result<BTreeSet<String>> {
        let all = &project.manifest.component;
        if let Some(unknown) = self.only.iter().find(|name| !all.contains_key(*name)) {
            let known: Vec<&str> = all.keys().map(String::as_str).collect();
            bail!(
                "there is no component `{unknown}`; name one of: {}",
                known.join(", ")
            );
        }
        let mut selected: BTreeSet<String> = match self.only {
            [] => all.keys().cloned().collect(),
            only => only.iter().cloned().collect(),
        };
        let parts = selected.iter().flat_map(|id| project.parts(id));
        let unbuilt = parts.filter(|id| !selected.contains(id) && !project.part(id).is_file());
        let unbuilt: BTreeSet<String> = unbuilt.collect();
        if !unbuilt.is_empty() {
            let (them, were) = match unbuilt.len() {
                1 => ("it", "was"),
                _ => ("them", "were"),
            };
            eprintln!(
                "also building {}: {} fused with {them}, which {were} never built",
                joined(&unbuilt),
                is_or_are(self.only)
            );
        }
        selected.extend(unbuilt);
        Ok(selected)
    }

    /// Fuses the selected components and those that contain one of them. Returns the ids.
    fn fuse(
        &self,
        project: &Project,
        selected: &BTreeSet<String>,
        begun: SystemTime,
    ) -> anyhow::Result<BTreeSet<String>> {
        let mut fused = BTreeSet::new();
        for id in project.links.keys() {
            let parts = project.parts(id);
            if !parts.iter().any(|part| selected.contains(part)) {
                continue;
            }
            if !(self.force || project.is_fused_stale(id)) {
                continue;
            }
            let missing = parts.iter().find(|part| !project.part(part).is_file());
            match missing {
                // There is no fused file that could become outdated.
                Some(_) if !selected.contains(id) && !project.fused(id).is_file() => {}
                Some(missing) if !selected.contains(id) => eprintln!(
                    "{} is not fused again, because {missing} is not built; to fuse it: localmart build {id}",
                    project.fused(id).display()
                ),
                _ => {
                    project.fuse(id, &parts, begun)?;
                    fused.insert(id.clone());
                }
            }
        }
        Ok(fused)
    }
}

impl<'a> Project<'a> {
    fn read(source: &'a Source, points: bool) -> anyhow::Result<Self> {
        let manifest = source.parse()?;
        let mut links = BTreeMap::new();
        for (id, component) in &manifest.component {
            let linked = links_of(source, component.get_ref())?;
            if !linked.is_empty() {
                links.insert(id.clone(), linked);
            }
        }
        Ok(Self {
            source,
            manifest,
            folder: source.folder(),
            points,
            links,
        })
    }

    /// The components of this repository's layout: a crate in `components/<id>`.
    fn ours(&self) -> BTreeSet<String> {
        let ids = self.manifest.component.keys();
        ids.filter(|id| self.is_ours(id)).cloned().collect()
    }

    fn is_ours(&self, id: &str) -> bool {
        self.folder
            .join("components")
            .join(id)
            .join("Cargo.toml")
            .is_file()
    }

    /// The components that are fused into a component, itself first.
    fn parts(&self, id: &str) -> Vec<String> {
        let (mut parts, mut wanted) = (Vec::new(), vec![id.to_owned()]);
        while let Some(next) = wanted.pop() {
            if !parts.contains(&next) {
                wanted.extend(self.links.get(&next).into_iter().flatten().cloned());
                parts.push(next);
            }
        }
        parts
    }

    fn dist(&self) -> PathBuf {
        let dist = self.folder.join("dist");
        if self.points {
            dist.join("points")
        } else {
            dist
        }
    }

    /// The file of a component without its links.
    fn part(&self, id: &str) -> PathBuf {
        self.dist().join(format!("{id}.wasm"))
    }

    /// The file of a component fused with its links.
    fn fused(&self, id: &str) -> PathBuf {
        self.dist().join("fused").join(format!("{id}.wasm"))
    }

    /// Whether the `source` of a component does not exist.
    fn lacks_its_file(&self, id: &str) -> bool {
        let component = self.manifest.component.get(id);
        let source = component.and_then(|one| one.get_ref().source.get_ref().as_str());
        source.is_some_and(|file| !self.folder.join(file).is_file())
    }
}

fn joined(ids: &BTreeSet<String>) -> String {
    ids.iter().cloned().collect::<Vec<_>>().join(", ")
}

/// The ids with the verb that fits their number.
fn is_or_are(ids: &[String]) -> String {
    match ids {
        [one] => format!("{one} is"),
        several => format!("{} are", several.join(", ")),
    }
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

/// Runs the build commands of a component outside this repository's layout, in order, as Spin does.
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
            bail!("the build command of `{id}` failed: {command}");
        }
    }
    Ok(())
}

/// Writes a file completely or not at all, and sets its modification time: for a compiled file the start of the build, so that a
/// source that changes during the build is newer; for a fused file the time of its newest part.
fn write(path: &Path, bytes: &[u8], time: SystemTime) -> anyhow::Result<()> {
    let folder = path.parent().context("a path without a folder")?;
    std::fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    let unfinished = path.with_extension(format!("{}.part", std::process::id()));
    let written = std::fs::write(&unfinished, bytes).and_then(|()| {
        let file = std::fs::File::options().write(true).open(&unfinished)?;
        file.set_modified(time)
    });
    written.with_context(|| format!("writing {}", unfinished.display()))?;
    std::fs::rename(&unfinished, path).with_context(|| format!("writing {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The components that a build of one component compiles, if these are built already.
    fn selected(only: &str, built: &[&str]) -> String {
        let folder = std::env::temp_dir().join(format!(
            "build-{}-{:?}",
            std::process::id(),
            std::thread::current().id()
        ));
        std::fs::create_dir_all(folder.join("dist")).unwrap();
        let component = |id: &str, links: &str| {
            format!(
                "[component.{id}]\nsource = \"dist/fused/{id}.wasm\"\n[component.{id}.tool.localmart]\nlinks = [{links}]\n"
            )
        };
        let manifest = [
            "spin_manifest_version = 2\n[application]\nname = \"three\"\n[trigger]\n".to_owned(),
            component("one", "\"two\""),
            component("two", "\"three\""),
            component("three", ""),
        ];
        std::fs::write(folder.join("spin.toml"), manifest.concat()).unwrap();
        for id in built {
            std::fs::write(folder.join("dist").join(format!("{id}.wasm")), "").unwrap();
        }
        let source = Source::read(&folder).unwrap();
        let project = Project::read(&source, false).unwrap();
        let wanted = Wanted {
            only: &[only.to_owned()],
            force: false,
            points: false,
        };
        let selected = wanted.selected(&project).unwrap();
        std::fs::remove_dir_all(folder).unwrap();
        joined(&selected)
    }

    #[test]
    fn a_named_component_is_built_alone_unless_its_links_were_never_built() {
        for (only, built, expected) in [
            ("three", &[][..], "three"),
            ("one", &["two", "three"], "one"),
            ("one", &["two"], "one, three"),
            ("two", &["one"], "three, two"),
        ] {
            assert_eq!(selected(only, built), expected, "{only} after {built:?}");
        }
    }
}
