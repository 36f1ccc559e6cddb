//! Locates what an application needs at start-up: its databases, and components from URLs.

use super::LoadOptions;
use crate::app::{App, ComponentSpec};
use crate::capability::sqlite::{Database, Databases};
use crate::manifest::Source;
use anyhow::Context as _;
use std::path::Path;
use std::sync::Arc;

/// Downloads the component and its dependencies that have a URL into a folder.
pub(super) fn fetch(
    spec: &mut ComponentSpec,
    source: &Source,
    folder: &Path,
) -> anyhow::Result<()> {
    let own = (&spec.remote, &mut spec.wasm, &spec.source_span);
    let composition = &mut spec.composition;
    let plugs = composition
        .dependencies
        .iter_mut()
        .chain(&mut composition.middleware);
    let plugs = plugs.map(|plug| (&plug.remote, &mut plug.wasm, &plug.span));
    for (remote, wasm, span) in std::iter::once(own).chain(plugs) {
        if let Some(remote) = remote {
            *wasm = remote.fetch(folder).map_err(|error| {
                let help = "check the address and the network connection";
                source.error(span.clone(), format!("{error:#}"), "named here", help)
            })?;
        }
    }
    Ok(())
}

/// The label of the database that needs no configuration.
const DEFAULT_LABEL: &str = "default";

/// The databases of all components that run.
pub(super) fn databases<'a>(
    app: &App,
    running: impl Iterator<Item = &'a ComponentSpec>,
    options: &LoadOptions,
) -> anyhow::Result<Databases> {
    let mut databases = Databases::new();
    for spec in running {
        for (label, span) in &spec.sqlite_databases {
            if let Some(path) = options.runtime_config.sqlite_databases.get(label) {
                if let Some(folder) = path.parent() {
                    std::fs::create_dir_all(folder)
                        .with_context(|| format!("making {}", folder.display()))?;
                }
                databases
                    .entry(label.clone())
                    .or_insert_with(|| Arc::new(Database::new(path, options.synchronous)));
                continue;
            }
            // As in Spin, the default label needs no configuration.
            let path = match app.tool {
                Some(_) => options.state_dir.join(format!("{label}.db")),
                None => options.state_dir.join("sqlite_db.db"),
            };
            if app.tool.is_none() && label != DEFAULT_LABEL {
                let message = format!(
                    "component `{}` uses the database `{label}`, which is not configured",
                    spec.id
                );
                let help = "without [application.tool.localmart] only `default` and configured databases exist";
                return Err(app
                    .source
                    .error(span.clone(), message, "this label", help)
                    .into());
            }
            databases
                .entry(label.clone())
                .or_insert_with(|| Arc::new(Database::new(&path, options.synchronous)));
        }
    }
    Ok(databases)
}
