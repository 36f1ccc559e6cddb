//! Resolves the dependencies and middleware in the manifest. Every error points into the file.

use super::resolver::Resolver;
use crate::compose::Plug;
use crate::compose::deny::Grant;
use crate::fetch::RemoteSource;
use crate::manifest::ManifestError;
use crate::manifest::schema::{Component, Dependency, Inherit, Manifest, TextOr};
use std::collections::BTreeSet;
use std::ops::Range;

/// The help for sources that this host cannot download.
const NOT_FETCHED: &str = "download it first, and name the file: { path = \"…\" }";

impl Resolver<'_> {
    /// The dependencies of a component.
    pub(super) fn dependencies(
        &self,
        component: &Component,
        manifest: &Manifest,
    ) -> Result<Vec<Plug>, ManifestError> {
        let for_all = component.dependencies_inherit_configuration.as_ref();
        let mut plugs = Vec::new();
        for (key, said) in &component.dependencies {
            let (name, span) = (key.get_ref(), key.span());
            let mut plug = self.plug(name, said, span.clone(), manifest)?;
            if let (TextOr::Table(said), Some(for_all)) = (said, for_all) {
                if said.inherit_configuration.is_some() {
                    return Err(self.source.error(
                        span,
                        format!("`{name}` has inherit_configuration, and its component has dependencies_inherit_configuration"),
                        "here",
                        "keep only one of them",
                    ));
                }
                if *for_all.get_ref() {
                    plug.inherits = Grant::ALL.into();
                }
            }
            if plug.export.is_some() && name.contains(':') && !name.contains('/') {
                return Err(self.source.error(
                    span,
                    format!("`{name}` is a package, so `export` cannot name the export of each of its interfaces"),
                    "here",
                    "name the interface: \"package:name/interface\"",
                ));
            }
            plugs.push(plug);
        }
        Ok(plugs)
    }

    /// The middleware of an HTTP trigger.
    pub(super) fn middleware(
        &self,
        dependencies: &std::collections::BTreeMap<String, Vec<TextOr<Dependency>>>,
        span: &Range<usize>,
        manifest: &Manifest,
    ) -> Result<Vec<Plug>, ManifestError> {
        if let Some(role) = dependencies.keys().find(|role| *role != "middleware") {
            return Err(self.source.error(
                span.clone(),
                format!("an HTTP trigger does not support `dependencies.{role}`"),
                "in this trigger",
                "it supports `dependencies.middleware` only",
            ));
        }
        let middleware = dependencies.values().flatten().enumerate();
        middleware
            .map(|(index, said)| {
                let name = match said {
                    TextOr::Table(Dependency {
                        component: Some(id),
                        ..
                    }) => id.clone(),
                    _ => format!("middleware {}", index + 1),
                };
                self.plug(&name, said, span.clone(), manifest)
            })
            .collect()
    }

    fn plug(
        &self,
        name: &str,
        said: &TextOr<Dependency>,
        span: Range<usize>,
        manifest: &Manifest,
    ) -> Result<Plug, ManifestError> {
        let wrong =
            |message: String, help: &str| self.source.error(span.clone(), message, "here", help);
        let said = match said {
            TextOr::Table(said) => said,
            TextOr::Text(version) => {
                let message = format!(
                    "`{name}` is version {version} of a registry package, which this host does not support yet"
                );
                return Err(wrong(message, NOT_FETCHED));
            }
        };
        let registry = [&said.version, &said.registry, &said.package];
        if registry.iter().any(|key| key.is_some()) {
            let message =
                format!("`{name}` comes from a registry, which this host does not support yet");
            return Err(wrong(message, NOT_FETCHED));
        }
        let remote = match (&said.url, &said.digest) {
            (None, None) => None,
            (Some(_), None) => {
                let message = format!("`{name}` has a `url` without `digest`");
                let help =
                    "add digest = \"sha256:…\", the SHA-256 of the file; sha256sum prints it";
                return Err(wrong(message, help));
            }
            (url, digest) => {
                let (url, digest) = (
                    url.as_deref().unwrap_or_default(),
                    digest.as_deref().unwrap_or_default(),
                );
                let remote = RemoteSource::parse(url, digest);
                Some(
                    remote
                        .map_err(|reason| wrong(reason, "write url and digest = \"sha256:…\""))?,
                )
            }
        };
        let wasm = match (&said.path, &said.component, &remote) {
            (Some(path), None, None) => path.clone(),
            (None, None, Some(_)) => String::new(),
            (None, Some(id), None) => self.source_of(id, manifest).map_err(|reason| {
                wrong(
                    reason,
                    "a dependency has no grants of its own; it can inherit those of its component",
                )
            })?,
            _ => {
                let message = format!(
                    "`{name}` needs exactly one location: `path`, `component`, or `url` with `digest`"
                );
                return Err(wrong(
                    message,
                    "write { path = \"file.wasm\" } or { component = \"id\" }",
                ));
            }
        };
        let inherits = inherited(said.inherit_configuration.as_ref()).map_err(|reason| {
            wrong(reason, "list keys of the component, or write true or false")
        })?;
        Ok(Plug {
            name: name.to_owned(),
            wasm: self.source.folder().join(wasm),
            remote,
            export: said.export.clone(),
            inherits,
            span,
        })
    }

    /// The file of a component that is used as a dependency. Such a component must not have grants of its own.
    fn source_of(&self, id: &str, manifest: &Manifest) -> Result<String, String> {
        let Some(component) = manifest.component.get(id) else {
            let known = super::check::joined(manifest.component.keys());
            return Err(format!(
                "there is no component `{id}`; known components: {known}"
            ));
        };
        let component = component.get_ref();
        let own = [
            ("ai_models", component.ai_models.is_empty()),
            (
                "allowed_outbound_hosts",
                component.allowed_outbound_hosts.is_empty(),
            ),
            ("allowed_http_hosts", component.allowed_http_hosts.is_none()),
            ("dependencies", component.dependencies.is_empty()),
            ("environment", component.environment.is_empty()),
            ("files", component.files.is_empty()),
            ("key_value_stores", component.key_value_stores.is_empty()),
            ("sqlite_databases", component.sqlite_databases.is_empty()),
            ("variables", component.variables.is_empty()),
        ];
        if let Some((key, _)) = own.iter().find(|(_, empty)| !empty) {
            return Err(format!("`{id}` has `{key}`, so it cannot be a dependency"));
        }
        let source = component.source.get_ref().as_str();
        source
            .map(str::to_owned)
            .ok_or_else(|| format!("the source of `{id}` is not a local file"))
    }
}

fn inherited(said: Option<&Inherit>) -> Result<BTreeSet<Grant>, String> {
    match said {
        None | Some(Inherit::All(false)) => Ok(BTreeSet::new()),
        Some(Inherit::All(true)) => Ok(Grant::ALL.into()),
        Some(Inherit::Some(keys)) => keys
            .iter()
            .map(|key| {
                let grant = Grant::ALL.into_iter().find(|grant| grant.key() == key);
                grant.ok_or_else(|| {
                    let known = Grant::ALL.map(Grant::key).join(", ");
                    format!("`{key}` cannot be inherited; use {known}")
                })
            })
            .collect(),
    }
}
