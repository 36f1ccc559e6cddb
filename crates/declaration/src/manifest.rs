//! The repeated halves of `spin.toml` and `runtime-config.toml`. They are literal, so that plain Spin reads them.

use crate::{BUS, Declaration, Declarations, Variable};
use std::collections::BTreeSet;
use std::fmt::Write as _;

/// Where a service may connect to: Postgres and Redis, if the variables name servers.
const SERVERS: &str = r#"["postgres://{{ database_host }}:{{ database_port }}", "redis://{{ redis_host }}:{{ redis_port }}"]"#;
/// The variables of every service.
const COMMON: &[&str] = &[
    "jwt_public_key",
    "database_url",
    "redis_url",
    "sweep_token",
    "idempotency_ttl",
];

/// The generated half of `spin.toml`: variables, triggers and components.
pub fn spin(all: &Declarations) -> String {
    let mut text = String::new();
    for one in all.0.values() {
        for (name, variable) in one.own_settings() {
            text += &variable_table(name, variable);
        }
    }
    for (noun, one) in &all.0 {
        let sweep = one.timer.as_ref().map(|_| sweep_path(noun));
        for route in one.routes.iter().chain(&sweep) {
            let _ = write!(
                text,
                "[[trigger.http]]\nroute = \"{route}\"\ncomponent = \"{noun}\"\n\n"
            );
        }
    }
    text += "# A message is only a wake-up: what there is to read is on the bus.\n";
    for (noun, one) in &all.0 {
        for channel in &one.hears {
            let _ = write!(
                text,
                "[[trigger.redis]]\nchannel = \"{channel}\"\ncomponent = \"{noun}\"\n\n"
            );
        }
    }
    let (policies, services): (Vec<_>, Vec<_>) = all.0.iter().partition(|(_, one)| one.policy);
    for (noun, one) in services {
        text += &service(all, noun, one);
    }
    text += "# Policies: pure, without grants, metered. Merchants replace them, in any language.\n";
    for (noun, one) in policies {
        text += &policy(noun, one);
    }
    text.truncate(text.trim_end().len());
    text + "\n"
}

/// The generated half of `runtime-config.toml`: a database for each service.
pub fn runtime_config(all: &Declarations) -> String {
    let services = all.0.iter().filter(|(_, one)| !one.policy);
    let databases = services.map(|(noun, _)| noun.as_str()).chain([BUS]);
    let table = |name: &str| {
        format!("[sqlite_database.{name}]\ntype = \"spin\"\npath = \".spin/{name}.db\"\n")
    };
    databases.map(table).collect::<Vec<_>>().join("\n")
}

fn sweep_path(noun: &str) -> String {
    format!("/internal/{noun}/sweep")
}

fn variable_table(name: &str, variable: &Variable) -> String {
    let mut text = format!("[variables.{name}]\n");
    if variable.required {
        text += "required = true\n";
    }
    if variable.secret {
        text += "secret = true\n";
    }
    if let Some(default) = &variable.default {
        let _ = writeln!(text, "default = {}", quoted(default));
    }
    let _ = write!(text, "description = {}\n\n", quoted(&variable.description));
    text
}

fn service(all: &Declarations, noun: &str, one: &Declaration) -> String {
    let parts = all.with_links(noun);
    let services: Vec<(&str, &Declaration)> = parts
        .iter()
        .filter_map(|part| Some((*part, all.0.get(*part)?)))
        .filter(|(_, part)| !part.policy)
        .collect();
    let fused = !one.links.is_empty();
    let mut text = format!(
        "[component.{noun}]\ndescription = {}\nsource = \"dist/{}{noun}.wasm\"\n",
        quoted(&one.description),
        if fused { "fused/" } else { "" }
    );
    let databases = databases(services.iter().rev());
    let _ = writeln!(text, "sqlite_databases = {}", list(&databases));
    text += "key_value_stores = [\"default\"]\n";
    let _ = writeln!(text, "allowed_outbound_hosts = {SERVERS}");
    let own = own_variables(one);
    let linked = services.iter().flat_map(|(_, part)| part.settings.keys());
    let others: BTreeSet<&str> = linked.map(String::as_str).collect();
    let others = others.into_iter().filter(|name| !own.contains(name));
    let _ = writeln!(text, "[component.{noun}.variables]");
    for name in own.iter().copied().chain(others) {
        let _ = writeln!(text, "{name} = \"{{{{ {name} }}}}\"");
    }
    text += &build(noun, "\"crates/**/*.rs\", \"wit/**/*.wit\"");
    let _ = writeln!(text, "[component.{noun}.tool.localmart]");
    if fused {
        let _ = writeln!(text, "links = {}", list(&one.links));
        let _ = writeln!(
            text,
            "own = {{ sqlite_databases = {}, allowed_outbound_hosts = {SERVERS}, key_value_stores = [\"default\"], variables = {} }}",
            list(&self::databases([(noun, one)].iter())),
            list(&own)
        );
    }
    if let Some(calls) = one.calls_per_instance {
        let _ = writeln!(text, "calls_per_instance = {calls}");
    }
    if let Some(interval) = &one.timer {
        let _ = writeln!(
            text,
            "every = {{ interval = \"{interval}\", path = \"{}\", headers = {{ x-sweep-token = \"{{{{ sweep_token }}}}\" }} }}",
            sweep_path(noun)
        );
    }
    text + "\n"
}

fn policy(noun: &str, one: &Declaration) -> String {
    format!(
        "[component.{noun}]\ndescription = {}\nsource = \"dist/{noun}.wasm\"\n{}[component.{noun}.tool.localmart]\npolicy = {{}}\n\n",
        quoted(&one.description),
        build(noun, &format!("\"wit/{noun}/**/*.wit\""))
    )
}

fn build(noun: &str, watched: &str) -> String {
    format!(
        "[component.{noun}.build]\ncommand = \"cargo run --release --quiet -- build {noun}\"\nwatch = [\"components/{noun}/**/*\", {watched}]\n"
    )
}

/// The databases of some services, and the bus if one of them uses it.
fn databases<'a>(services: impl Iterator<Item = &'a (&'a str, &'a Declaration)>) -> Vec<&'a str> {
    let (mut names, mut bus) = (Vec::new(), false);
    for (noun, one) in services {
        names.push(*noun);
        bus |= one.uses_bus();
    }
    names.extend(bus.then_some(BUS));
    names
}

/// The variables that a service reads itself.
fn own_variables(one: &Declaration) -> Vec<&str> {
    let declared = one.settings.keys().chain(one.http_settings.keys());
    let own = declared.map(String::as_str);
    COMMON.iter().copied().chain(own).collect()
}

fn list<T: AsRef<str>>(items: &[T]) -> String {
    let quoted: Vec<String> = items.iter().map(|item| quoted(item.as_ref())).collect();
    format!("[{}]", quoted.join(", "))
}

/// A TOML string.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}
