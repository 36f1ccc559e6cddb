//! The grants of components with links: each must be the sum of what the component needs itself, `tool.localmart.own`, and of the
//! grants of its links, because links can be fused into it.

use super::Finding;
use localmart_host::app::{App, ComponentSpec, OwnGrants};
use std::collections::BTreeSet;

/// Grants by the key of the manifest that lists them.
struct Grants {
    sqlite_databases: BTreeSet<String>,
    key_value_stores: BTreeSet<String>,
    allowed_outbound_hosts: BTreeSet<String>,
    variables: BTreeSet<String>,
}

/// Checks the grants of all components with links.
pub(super) fn check(app: &App) -> Vec<Finding> {
    let mut problems = Vec::new();
    let linking = app
        .components
        .values()
        .filter(|spec| !spec.links.is_empty());
    for spec in linking {
        let links = spec.links.iter().filter_map(|id| app.components.get(id));
        let links: Vec<Grants> = links.map(Grants::of).collect();
        match &spec.own {
            Some(own) => problems.extend(compared(&spec.id, &Grants::of(spec), own, &links)),
            None if links.iter().all(Grants::is_empty) => {}
            None => problems.push(format!(
                "`{}` links components with grants and does not list its own: add tool.localmart.own",
                spec.id
            )),
        }
    }
    if problems.is_empty() {
        vec![Ok(
            "components with links are granted what they and their links need".to_owned(),
        )]
    } else {
        problems.into_iter().map(Err).collect()
    }
}

/// The differences between the grants of a component and the sum of its own and those of its links.
fn compared(id: &str, granted: &Grants, own: &OwnGrants, links: &[Grants]) -> Vec<String> {
    let mut problems = Vec::new();
    let mut check = |key: &str, granted: &BTreeSet<String>, sum: BTreeSet<String>, exact: bool| {
        for missing in sum.difference(granted).filter(|_| exact) {
            problems.push(format!(
                "`{id}` and its links need `{missing}`: add it to {key} of `{id}`"
            ));
        }
        for extra in granted.difference(&sum) {
            problems.push(format!(
                "`{id}` is granted `{extra}`, which neither it nor a link needs: remove it from {key} of `{id}`, or add it to own.{key}"
            ));
        }
    };
    let sum = |own: BTreeSet<String>, of: fn(&Grants) -> &BTreeSet<String>| {
        let links = links.iter().flat_map(of);
        own.into_iter().chain(links.cloned()).collect()
    };
    check(
        "sqlite_databases",
        &granted.sqlite_databases,
        sum(own.sqlite_databases.clone(), |one| &one.sqlite_databases),
        true,
    );
    check(
        "key_value_stores",
        &granted.key_value_stores,
        sum(own.key_value_stores.clone(), |one| &one.key_value_stores),
        true,
    );
    let hosts = own.allowed_hosts.iter().map(ToString::to_string);
    check(
        "allowed_outbound_hosts",
        &granted.allowed_outbound_hosts,
        sum(hosts.collect(), |one| &one.allowed_outbound_hosts),
        true,
    );
    // A variable of a link may be needed only by requests that do not come over the link, and may be secret.
    check(
        "variables",
        &granted.variables,
        sum(own.variables.clone(), |one| &one.variables),
        false,
    );
    problems
}

impl Grants {
    fn of(spec: &ComponentSpec) -> Self {
        let hosts = spec.allowed_hosts.iter().map(ToString::to_string);
        Self {
            sqlite_databases: spec.sqlite_databases.keys().cloned().collect(),
            key_value_stores: spec.key_value_stores.clone(),
            allowed_outbound_hosts: hosts.collect(),
            variables: spec.variables.keys().cloned().collect(),
        }
    }

    fn is_empty(&self) -> bool {
        self.sqlite_databases.is_empty()
            && self.key_value_stores.is_empty()
            && self.allowed_outbound_hosts.is_empty()
            && self.variables.is_empty()
    }
}
