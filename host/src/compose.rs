//! Composes a component with its dependencies, which answer its imports, and its middleware, which wraps its HTTP
//! export. They run inside the component, but get none of its grants unless the manifest lets them inherit some
//! ([`deny`]).

pub mod deny;

use crate::fetch::RemoteSource;
use deny::Grant;
use std::collections::BTreeSet;
use std::ops::Range;
use std::path::PathBuf;
use wac_graph::types::Package;
use wac_graph::{CompositionGraph, EncodeOptions, NodeId, PackageId};

/// The interface that middleware both exports and imports.
const HANDLER: &str = "wasi:http/handler@0.3";

/// The dependencies and middleware of a component.
#[derive(Clone, Debug, Default)]
pub struct Composition {
    /// The components that answer its imports.
    pub dependencies: Vec<Plug>,
    /// The middleware around its HTTP export, outermost first.
    pub middleware: Vec<Plug>,
}

/// A component that is plugged into another one, in the sense of `wac plug`.
#[derive(Clone, Debug)]
pub struct Plug {
    /// Its name in the manifest.
    pub name: String,
    /// The wasm file. For a component with a URL this is set after the download.
    pub wasm: PathBuf,
    /// The URL and digest, if it is not a local file.
    pub remote: Option<RemoteSource>,
    /// The export that answers, if its name differs from the import.
    pub export: Option<String>,
    /// The grants of the outer component that it inherits.
    pub inherits: BTreeSet<Grant>,
    /// Its span in the manifest.
    pub span: Range<usize>,
}

/// Why components cannot be composed.
#[derive(Debug, thiserror::Error)]
#[error("{reason}")]
pub struct ComposeError {
    /// The span of the plug at fault in the manifest; `None` if the component itself is at fault.
    pub span: Option<Range<usize>>,
    /// The reason.
    pub reason: String,
}

impl Composition {
    /// Whether there are neither dependencies nor middleware.
    pub fn is_empty(&self) -> bool {
        self.dependencies.is_empty() && self.middleware.is_empty()
    }

    /// The dependencies, then the middleware.
    pub fn plugs(&self) -> impl Iterator<Item = &Plug> {
        self.dependencies.iter().chain(&self.middleware)
    }

    /// Everything that determines the result, except for the content of the files.
    pub fn recipe(&self) -> String {
        let mut recipe = format!("{} dependencies", self.dependencies.len());
        for plug in self.plugs() {
            recipe += &format!("\n{} {:?} {:?}", plug.name, plug.export, plug.inherits);
        }
        recipe
    }

    /// Composes a component. `plugs` contains the wasm of each plug, in the order of [`Self::plugs`].
    pub fn compose(&self, root: &[u8], plugs: &[Vec<u8>]) -> Result<Vec<u8>, ComposeError> {
        let mut graph = CompositionGraph::new();
        let (root, root_node) = add(&mut graph, "app:root", root).map_err(whole)?;
        let (dependencies, middleware) = plugs
            .split_at_checked(self.dependencies.len())
            .unwrap_or_default();
        let mut answered = BTreeSet::new();
        for (index, (plug, wasm)) in self.dependencies.iter().zip(dependencies).enumerate() {
            let at = |reason: String| ComposeError {
                span: Some(plug.span.clone()),
                reason,
            };
            let imports = imports(&graph, root);
            let wanted: Vec<&String> = imports
                .iter()
                .filter(|import| answers(&plug.name, import))
                .collect();
            if wanted.is_empty() {
                return Err(at(format!(
                    "the name `{}` matches no import of the component; it imports {}",
                    plug.name,
                    imports.join(", ")
                )));
            }
            let wasm = deny::deny(wasm, &plug.inherits).map_err(at)?;
            let (package, node) =
                add(&mut graph, &format!("dependency:d{index}"), &wasm).map_err(at)?;
            for import in wanted {
                if !answered.insert(import.clone()) {
                    return Err(at(format!(
                        "`{import}` is already answered by another dependency"
                    )));
                }
                let export = plug.export.as_ref().unwrap_or(import);
                let known = exports(&graph, package);
                if !known.contains(export) {
                    let known = known.join(", ");
                    return Err(at(format!(
                        "`{}` does not export `{export}`; it exports {known}",
                        plug.name
                    )));
                }
                wire(&mut graph, (node, export), (root_node, import)).map_err(at)?;
            }
        }
        let handler = exports(&graph, root)
            .into_iter()
            .find(|name| name.starts_with(HANDLER));
        let (mut first, mut place) = (root_node, handler.clone().unwrap_or_default());
        for (index, (plug, wasm)) in self.middleware.iter().zip(middleware).enumerate().rev() {
            let at = |reason: String| ComposeError {
                span: Some(plug.span.clone()),
                reason,
            };
            if handler.is_none() {
                return Err(at(format!(
                    "the component does not export {HANDLER}, which middleware needs"
                )));
            }
            let wasm = deny::deny(wasm, &plug.inherits).map_err(at)?;
            let (package, node) =
                add(&mut graph, &format!("middleware:m{index}"), &wasm).map_err(at)?;
            let is_handler = |name: &String| name.starts_with(HANDLER);
            let import = imports(&graph, package).into_iter().find(is_handler);
            let export = exports(&graph, package).into_iter().find(is_handler);
            let (Some(import), Some(export)) = (import, export) else {
                return Err(at(format!(
                    "`{}` is not middleware: it must import and export {HANDLER}",
                    plug.name
                )));
            };
            wire(&mut graph, (first, &place), (node, &import)).map_err(at)?;
            (first, place) = (node, export);
        }
        for name in exports(&graph, root) {
            let node = if Some(&name) == handler.as_ref() {
                first
            } else {
                root_node
            };
            let export = graph.alias_instance_export(node, &name);
            let export = export.map_err(|error| whole(error.to_string()))?;
            graph
                .export(export, &name)
                .map_err(|error| whole(error.to_string()))?;
        }
        graph
            .encode(EncodeOptions::default())
            .map_err(|error| whole(format!("{error:#}")))
    }
}

