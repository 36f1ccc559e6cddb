//! Which export answers an import, and whether its types fit.
//!
//! An export answers an import of the same package and interface if their versions are on one compatibility track of
//! semantic versioning. It must then contain every imported function, with types that fit. So an earlier version
//! answers too, unless its importer calls what the earlier version does not have: importers import only what they call.

use semver::Version;
use std::collections::HashSet;
use wac_graph::types::{ItemKind, Package, SubtypeChecker, Types, WorldId};

/// Prefixes of the interfaces that the host provides.
const HOST_NAMESPACES: &[&str] = &["wasi:", "spin:", "fermyon:spin", "localmart:testing/"];

/// Whether the host provides an import itself.
pub fn is_host_interface(import: &str) -> bool {
    let begins = |start: &&str| import.starts_with(*start);
    HOST_NAMESPACES.iter().any(begins)
}

/// The imports and exports of a component with their types.
pub struct Surface {
    types: Types,
    world: WorldId,
}

/// How the versions of an import and an export relate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Match {
    /// The same interface and version.
    Exact,
    /// The same interface in a later, compatible version.
    Compatible,
    /// The same interface in an earlier version of the same compatibility track.
    Older,
    /// The same interface in an incompatible version.
    Incompatible,
    /// A different interface.
    Other,
}

impl Match {
    /// Whether an export with this relation answers the import.
    pub fn answers(self) -> bool {
        matches!(self, Self::Exact | Self::Compatible | Self::Older)
    }

    /// A description for reports.
    pub fn description(self) -> &'static str {
        match self {
            Self::Exact => "same version",
            Self::Compatible => "later version that is compatible according to semver",
            Self::Older => "earlier version on the same track",
            Self::Incompatible => "incompatible version according to semver",
            Self::Other => "another interface",
        }
    }
}

/// Compares the names of an import and an export.
pub fn compare(import: &str, export: &str) -> Match {
    if import == export {
        return Match::Exact;
    }
    let ((wanted, from), (offered, to)) = (split(import), split(export));
    if wanted != offered {
        return Match::Other;
    }
    match (from, to) {
        (Some(from), Some(to)) if track_of(&from) == track_of(&to) => {
            if to >= from {
                Match::Compatible
            } else {
                Match::Older
            }
        }
        _ => Match::Incompatible,
    }
}

/// The export that matches an import best: the same version, or else the latest one on the track.
pub fn best<'e>(import: &str, exports: impl Iterator<Item = &'e str>) -> Option<&'e str> {
    let answering = exports.filter(|export| compare(import, export).answers());
    answering.max_by_key(|export| (*export == import, split(export).1))
}

/// The compatibility track of an interface, which all compatible versions share: `a:b/c@1` or `a:b/c@0.2`.
pub fn track(name: &str) -> String {
    match split(name) {
        (name, Some(version)) => format!("{name}@{}", track_of(&version)),
        (name, None) => name.to_owned(),
    }
}

fn track_of(version: &Version) -> String {
    match (version.major, version.minor, version.patch) {
        _ if !version.pre.is_empty() => version.to_string(),
        (0, 0, patch) => format!("0.0.{patch}"),
        (0, minor, _) => format!("0.{minor}"),
        (major, _, _) => major.to_string(),
    }
}

fn split(name: &str) -> (&str, Option<Version>) {
    match name.split_once('@') {
        Some((name, version)) => (name, Version::parse(version).ok()),
        None => (name, None),
    }
}

impl Surface {
    /// Reads the types of a component.
    pub fn of(id: &str, wasm: &[u8]) -> Result<Self, String> {
        let mut types = Types::default();
        let name = format!("app:{}", id.replace(' ', "-"));
        let package = Package::from_bytes(&name, None, wasm.to_vec(), &mut types);
        let world = package.map_err(|error| format!("{error:#}"))?.ty();
        Ok(Self { types, world })
    }

    fn import(&self, name: &str) -> Option<ItemKind> {
        self.types[self.world].imports.get(name).copied()
    }

