//! All components of an application and their links, without running anything: which component answers each import and
//! why, which ones nearly do, and whether a new file could replace a component.

use super::plan::standalone_file;
use crate::app::App;
use crate::componentize;
use crate::link::binding::Bindings;
use crate::link::fit::{Match, Surface, compare};
use crate::recipe::WasmFile;
use anyhow::Context as _;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// All components of an application.
pub struct LinkGraph {
    components: BTreeMap<String, Node>,
}

struct Node {
    links: Vec<String>,
    surface: Surface,
    file: PathBuf,
}

/// An import of a component, and what answers it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Import {
    /// The imported interface.
    pub name: String,
    /// The component that answers it.
    pub answered_by: Option<String>,
    /// All components that export this interface in any version.
    pub candidates: Vec<Candidate>,
}

/// A component that exports an imported interface, possibly in another version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Candidate {
    /// Its id.
    pub component: String,
    /// The exported interface.
    pub export: String,
    /// Whether the importing component links it.
    pub linked: bool,
    /// How the versions relate, in words.
    pub versions: String,
    /// The function or field that differs, if the types do not fit.
    pub differs: Option<String>,
    /// Whether this component answers the import.
    pub chosen: bool,
}

/// A link of the application.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Edge {
    /// The calling component.
    pub caller: String,
    /// The called component.
    pub callee: String,
    /// The name of its binding.
    pub binding: String,
    /// The interfaces that are called over the link.
    pub interfaces: Vec<String>,
}

/// A reason why a file cannot replace a component.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Incompatibility {
    /// The interface.
    pub interface: String,
    /// The component that needs the interface; `None` if no component of this application uses it.
    pub used_by: Option<String>,
    /// What is missing or differs.
    pub reason: String,
}

impl LinkGraph {
    /// Reads the standalone files of all components.
    pub fn of(app: &App) -> anyhow::Result<Self> {
        let mut components = BTreeMap::new();
        for spec in app
            .components
            .values()
            .filter(|spec| spec.id == spec.manifest_id)
        {
            let standalone = standalone_file(&spec.wasm);
            let file = if standalone.is_file() {
                standalone
            } else {
                spec.wasm.clone()
            };
            let surface = surface(&spec.id, &file)?;
            let node = Node {
                links: spec.links.clone(),
                surface,
                file,
            };
            components.insert(spec.id.clone(), node);
        }
        Ok(Self { components })
    }

    /// The ids of the components.
    pub fn ids(&self) -> impl Iterator<Item = &String> {
        self.components.keys()
    }

    /// The standalone file of a component.
    pub fn file(&self, id: &str) -> Option<&Path> {
        self.components.get(id).map(|one| one.file.as_path())
    }

    /// The imports of a component, except for those that the host provides.
    pub fn imports(&self, id: &str) -> Vec<Import> {
        let Some(one) = self.components.get(id) else {
            return Vec::new();
        };
        let imports = one.surface.imports().into_iter();
        imports
            .map(|name| self.import(&one.surface, &one.links, name))
            .collect()
    }

    /// The imports of a component that the host provides, and its exports.
    pub fn host_imports_and_exports(&self, id: &str) -> (Vec<String>, Vec<String>) {
        let one = self.components.get(id).map(|one| &one.surface);
        let one = one.map(|surface| (surface.host_imports(), surface.exports()));
        one.unwrap_or_default()
    }

    fn import(&self, surface: &Surface, links: &[String], name: String) -> Import {
        let mut candidates = Vec::new();
        for (id, other) in &self.components {
            for export in other.surface.exports() {
                let fit = compare(&name, &export);
                if fit == Match::Other {
                    continue;
                }
                candidates.push((
                    fit,
                    Candidate {
                        component: id.clone(),
                        linked: links.contains(id),
                        versions: fit.description().to_owned(),
                        differs: other.surface.fits(&export, surface, &name).err(),
                        export,
                        chosen: false,
                    },
                ));
            }
        }
        // Candidates come in the order of the links; of one component the best export comes first.
        let place =
            |candidate: &Candidate| links.iter().position(|link| *link == candidate.component);
        candidates.sort_by_key(|(fit, candidate)| {
            (place(candidate).unwrap_or(usize::MAX), *fit != Match::Exact)
        });
        let answers = |(fit, candidate): &&mut (Match, Candidate)| {
            fit.answers() && candidate.linked && candidate.differs.is_none()
        };
        let mut answered_by = None;
        if let Some((_, candidate)) = candidates.iter_mut().find(answers) {
            candidate.chosen = true;
            answered_by = Some(candidate.component.clone());
        }
        Import {
            name,
            answered_by,
            candidates: candidates
                .into_iter()
                .map(|(_, candidate)| candidate)
                .collect(),
        }
    }

