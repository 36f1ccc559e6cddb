//! Portability to `spin up`: Spin 4.1 supports every import of every component and every key of the manifest. Spin is
//! not available everywhere, so these are its lists, taken from its source.

use crate::harness::{built, root};
use std::collections::BTreeSet;
use toml::{Table, Value};
use wasmparser::{ComponentExternalKind, Parser, Payload};

/// Interfaces other than WASI's that Spin 4.1 links. It does not support later minor versions.
const SPIN: &[&str] = &[
    "spin:sqlite/sqlite@3.1.0",
    "spin:postgres/postgres@4.2.0",
    "spin:redis/redis@3.0.0",
    "spin:key-value/key-value@3.0.0",
    "spin:variables/variables@3.0.0",
    "spin:mqtt/mqtt@3.0.0",
    "wasi:keyvalue/store@0.2.0-draft2",
    "wasi:keyvalue/batch@0.2.0-draft2",
    "wasi:keyvalue/atomics@0.2.0-draft2",
    "wasi:config/store@0.2.0-draft-2024-09-27",
];

/// An interface with types only, which needs no provider.
const TYPES: &str = "localmart:kernel/types@1.0.0";

/// The WASI packages that it links, with their newest version.
const WASI: &[&str] = &[
    "cli",
    "clocks",
    "random",
    "filesystem",
    "sockets",
    "io",
    "http",
];
const WASI_2_PATCHES: std::ops::RangeInclusive<u32> = 0..=6;

/// The exports that a component can be called through.
const HANDLERS: &[&str] = &["wasi:http/handler@0.3.0", "spin:redis/inbound-redis@3.0.0"];

fn manifest() -> Table {
    let text = std::fs::read_to_string(root().join("spin.toml")).unwrap();
    text.parse().unwrap()
}

fn table<'a>(value: &'a Value, what: &str) -> &'a Table {
    value
        .as_table()
        .unwrap_or_else(|| panic!("{what} is no table"))
}

/// The imports and exports of a component.
fn interfaces(wasm: &[u8]) -> (BTreeSet<String>, BTreeSet<String>) {
    let (mut imports, mut exports, mut depth) = (BTreeSet::new(), BTreeSet::new(), 0);
    for payload in Parser::new(0).parse_all(wasm) {
        match payload.unwrap() {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) if depth > 0 => depth -= 1,
            Payload::ComponentImportSection(section) if depth == 0 => {
                imports.extend(
                    section
                        .into_iter()
                        .map(|import| import.unwrap().name.name.to_owned()),
                );
            }
            Payload::ComponentExportSection(section) if depth == 0 => {
                let exported = section.into_iter().map(Result::unwrap);
                let instances =
                    exported.filter(|export| export.kind == ComponentExternalKind::Instance);
                exports.extend(instances.map(|export| export.name.name.to_owned()));
            }
            _ => {}
        }
    }
    (imports, exports)
}

fn is_offered(import: &str) -> bool {
    if SPIN.contains(&import) || import == TYPES {
        return true;
    }
    let wasi = import
        .strip_prefix("wasi:")
        .and_then(|rest| rest.split_once('/'));
    let Some((package, (_, version))) =
        wasi.and_then(|(package, rest)| Some((package, rest.split_once('@')?)))
    else {
        return false;
    };
    let patch = version
        .strip_prefix("0.2.")
        .and_then(|patch| patch.parse::<u32>().ok());
    let known = version == "0.3.0" || patch.is_some_and(|patch| WASI_2_PATCHES.contains(&patch));
    WASI.contains(&package) && known
}

#[test]
fn every_import_of_every_component_is_one_that_spin_has() {
    built();
    let manifest = manifest();
    for (id, component) in table(&manifest["component"], "component") {
        let source = component["source"].as_str().unwrap();
        let wasm = std::fs::read(root().join(source)).unwrap();
        let (imports, exports) = interfaces(&wasm);
        assert!(imports.len() > 5, "{id}: {imports:?}");
        for import in &imports {
            assert!(
                is_offered(import),
                "{id} imports {import}, which Spin 4.1 does not have"
            );
        }
        let foreign = |name: &&String| !name.starts_with("localmart:");
        for export in exports.iter().filter(foreign) {
            assert!(HANDLERS.contains(&export.as_str()), "{id} exports {export}");
        }
        // Spin accepts a component with a single HTTP handler, and a trigger needs its handler.
        let calls = |kind: &str| {
            let triggers = manifest["trigger"].get(kind).and_then(Value::as_array);
            triggers.is_some_and(|all| all.iter().any(|one| one["component"].as_str() == Some(id)))
        };
        assert_eq!(
            calls("http"),
            exports.contains("wasi:http/handler@0.3.0"),
            "{id}"
        );
        assert!(
            !calls("redis") || exports.contains("spin:redis/inbound-redis@3.0.0"),
            "{id}"
        );
    }
}

