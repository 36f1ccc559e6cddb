//! Normalises a manifest: applies a profile to its components, and gives an id to components that are written inline in
//! a trigger.

use super::schema::{Component, Manifest, TextOr};
use super::{ManifestError, Source};
use std::collections::btree_map::Entry;
use toml::Spanned;

/// Applies a profile to all components that define it. At least one must.
pub(super) fn apply_profile(
    manifest: &mut Manifest,
    source: &Source,
    name: &str,
) -> Result<(), ManifestError> {
    let mut known = false;
    for component in manifest.component.values_mut() {
        let component = component.get_mut();
        let Some(profile) = component.profile.remove(name) else {
            continue;
        };
        known = true;
        if let Some(source) = profile.source {
            component.source = source;
        }
        component.environment.extend(profile.environment);
        for (key, dependency) in profile.dependencies {
            component.dependencies.remove(&key);
            component.dependencies.insert(key, dependency);
        }
        if let (Some(said), Some(build)) = (profile.build, &mut component.build) {
            build.command = said.command;
        }
    }
    if known {
        return Ok(());
    }
    Err(ManifestError::file(
        format!(
            "--profile {name}: no component of {} has a profile of this name",
            source.path.display()
        ),
        format!("add [component.<id>.profile.{name}], or correct the name"),
    ))
}

/// Moves inline components out of their triggers. As in Spin the id becomes `<trigger>-component`.
pub(super) fn name_inline_components(
    manifest: &mut Manifest,
    source: &Source,
) -> Result<(), ManifestError> {
    for (kind, triggers) in &mut manifest.trigger {
        for (index, trigger) in triggers.iter_mut().enumerate() {
            let span = trigger.span();
            let trigger = trigger.get_mut();
            let Some(TextOr::Table(inline)) = trigger.component.take_if(is_inline) else {
                continue;
            };
            let name = trigger
                .id
                .clone()
                .unwrap_or_else(|| format!("{kind}-trigger{}", index + 1));
            let id = format!("{name}-component");
            match manifest.component.entry(id.clone()) {
                Entry::Vacant(free) => drop(free.insert(Spanned::new(span, *inline))),
                Entry::Occupied(_) => {
                    return Err(source.error(
                        span,
                        format!("the inline component of this trigger would be called `{id}`, but this id is already in use"),
                        "here",
                        "give the trigger another `id`",
                    ));
                }
            }
            trigger.component = Some(TextOr::Text(id));
        }
    }
    Ok(())
}

fn is_inline(component: &mut TextOr<Box<Component>>) -> bool {
    matches!(component, TextOr::Table(_))
}
