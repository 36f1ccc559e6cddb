//! Checks across components: links name existing components and form no cycle; a selection names existing components.

use super::{App, ResolveOptions};
use crate::allowed_hosts::AllowedHost;
use crate::manifest::ManifestError;
use std::collections::BTreeSet;

/// Checks that links name existing components and form no cycle.
pub(super) fn check_links(app: &App) -> Result<(), ManifestError> {
    for spec in app.components.values() {
        for link in &spec.links {
            if !app.components.contains_key(link) {
                return Err(app.source.error(
                    spec.tool_span.clone(),
                    format!(
                        "`{}` links `{link}`, which is not a component of this application",
                        spec.id
                    ),
                    "in these links",
                    format!("name one of: {}", joined(app.components.keys())),
                ));
            }
        }
        if let Some(cycle) = cycle_from(app, &spec.id) {
            return Err(app.source.error(
                spec.tool_span.clone(),
                format!("the links form a cycle: {}", cycle.join(" → ")),
                "in these links",
                "remove one of the links; use an event for the other direction",
            ));
        }
    }
    Ok(())
}

fn cycle_from(app: &App, start: &str) -> Option<Vec<String>> {
    fn walk<'a>(
        app: &'a App,
        at: &'a str,
        start: &str,
        path: &mut Vec<String>,
        done: &mut BTreeSet<&'a str>,
    ) -> bool {
        path.push(at.to_owned());
        for link in app
            .components
            .get(at)
            .map(|spec| spec.links.as_slice())
            .unwrap_or_default()
        {
            if link == start {
                path.push(link.clone());
                return true;
            }
            if done.insert(link) && walk(app, link, start, path, done) {
                return true;
            }
        }
        path.pop();
        false
    }
    let mut path = Vec::new();
    walk(app, start, start, &mut path, &mut BTreeSet::new()).then_some(path)
}

/// Keeps only the components selected with `--component-id`.
pub(super) fn retain(app: &mut App, options: &ResolveOptions) -> Result<(), ManifestError> {
    if options.only.is_empty() {
        return Ok(());
    }
    for id in &options.only {
        if !app.components.contains_key(id) {
            return Err(ManifestError::file(
                format!("--component-id {id}: there is no such component"),
                format!("name one of: {}", joined(app.components.keys())),
            ));
        }
    }
    let is_kept = |id: &str| {
        let named = app.components.get(id).map(|spec| &spec.manifest_id);
        named.is_some_and(|named| options.only.contains(named))
    };
    app.routes
        .retain(|route| route.component().is_none_or(is_kept));
    app.subscriptions.retain(|one| is_kept(&one.component));
    for spec in app.components.values_mut() {
        spec.triggered &= options.only.contains(&spec.manifest_id);
    }
    for spec in app.components.values().filter(|spec| spec.triggered) {
        let mut chained = spec
            .allowed_hosts
            .iter()
            .filter_map(AllowedHost::chained_component);
        if let Some(away) = chained.find(|name| options.only.iter().all(|one| one != name)) {
            return Err(ManifestError::file(
                format!(
                    "`{}` sends requests to `{away}`, which --component-id leaves out",
                    spec.manifest_id
                ),
                format!("add --component-id {away}"),
            ));
        }
    }
    Ok(())
}

pub(super) fn joined<'a>(names: impl Iterator<Item = &'a String>) -> String {
    names.cloned().collect::<Vec<_>>().join(", ")
}