/// Checks that Spin 4.1 knows all keys of a table. Other keys are errors in Spin.
fn known_keys(place: &str, keys: &Table, known: &[&str]) {
    for key in keys.keys() {
        assert!(
            known.contains(&key.as_str()),
            "{place}.{key} is no key of Spin's manifest"
        );
    }
}

#[test]
fn every_key_of_the_manifest_is_one_that_spin_has() {
    let manifest = manifest();
    known_keys(
        "",
        &manifest,
        &[
            "spin_manifest_version",
            "application",
            "variables",
            "trigger",
            "component",
        ],
    );
    assert_eq!(manifest["spin_manifest_version"].as_integer(), Some(2));
    let application = table(&manifest["application"], "application");
    known_keys(
        "application",
        application,
        &[
            "name",
            "version",
            "description",
            "authors",
            "targets",
            "trigger",
            "tool",
        ],
    );
    let variables = table(&manifest["variables"], "variables");
    for (name, variable) in variables {
        let variable = table(variable, name);
        known_keys(
            name,
            variable,
            &["required", "default", "secret", "description"],
        );
        assert!(
            variable.contains_key("required") != variable.contains_key("default"),
            "{name}: required or a default, not both"
        );
        assert!(
            name.bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'),
            "{name}"
        );
    }
    let components = table(&manifest["component"], "component");
    let triggers = table(&manifest["trigger"], "trigger");
    known_keys("trigger", triggers, &["http", "redis"]);
    for (kind, known) in [
        (
            "http",
            &["id", "component", "route", "executor", "static_response"][..],
        ),
        ("redis", &["id", "component", "channel", "address"]),
    ] {
        for trigger in triggers[kind].as_array().unwrap() {
            let trigger = table(trigger, kind);
            known_keys(kind, trigger, known);
            assert!(
                components.contains_key(trigger["component"].as_str().unwrap()),
                "{trigger:?}"
            );
        }
    }
    for (id, component) in components {
        let component = table(component, id);
        known_keys(
            id,
            component,
            &[
                "source",
                "description",
                "variables",
                "environment",
                "files",
                "exclude_files",
                "allowed_outbound_hosts",
                "key_value_stores",
                "sqlite_databases",
                "ai_models",
                "targets",
                "build",
                "tool",
                "dependencies",
                "dependencies_inherit_configuration",
                "profile",
            ],
        );
        known_keys(
            id,
            table(&component["build"], id),
            &["command", "workdir", "watch"],
        );
        let hosts = component.get("allowed_outbound_hosts");
        for host in hosts
            .into_iter()
            .flat_map(|hosts| hosts.as_array().unwrap())
        {
            check_host(id, host.as_str().unwrap(), variables);
        }
        let own = component.get("variables").map(|own| table(own, id));
        for (name, value) in own.into_iter().flatten() {
            check_templates(
                &format!("{id}.variables.{name}"),
                value.as_str().unwrap(),
                variables,
            );
        }
    }
}

/// Checks an entry `scheme://host:port`, without a path. Templates must name variables of the application.
fn check_host(id: &str, host: &str, variables: &Table) {
    check_templates(id, host, variables);
    let (scheme, place) = host
        .split_once("://")
        .unwrap_or_else(|| panic!("{id}: {host}"));
    assert!(
        ["http", "https", "postgres", "redis", "mysql", "mqtt", "*"].contains(&scheme),
        "{id}: {host}"
    );
    assert!(
        !place.contains('/'),
        "{id}: {host} has a path, which Spin refuses"
    );
}

fn check_templates(place: &str, text: &str, variables: &Table) {
    for part in text.split("{{").skip(1) {
        let (name, _) = part
            .split_once("}}")
            .unwrap_or_else(|| panic!("{place}: {text}"));
        assert!(
            variables.contains_key(name.trim()),
            "{place} names `{}`, which is no variable",
            name.trim()
        );
    }
}

#[test]
fn the_runtime_configuration_defines_every_store_that_the_manifest_grants() {
    let text = std::fs::read_to_string(root().join("runtime-config.toml")).unwrap();
    let config: Table = text.parse().unwrap();
    known_keys(
        "runtime-config.toml",
        &config,
        &[
            "state_dir",
            "log_dir",
            "max_instance_memory",
            "variables_provider",
            "key_value_store",
            "sqlite_database",
            "outbound_http",
            "outbound_networking",
            "client_tls",
            "outbound_pg",
            "outbound_redis",
        ],
    );
    for (id, component) in table(&manifest()["component"], "component") {
        for (key, section) in [
            ("sqlite_databases", "sqlite_database"),
            ("key_value_stores", "key_value_store"),
        ] {
            let labels = component.get(key).into_iter();
            for label in labels.flat_map(|labels| labels.as_array().unwrap()) {
                let label = label.as_str().unwrap();
                let defined = config[section].get(label).is_some();
                assert!(
                    defined,
                    "{id} may use {key} {label}, which runtime-config.toml does not define: Spin does not start"
                );
            }
        }
    }
}
