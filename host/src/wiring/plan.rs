//! Plans an application under its bindings: which components run in their own instances, what is fused into each, which
//! components each one calls, and which grants it gets.

use crate::allowed_hosts::AllowedHost;
use crate::app::{App, ComponentSpec, OwnGrants};
use crate::link::binding::{Binding, Bindings, Link};
use crate::manifest::ManifestError;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// A component that runs in its own instances.
#[derive(Clone, Debug)]
pub struct DeploymentPlan {
    /// Its manifest entry, with the grants that it gets under these bindings.
    pub spec: ComponentSpec,
    /// The components that are fused into it.
    pub fused: BTreeSet<String>,
    /// The components and policies of this host that it calls, or that a component fused into it calls.
    pub local: BTreeSet<String>,
    /// The components on other hosts that it calls, or that a component fused into it calls.
    pub remote: BTreeSet<String>,
    /// Whether everything is fused, so that the fused file that the manifest names can be used.
    pub as_built: bool,
}

/// Plans which components run in their own instances, by id.
pub fn plan(
    app: &App,
    bindings: &Bindings,
) -> Result<BTreeMap<String, DeploymentPlan>, ManifestError> {
    for link in bindings.named() {
        check(app, link)?;
    }
    let mut plans = BTreeMap::new();
    let triggered = app.components.values().filter(|spec| spec.triggered);
    let mut wanted: Vec<&ComponentSpec> = triggered.collect();
    while let Some(spec) = wanted.pop() {
        if plans.contains_key(&spec.id) {
            continue;
        }
        let plan = deployment_plan(app, bindings, spec);
        wanted.extend(plan.local.iter().filter_map(|id| app.components.get(id)));
        plans.insert(spec.id.clone(), plan);
    }
    Ok(plans)
}

/// The length of the longest chain of components of this host that a component calls; 0 if it calls none.
pub fn level(plans: &BTreeMap<String, DeploymentPlan>, id: &str) -> usize {
    fn below(plans: &BTreeMap<String, DeploymentPlan>, id: &str, path: &mut Vec<String>) -> usize {
        let Some(plan) = plans.get(id) else { return 0 };
        path.push(id.to_owned());
        let mut deepest = 0;
        for callee in &plan.local {
            // A policy uses no database, and a component in a circle is counted once.
            let counts = plans
                .get(callee)
                .is_some_and(|callee| callee.spec.policy.is_none());
            if counts && !path.contains(callee) {
                deepest = deepest.max(1 + below(plans, callee, path));
            }
        }
        path.pop();
        deepest
    }
    below(plans, id, &mut Vec::new())
}

/// Checks that a link named by `--binding` exists.
fn check(app: &App, link: &Link) -> Result<(), ManifestError> {
    let caller = app.components.get(&link.caller);
    if caller.is_some_and(|spec| spec.links.contains(&link.callee)) {
        return Ok(());
    }
    let links = |spec: &ComponentSpec| {
        let link = |callee: &String| format!("{}->{callee}", spec.id);
        spec.links.iter().map(link).collect::<Vec<_>>()
    };
    let known: Vec<String> = app.components.values().flat_map(links).collect();
    let help = match known.as_slice() {
        [] => "this application has no links".to_owned(),
        known => format!("there are {}", known.join(", ")),
    };
    let message = format!("there is no link {link}");
    Err(ManifestError::file(message, help))
}

/// The binding of a link. A policy always has its own binding.
pub fn binding_of(
    app: &App,
    bindings: &Bindings,
    caller: &str,
    callee: &str,
    declared: Option<Binding>,
) -> Binding {
    let callee_spec = app.components.get(callee);
    if callee_spec.is_some_and(|spec| spec.policy.is_some()) {
        return Binding::Policy;
    }
    bindings.for_link(caller, callee, declared)
}

fn deployment_plan(app: &App, bindings: &Bindings, root: &ComponentSpec) -> DeploymentPlan {
    let (mut fused, mut local) = (BTreeSet::new(), BTreeSet::new());
    let mut remote = BTreeSet::new();
    let mut wanted = vec![root];
    while let Some(spec) = wanted.pop() {
        for link in &spec.links {
            let declared = spec.bindings.get(link).copied();
            match binding_of(app, bindings, &spec.manifest_id, link, declared) {
                Binding::Remote => {
                    remote.insert(link.clone());
                }
                Binding::Isolated | Binding::Policy => {
                    local.insert(link.clone());
                }
                Binding::Fused => {
                    if fused.insert(link.clone()) {
                        wanted.extend(app.components.get(link));
                    }
                }
            }
        }
    }
    let mut spec = root.clone();
    let as_built = local.is_empty() && remote.is_empty();
    if !as_built {
        let parts = fused.iter().filter_map(|id| app.components.get(id));
        restrict(&mut spec, parts);
    }
    DeploymentPlan {
        spec,
        fused,
        local,
        remote,
        as_built,
    }
}

