//! Which export answers an import, by which rule, and whether its types are those that are asked for.
//!
//! An export answers an import of the same package and interface if it has the same version, or a later one that semantic
//! versioning calls compatible. Then every function that is imported must be there, with types that fit.

use semver::Version;
use std::collections::HashSet;
use wac_graph::types::{ItemKind, Package, SubtypeChecker, Types, WorldId};

/// Interfaces that the host offers, by the beginning of their names.
const HOST_NAMESPACES: &[&str] = &["wasi:", "spin:", "fermyon:spin", "localmart:testing/"];

/// Whether the host answers an import itself.
pub fn is_host_interface(import: &str) -> bool {
    let begins = |start: &&str| import.starts_with(*start);
    HOST_NAMESPACES.iter().any(begins)
}

/// What a component asks for and offers.
pub struct Surface {
    types: Types,
    world: WorldId,
}

/// By which rule an export answers an import, or how nearly it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Match {
    /// The same name, the same version.
    Exact,
    /// The same interface in a later, compatible version.
    Compatible,
    /// The same interface, but too old.
    Older,
    /// The same interface, but of an incompatible version.
    Incompatible,
    /// Something else.
    Other,
}

impl Match {
    /// Whether the names allow it.
    pub fn answers(self) -> bool {
        matches!(self, Self::Exact | Self::Compatible)
    }

    /// In words.
    pub fn description(self) -> &'static str {
        match self {
            Self::Exact => "same version",
            Self::Compatible => "later version that semver calls compatible",
            Self::Older => "older than what is imported",
            Self::Incompatible => "semver calls these versions incompatible",
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

/// The export that answers an import best: the same version, or else the latest.
pub fn best<'e>(import: &str, exports: impl Iterator<Item = &'e str>) -> Option<&'e str> {
    let answering = exports.filter(|export| compare(import, export).answers());
    answering.max_by_key(|export| (*export == import, split(export).1))
}

/// What all compatible versions of an interface have in common, as `a:b/c@1` or `a:b/c@0.2`.
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
    /// Reads a component.
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

    /// What it asks of others, not of the host; interfaces that are nothing but names of types need nobody.
    pub fn imports(&self) -> Vec<String> {
        let imports = self.types[self.world].imports.iter();
        let asked = imports
            .filter(|(name, kind)| !is_host_interface(name) && !only_types(&self.types, **kind));
        asked.map(|(name, _)| name.clone()).collect()
    }

    /// What it asks of the host.
    pub fn host_imports(&self) -> Vec<String> {
        let imports = self.types[self.world].imports.keys();
        imports
            .filter(|name| is_host_interface(name))
            .cloned()
            .collect()
    }

    /// What it offers.
    pub fn exports(&self) -> Vec<String> {
        self.types[self.world].exports.keys().cloned().collect()
    }

    /// The export that answers an import best, by its name.
    pub fn best(&self, import: &str) -> Option<&str> {
        let exports = self.types[self.world].exports.keys();
        best(import, exports.map(String::as_str))
    }

    /// Whether an export of this is what another imports. The error names the function or field that differs.
    pub fn fits(&self, export: &str, consumer: &Self, import: &str) -> Result<(), String> {
        let (Some(offered), Some(asked)) = (self.export(export), consumer.import(import)) else {
            return Err(format!(
                "there is no export `{export}` or no import `{import}`"
            ));
        };
        subtype(offered, &self.types, asked, &consumer.types)
    }

    /// Whether whoever uses an export of `before` can use this in its place.
    pub fn replaces(&self, before: &Self, export: &str) -> Result<(), String> {
        let Some(old) = before.export(export) else {
            return Err(format!("there was no export `{export}`"));
        };
        match self.best(export).and_then(|name| self.export(name)) {
            Some(new) => subtype(new, &self.types, old, &before.types),
            None => Err("it is not exported any more".to_owned()),
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

/// Whether an import brings only names of types, which need nobody to answer.
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
    fn versions_answer_as_semver_says() {
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
