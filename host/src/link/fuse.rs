//! Fuses a component and its links into one component. All types are checked before anything runs.
//!
//! Each linked component is instantiated once, even if several others link it (a diamond). An import without a linked
//! provider must come from the host, or from a link that is not fused.

use super::fit::{best, is_host_interface, only_types};
use std::collections::{BTreeMap, BTreeSet};
use wac_graph::types::{ItemKind, Package};
use wac_graph::{CompositionGraph, EncodeOptions, NodeId};

/// A component to fuse.
pub struct Part {
    /// Its id.
    pub id: String,
    /// Its wasm.
    pub wasm: Vec<u8>,
    /// The ids of its links that are fused too.
    pub links: Vec<String>,
    /// The ids of its links that are not fused; the imports that they answer remain imports.
    pub unfused: Vec<String>,
}

/// Why components cannot be fused.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// A part is not a component.
    #[error("`{id}` is not a component: {reason}")]
    NotAComponent {
        /// The part.
        id: String,
        /// The message of the parser.
        reason: String,
    },
    /// A link names a component that is not among the parts.
    #[error("`{0}` is linked but not among the components")]
    Missing(String),
    /// No link exports an imported interface.
    #[error("`{id}` imports `{import}`, which none of its links exports{}", near(.candidates))]
    Unanswered {
        /// The importing component.
        id: String,
        /// The imported interface.
        import: String,
        /// Exports of the links with the same name and another version.
        candidates: Vec<String>,
    },
    /// A link exports the interface with other types.
    #[error("`{id}` imports `{import}`, and `{provider}` exports it with other types: {reason}")]
    Mismatch {
        /// The importing component.
        id: String,
        /// The imported interface.
        import: String,
        /// The exporting component.
        provider: String,
        /// The function or field that differs.
        reason: String,
    },
    /// A link answers no import.
    #[error("`{id}` links `{link}` but imports nothing that it exports")]
    Unused {
        /// The importing component.
        id: String,
        /// The unused link.
        link: String,
    },
    /// The links form a cycle.
    #[error("the links of `{0}` form a cycle")]
    Cycle(String),
    /// wac could not encode the result.
    #[error("the composition cannot be encoded: {0}")]
    Encode(String),
}

fn near(candidates: &[String]) -> String {
    if candidates.is_empty() {
        String::new()
    } else {
        format!("; nearest: {}", candidates.join(", "))
    }
}

/// Fuses `root` with its links, directly and indirectly.
pub fn fuse(root: &str, parts: &[Part]) -> Result<Vec<u8>, LinkError> {
    let mut fusion = Fusion {
        graph: CompositionGraph::new(),
        parts: parts.iter().map(|part| (part.id.as_str(), part)).collect(),
        instances: BTreeMap::new(),
        under_way: BTreeSet::new(),
    };
    let instance = fusion.instantiate(root)?;
    for name in fusion.exports(root)? {
        let export = fusion.graph.alias_instance_export(instance, &name);
        let export = export.map_err(|error| LinkError::Encode(error.to_string()))?;
        fusion
            .graph
            .export(export, &name)
            .map_err(|error| LinkError::Encode(error.to_string()))?;
    }
    fusion
        .graph
        .encode(EncodeOptions::default())
        .map_err(|error| LinkError::Encode(format!("{error:#}")))
}

struct Fusion<'a> {
    graph: CompositionGraph,
    parts: BTreeMap<&'a str, &'a Part>,
    instances: BTreeMap<&'a str, (NodeId, wac_graph::PackageId)>,
    under_way: BTreeSet<&'a str>,
}

impl<'a> Fusion<'a> {
    fn instantiate(&mut self, id: &str) -> Result<NodeId, LinkError> {
        let part = *self
            .parts
            .get(id)
            .ok_or_else(|| LinkError::Missing(id.to_owned()))?;
        if let Some((node, _)) = self.instances.get(part.id.as_str()) {
            return Ok(*node);
        }
        if !self.under_way.insert(&part.id) {
            return Err(LinkError::Cycle(part.id.clone()));
        }
        let mut providers = Vec::new();
        for link in &part.links {
            let node = self.instantiate(link)?;
            providers.push((link.as_str(), node, self.exports(link)?));
        }
        let package = Package::from_bytes(
            &format!("app:{id}"),
            None,
            part.wasm.clone(),
            self.graph.types_mut(),
        );
        let package = package.map_err(|error| LinkError::NotAComponent {
            id: id.to_owned(),
            reason: format!("{error:#}"),
        })?;
        let imports: Vec<(String, ItemKind)> = {
            let world = &self.graph.types()[package.ty()];
            world
                .imports
                .iter()
                .map(|(name, kind)| (name.clone(), *kind))
                .collect()
        };
        let package = self
            .graph
            .register_package(package)
            .map_err(|error| LinkError::Encode(error.to_string()))?;
        let instance = self.graph.instantiate(package);
        self.answer(part, instance, &imports, &providers)?;
        self.instances.insert(&part.id, (instance, package));
        Ok(instance)
    }

    fn answer(
        &mut self,
        part: &Part,
        instance: NodeId,
        imports: &[(String, ItemKind)],
        providers: &[(&str, NodeId, Vec<String>)],
    ) -> Result<(), LinkError> {
        let mut used = BTreeSet::new();
        for (import, kind) in imports {
            let mut answers = providers.iter().filter_map(|(provider, node, exports)| {
                let export = best(import, exports.iter().map(String::as_str))?;
                Some((*provider, *node, export))
            });
            let Some((provider, node, export)) = answers.next() else {
                if is_host_interface(import) || only_types(self.graph.types(), *kind) {
                    continue;
                }
                // Whether the unfused links provide it is checked when the component is linked.
                if !part.unfused.is_empty() {
                    continue;
                }
                let base = |name: &str| name.split('@').next().unwrap_or_default().to_owned();
                let alike = |name: &&String| base(name) == base(import);
                let candidates = providers
                    .iter()
                    .flat_map(|(_, _, exports)| exports)
                    .filter(alike)
                    .cloned();
                return Err(LinkError::Unanswered {
                    id: part.id.clone(),
                    import: import.clone(),
                    candidates: candidates.collect(),
                });
            };
            used.insert(provider);
            let export = self.graph.alias_instance_export(node, export);
            let export = export.map_err(|error| LinkError::Encode(error.to_string()))?;
            self.graph
                .set_instantiation_argument(instance, import, export)
                .map_err(|error| LinkError::Mismatch {
                    id: part.id.clone(),
                    import: import.clone(),
                    provider: provider.to_owned(),
                    reason: format!("{:#}", anyhow::Error::from(error)),
                })?;
        }
        match part.links.iter().find(|link| !used.contains(link.as_str())) {
            Some(link) => Err(LinkError::Unused {
                id: part.id.clone(),
                link: link.clone(),
            }),
            None => Ok(()),
        }
    }

    fn exports(&self, id: &str) -> Result<Vec<String>, LinkError> {
        let (node, _) = self
            .instances
            .get(id)
            .ok_or_else(|| LinkError::Missing(id.to_owned()))?;
        let node = self
            .graph
            .nodes()
            .zip(self.graph.node_ids())
            .find(|(_, found)| found == node);
        let package = node.and_then(|(node, _)| node.package());
        let package = package.ok_or_else(|| LinkError::Missing(id.to_owned()))?;
        let world = self.graph[package].ty();
        Ok(self.graph.types()[world].exports.keys().cloned().collect())
    }
}