/// Reduces the grants of a component to those that it and the components fused into it need.
fn restrict<'a>(spec: &mut ComponentSpec, parts: impl Iterator<Item = &'a ComponentSpec>) {
    let mut own = own(spec);
    for part in parts {
        let more = self::own(part);
        own.sqlite_databases.extend(more.sqlite_databases);
        own.key_value_stores.extend(more.key_value_stores);
        own.variables.extend(more.variables);
        own.allowed_hosts.extend(more.allowed_hosts);
    }
    spec.sqlite_databases
        .retain(|label, _| own.sqlite_databases.contains(label));
    spec.key_value_stores = own.key_value_stores;
    spec.variables
        .retain(|name, _| own.variables.contains(name));
    spec.allowed_hosts = own.allowed_hosts;
}

/// The grants that a component itself needs: its `own` table, or else all of its grants.
fn own(spec: &ComponentSpec) -> OwnGrants {
    spec.own.clone().unwrap_or_else(|| OwnGrants {
        sqlite_databases: spec.sqlite_databases.keys().cloned().collect(),
        key_value_stores: spec.key_value_stores.clone(),
        allowed_hosts: spec.allowed_hosts.iter().map(AllowedHost::clone).collect(),
        variables: spec.variables.keys().cloned().collect(),
    })
}

/// The standalone file of a component, without its links. It lies next to the folder `fused` if the manifest names a
/// file in that folder.
pub fn standalone_file(wasm: &Path) -> PathBuf {
    let folder = wasm.parent();
    match (folder.and_then(Path::parent), wasm.file_name()) {
        (Some(dist), Some(name)) if folder.is_some_and(|folder| folder.ends_with("fused")) => {
            dist.join(name)
        }
        _ => wasm.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::{ResolveOptions, resolve};
    use crate::manifest::Source;
    use std::sync::Arc;

    const MANIFEST: &str = r#"
        spin_manifest_version = 2
        application = { name = "t" }
        [[trigger.http]]
        route = "/..."
        component = "shop"
        [component.shop]
        source = "dist/fused/shop.wasm"
        sqlite_databases = ["shop", "basket", "goods"]
        variables = { a = "1", b = "2" }
        [component.shop.tool.localmart]
        links = ["basket", "goods"]
        own = { sqlite_databases = ["shop"], variables = ["a"] }
        [component.basket]
        source = "dist/fused/basket.wasm"
        sqlite_databases = ["basket", "goods"]
        [component.basket.tool.localmart]
        links = ["goods"]
        own = { sqlite_databases = ["basket"] }
        [component.goods]
        source = "dist/goods.wasm"
        sqlite_databases = ["goods"]
        [component.nobody]
        source = "dist/nobody.wasm"
    "#;

    fn planned(options: &[&str]) -> String {
        let source = Source {
            path: "spin.toml".into(),
            text: Arc::new(MANIFEST.to_owned()),
            profile: None,
        };
        let app = resolve(source, &ResolveOptions::default()).unwrap();
        let options: Vec<_> = options
            .iter()
            .map(|option| option.parse().unwrap())
            .collect();
        let plans = plan(&app, &Bindings::from_options(&options)).unwrap();
        let shown = plans.values().map(|plan| {
            let join = |set: &BTreeSet<String>| set.iter().cloned().collect::<Vec<_>>().join("+");
            let databases = plan.spec.sqlite_databases.keys().cloned().collect();
            format!(
                "{}[{}]->{} {} {}",
                plan.spec.id,
                join(&plan.fused),
                join(&plan.local),
                join(&databases),
                plan.spec.variables.len()
            )
        });
        shown.collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn the_bindings_decide_which_components_get_their_own_instances() {
        assert_eq!(
            planned(&["fused"]),
            "shop[basket+goods]-> basket+goods+shop 2"
        );
        assert_eq!(
            planned(&[]),
            "basket[]->goods basket 0; goods[]-> goods 0; shop[]->basket+goods shop 1"
        );
        assert_eq!(
            planned(&["shop->basket=fused"]),
            "goods[]-> goods 0; shop[basket]->goods basket+shop 1"
        );
        assert_eq!(
            planned(&["fused", "shop->basket=isolated"]),
            "basket[goods]-> basket+goods 0; shop[goods]->basket goods+shop 1"
        );
    }

    #[test]
    fn standalone_files_lie_beside_the_folder_fused() {
        assert_eq!(
            standalone_file(Path::new("a/dist/fused/x.wasm")),
            Path::new("a/dist/x.wasm")
        );
        assert_eq!(
            standalone_file(Path::new("a/dist/x.wasm")),
            Path::new("a/dist/x.wasm")
        );
    }
}