    fn export(&self, name: &str) -> Option<ItemKind> {
        self.types[self.world].exports.get(name).copied()
    }

    /// The imports that other components have to provide. Interfaces that contain only types need no provider.
    pub fn imports(&self) -> Vec<String> {
        let imports = self.types[self.world].imports.iter();
        let asked = imports
            .filter(|(name, kind)| !is_host_interface(name) && !only_types(&self.types, **kind));
        asked.map(|(name, _)| name.clone()).collect()
    }

    /// The imports that the host provides.
    pub fn host_imports(&self) -> Vec<String> {
        let imports = self.types[self.world].imports.keys();
        imports
            .filter(|name| is_host_interface(name))
            .cloned()
            .collect()
    }

    /// The exports.
    pub fn exports(&self) -> Vec<String> {
        self.types[self.world].exports.keys().cloned().collect()
    }

    /// The export that matches an import best.
    pub fn best(&self, import: &str) -> Option<&str> {
        let exports = self.types[self.world].exports.keys();
        best(import, exports.map(String::as_str))
    }

    /// Whether an export has the types that `consumer` imports. The error names the function or field that differs.
    pub fn fits(&self, export: &str, consumer: &Self, import: &str) -> Result<(), String> {
        let (Some(offered), Some(asked)) = (self.export(export), consumer.import(import)) else {
            return Err(format!(
                "there is no export `{export}` or no import `{import}`"
            ));
        };
        subtype(offered, &self.types, asked, &consumer.types)
    }

    /// Whether users of an export of `before` can use this component instead.
    pub fn replaces(&self, before: &Self, export: &str) -> Result<(), String> {
        let Some(old) = before.export(export) else {
            return Err(format!("there was no export `{export}`"));
        };
        match self.best(export).and_then(|name| self.export(name)) {
            Some(new) => subtype(new, &self.types, old, &before.types),
            None => Err("it is no longer exported".to_owned()),
        }
    }
}

fn subtype(
    offered: ItemKind,
    offered_types: &Types,
    asked: ItemKind,
    asked_types: &Types,
) -> Result<(), String> {
    let mut cache = HashSet::new();
    let mut checker = SubtypeChecker::new(&mut cache);
    let fits = checker.is_subtype(offered, offered_types, asked, asked_types);
    fits.map_err(|error| format!("{error:#}"))
}

/// Whether an imported interface contains only types and therefore needs no provider.
pub(super) fn only_types(types: &Types, kind: ItemKind) -> bool {
    match kind {
        ItemKind::Instance(interface) => {
            let mut exports = types[interface].exports.values();
            exports.all(|item| matches!(item, ItemKind::Type(_)))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_match_as_semver_says() {
        for (import, export, fit) in [
            ("a:b/c@1.0.0", "a:b/c@1.0.0", Match::Exact),
            ("a:b/c@1.0.0", "a:b/c@1.2.3", Match::Compatible),
            ("a:b/c@1.2.3", "a:b/c@1.0.0", Match::Older),
            ("a:b/c@1.0.0", "a:b/c@2.0.0", Match::Incompatible),
            ("a:b/c@0.1.0", "a:b/c@0.1.1", Match::Compatible),
            ("a:b/c@0.1.0", "a:b/c@0.2.0", Match::Incompatible),
            ("a:b/c@0.0.1", "a:b/c@0.0.2", Match::Incompatible),
            ("a:b/c@1.0.0-rc1", "a:b/c@1.0.0", Match::Incompatible),
            ("a:b/c@1.0.0", "a:b/d@1.0.0", Match::Other),
            ("a:b/c", "a:b/c", Match::Exact),
            ("a:b/c", "a:b/c@1.0.0", Match::Incompatible),
        ] {
            assert_eq!(compare(import, export), fit, "{import} {export}");
            if fit.answers() {
                assert_eq!(track(import), track(export), "{import} {export}");
            }
        }
    }
}