    /// The links, with the interfaces that are called over each.
    pub fn edges(&self, app: &App, bindings: &Bindings) -> Vec<Edge> {
        let mut edges = Vec::new();
        for (caller, one) in &self.components {
            let imports = self.imports(caller);
            for callee in &one.links {
                let declared = app.components.get(caller);
                let declared = declared.and_then(|spec| spec.bindings.get(callee).copied());
                let over = imports
                    .iter()
                    .filter(|import| import.answered_by.as_ref() == Some(callee));
                edges.push(Edge {
                    caller: caller.clone(),
                    callee: callee.clone(),
                    binding: super::plan::binding_of(app, bindings, caller, callee, declared)
                        .to_string(),
                    interfaces: over.map(|import| import.name.clone()).collect(),
                });
            }
        }
        edges
    }

    /// The reasons why a file cannot replace a component.
    pub fn incompatibilities(&self, id: &str, file: &Path) -> anyhow::Result<Vec<Incompatibility>> {
        let old = self.components.get(id);
        let old = old.with_context(|| format!("there is no component `{id}`"))?;
        let new = surface(id, file)?;
        let (mut incompatibilities, mut told) = (Vec::new(), BTreeSet::new());
        for (caller, other) in self
            .components
            .iter()
            .filter(|(_, other)| other.links.iter().any(|link| link == id))
        {
            for import in self
                .imports(caller)
                .iter()
                .filter(|import| import.answered_by.as_deref() == Some(id))
            {
                let reason = match new.best(&import.name) {
                    None => Some("it is no longer exported".to_owned()),
                    Some(export) => new.fits(export, &other.surface, &import.name).err(),
                };
                if let Some(reason) = reason {
                    told.insert(crate::link::fit::track(&import.name));
                    incompatibilities.push(Incompatibility {
                        interface: import.name.clone(),
                        used_by: Some(caller.clone()),
                        reason,
                    });
                }
            }
        }
        // Exports that no component here uses may be used elsewhere.
        for export in old.surface.exports() {
            if told.contains(&crate::link::fit::track(&export)) {
                continue;
            }
            if let Err(reason) = new.replaces(&old.surface, &export) {
                incompatibilities.push(Incompatibility {
                    interface: export,
                    used_by: None,
                    reason,
                });
            }
        }
        for name in new.imports() {
            let import = self.import(&new, &old.links, name);
            if import.answered_by.is_none() {
                incompatibilities.push(Incompatibility {
                    interface: import.name.clone(),
                    used_by: Some(id.to_owned()),
                    reason: import.unanswered_reason(),
                });
            }
        }
        Ok(incompatibilities)
    }

    /// The host interfaces that a file imports and the current component does not.
    pub fn new_host_imports(&self, id: &str, file: &Path) -> anyhow::Result<Vec<String>> {
        let (before, _) = self.host_imports_and_exports(id);
        let asked = surface(id, file)?.host_imports();
        Ok(asked
            .into_iter()
            .filter(|import| !before.contains(import))
            .collect())
    }
}

impl Import {
    /// Why no component answers the import.
    pub fn unanswered_reason(&self) -> String {
        let near = self.candidates.first();
        near.map_or_else(
            || "no component of this application exports it".to_owned(),
            |near| {
                format!(
                    "`{}` exports `{}`, but {}",
                    near.component,
                    near.export,
                    near.rejection_reason()
                )
            },
        )
    }
}

impl Candidate {
    /// Why this component does not answer the import.
    pub fn rejection_reason(&self) -> String {
        if let Some(differs) = &self.differs {
            format!("its types differ: {differs}")
        } else if !self.linked {
            "it is not among the links".to_owned()
        } else {
            self.versions.clone()
        }
    }
}

/// The imports and exports of a file.
pub fn surface(id: &str, file: &Path) -> anyhow::Result<Surface> {
    let read = WasmFile::read(file)?;
    let wasm = componentize::component(&read.bytes)
        .with_context(|| format!("{} is not a component", file.display()))?;
    Surface::of(id, &wasm)
        .map_err(|reason| anyhow::anyhow!("{} is not a component: {reason}", file.display()))
}