fn whole(reason: String) -> ComposeError {
    ComposeError { span: None, reason }
}

fn add(
    graph: &mut CompositionGraph,
    name: &str,
    wasm: &[u8],
) -> Result<(PackageId, NodeId), String> {
    let package = Package::from_bytes(name, None, wasm.to_vec(), graph.types_mut());
    let package = package.map_err(|error| format!("it is not a component: {error:#}"))?;
    let package = graph
        .register_package(package)
        .map_err(|error| error.to_string())?;
    Ok((package, graph.instantiate(package)))
}

fn imports(graph: &CompositionGraph, package: PackageId) -> Vec<String> {
    let world = graph[package].ty();
    graph.types()[world].imports.keys().cloned().collect()
}

fn exports(graph: &CompositionGraph, package: PackageId) -> Vec<String> {
    let world = graph[package].ty();
    graph.types()[world].exports.keys().cloned().collect()
}

fn wire(
    graph: &mut CompositionGraph,
    from: (NodeId, &str),
    to: (NodeId, &str),
) -> Result<(), String> {
    let export = graph
        .alias_instance_export(from.0, from.1)
        .map_err(|error| error.to_string())?;
    let wired = graph.set_instantiation_argument(to.0, to.1, export);
    wired.map_err(|error| format!("`{}` does not fit: {:#}", to.1, anyhow::Error::from(error)))
}

/// Whether the name of a dependency matches an import: a plain name matches itself, `package:name` all interfaces of
/// the package, `package:name/interface` one of them. A version must be equal; without one every version matches.
fn answers(name: &str, import: &str) -> bool {
    let split = |text: &str| match text.split_once('@') {
        Some((name, version)) => (name.to_owned(), Some(version.to_owned())),
        None => (text.to_owned(), None),
    };
    let ((name, version), (import, imported)) = (split(name), split(import));
    let whole_package = !name.contains('/') && name.contains(':');
    let package = import.split('/').next().unwrap_or_default();
    let named = if whole_package {
        package == name
    } else {
        import == name
    };
    named && (version.is_none() || version == imported)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependency_names_match_imports() {
        for (name, import, stands) in [
            ("a:b", "a:b/c@1.0.0", true),
            ("a:b", "a:b/c", true),
            ("a:b@1.0.0", "a:b/c@1.0.0", true),
            ("a:b@1.0.1", "a:b/c@1.0.0", false),
            ("a:b/c", "a:b/c@1.0.0", true),
            ("a:b/c@1.0.0", "a:b/c@1.0.0", true),
            ("a:b/c@2.0.0", "a:b/c@1.0.0", false),
            ("a:b/d", "a:b/c@1.0.0", false),
            ("a:bb", "a:b/c", false),
            ("transform", "transform", true),
            ("transform", "other", false),
        ] {
            assert_eq!(answers(name, import), stands, "{name} {import}");
        }
    }
}
