//! spin.toml, and the locked application that an artifact carries instead. A locked application has one form for each thing,
//! and names content by its digest.
//!
//! What only this host understands, the `tool.localmart` tables, is under the key `localmart` of the metadata, which Spin
//! keeps and ignores.

use anyhow::{Context as _, bail, ensure};
use serde_json::{Map, Value, json};
use toml::Table;

/// The key of this host in metadata and in `tool` tables.
const OURS: &str = "localmart";
/// Requirements that this host meets.
const KNOWN_REQUIREMENTS: &[&str] = &["local_service_chaining", "middleware"];
/// Keys of metadata and of `[component.<id>]` that mean the same.
const SAME: &[(&str, &str)] = &[
    ("description", "description"),
    ("allowed_outbound_hosts", "allowed_outbound_hosts"),
    ("key_value_stores", "key_value_stores"),
    ("databases", "sqlite_databases"),
    ("ai_models", "ai_models"),
];

/// Where the content of a component is: digests, or whole content in base64.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Content {
    /// The component as Spin runs it.
    pub source: Value,
    /// The digest of the component without its links, if they are fused into `source`.
    pub single: Option<String>,
    /// Its files: `{ path, digest }` or `{ path, inline, digest }`.
    pub files: Vec<Value>,
}

/// The locked form of a manifest. `content` says where the content of a component is.
///
/// # Errors
/// The manifest has something that cannot be in an artifact. The text names it.
pub fn lock(
    manifest: &Table,
    mut content: impl FnMut(&str, &Table) -> anyhow::Result<Content>,
) -> anyhow::Result<Value> {
    let application = table(manifest, "application")?;
    let mut metadata = Map::new();
    for key in ["name", "version", "description", "authors"] {
        if let Some(value) = application.get(key) {
            metadata.insert(key.to_owned(), to_json(value)?);
        }
    }
    if let Some(triggers) = application.get("trigger") {
        metadata.insert("triggers".to_owned(), to_json(triggers)?);
    }
    if let Some(ours) = ours(application) {
        metadata.insert(OURS.to_owned(), json!({ "tool": to_json(ours)? }));
    }
    let mut components = Vec::new();
    for (id, component) in table(manifest, "component")? {
        let component = component.as_table();
        let component = component.with_context(|| format!("component.{id} is no table"))?;
        components.push(lock_component(id, component, content(id, component)?)?);
    }
    let chains = components
        .iter()
        .any(|component| component.get("host_requirements").is_some());
    let mut locked = json!({
        "spin_lock_version": u8::from(chains),
        "metadata": metadata,
        "variables": variables(manifest)?,
        "triggers": triggers(manifest)?,
        "components": components,
    });
    if let (true, Some(locked)) = (chains, locked.as_object_mut()) {
        locked.insert(
            "must_understand".to_owned(),
            json!(["component_host_requirements"]),
        );
    }
    Ok(locked)
}

fn lock_component(id: &str, component: &Table, content: Content) -> anyhow::Result<Value> {
    for key in ["dependencies", "dependencies_inherit_configuration"] {
        ensure!(
            !component.contains_key(key),
            "component.{id} has {key}, which localmart oci push cannot compose yet; spin registry push can"
        );
    }
    ensure!(
        !component.contains_key("allowed_http_hosts"),
        "component.{id} has allowed_http_hosts, which an artifact cannot carry; write allowed_outbound_hosts"
    );
    let mut metadata = Map::new();
    for (theirs, key) in SAME {
        if let Some(value) = component.get(*key) {
            metadata.insert((*theirs).to_owned(), to_json(value)?);
        }
    }
    let mut own = Map::new();
    if let Some(ours) = ours(component) {
        own.insert("tool".to_owned(), to_json(ours)?);
    }
    if let Some(single) = content.single {
        own.insert("single".to_owned(), single.into());
    }
    if !own.is_empty() {
        metadata.insert(OURS.to_owned(), Value::Object(own));
    }
    let mut source = json!({ "content_type": "application/wasm" });
    merge(&mut source, content.source);
    let mut locked = json!({ "id": id, "metadata": metadata, "source": source });
    let mut add = |key: &str, value: Value| merge(&mut locked, json!({ key: value }));
    for (theirs, key) in [("env", "environment"), ("config", "variables")] {
        if let Some(value) = component.get(key) {
            add(theirs, to_json(value)?);
        }
    }
    if !content.files.is_empty() {
        add("files", Value::Array(content.files));
    }
    let hosts = component
        .get("allowed_outbound_hosts")
        .map(ToString::to_string);
    if hosts.is_some_and(|hosts| hosts.contains(".spin.internal")) {
        add(
            "host_requirements",
            json!({ "local_service_chaining": "required" }),
        );
    }
    Ok(locked)
}

fn variables(manifest: &Table) -> anyhow::Result<Value> {
    let mut variables = Map::new();
    for (name, variable) in manifest
        .get("variables")
        .and_then(toml::Value::as_table)
        .into_iter()
        .flatten()
    {
        let mut variable = to_json(variable)?;
        if let Some(variable) = variable.as_object_mut() {
            // A variable without a default is required.
            variable.remove("required");
        }
        variables.insert(name.clone(), variable);
    }
    Ok(Value::Object(variables))
}

fn triggers(manifest: &Table) -> anyhow::Result<Value> {
    let mut all = Vec::new();
    for (kind, list) in table(manifest, "trigger")? {
        let list = list
            .as_array()
            .with_context(|| format!("trigger.{kind} is no list"))?;
        for trigger in list {
            let mut config = to_json(trigger)?;
            let place = all.len();
            let named = config.as_object_mut().and_then(|config| {
                if config.get("component").is_some_and(Value::is_object)
                    || config.contains_key("dependencies")
                {
                    return None;
                }
                Some(config.remove("id"))
            });
            let Some(named) = named else {
                bail!(
                    "a trigger with a component of its own, or with dependencies, cannot be pushed yet"
                );
            };
            let id = named.unwrap_or_else(|| format!("trigger-{place}").into());
            all.push(json!({ "id": id, "trigger_type": kind, "trigger_config": config }));
        }
    }
    Ok(Value::Array(all))
}

/// The manifest of a locked application. `place` says where the content of a component is in the folder of the manifest: the
/// value of `source`, and the entries of `files`.
///
/// # Errors
/// The application requires what this host does not have, or is not valid. The text names it.
pub fn unlock(
    locked: &Value,
    mut place: impl FnMut(&str, &Value) -> anyhow::Result<(String, Vec<toml::Value>)>,
) -> anyhow::Result<Table> {
    let version = locked.get("spin_lock_version").and_then(Value::as_u64);
    let version = version.unwrap_or_default();
    ensure!(
        version <= 1,
        "the application has the lock version {version}; this host reads 0 and 1"
    );
    requirements(locked)?;
    let metadata = object(locked, "metadata");
    let mut application = Table::new();
    for key in ["name", "version", "description", "authors"] {
        if let Some(value) = metadata.get(key) {
            application.insert(key.to_owned(), to_toml(value)?);
        }
    }
    if let Some(triggers) = metadata.get("triggers") {
        application.insert("trigger".to_owned(), to_toml(triggers)?);
    }
    insert_tool(&mut application, metadata.get(OURS))?;
    let mut manifest = Table::new();
    manifest.insert("spin_manifest_version".to_owned(), toml::Value::Integer(2));
    manifest.insert("application".to_owned(), toml::Value::Table(application));
    let mut variables = Table::new();
    for (name, variable) in object(locked, "variables") {
        let toml::Value::Table(mut variable) = to_toml(&variable)? else {
            bail!("the variable {name} is no object");
        };
        if !variable.contains_key("default") {
            variable.insert("required".to_owned(), true.into());
        }
        variables.insert(name, toml::Value::Table(variable));
    }
    manifest.insert("variables".to_owned(), toml::Value::Table(variables));
    manifest.insert(
        "trigger".to_owned(),
        toml::Value::Table(unlock_triggers(locked)?),
    );
    let mut components = Table::new();
    for component in list(locked, "components") {
        requirements(&component)?;
        let id = text(&component, "id")?;
        ensure!(
            object(&component, "dependencies").is_empty(),
            "the component {id} has dependencies that were not composed into it; push it with spin registry push --compose"
        );
        let (source, files) = place(&id, &component)?;
        components.insert(
            id,
            toml::Value::Table(unlock_component(&component, source, files)?),
        );
    }
    manifest.insert("component".to_owned(), toml::Value::Table(components));
    Ok(manifest)
}

fn unlock_component(
    component: &Value,
    source: String,
    files: Vec<toml::Value>,
) -> anyhow::Result<Table> {
    let metadata = object(component, "metadata");
    let mut table = Table::new();
    table.insert("source".to_owned(), source.into());
    for (theirs, key) in SAME {
        if let Some(value) = metadata.get(*theirs) {
            table.insert((*key).to_owned(), to_toml(value)?);
        }
    }
    for (theirs, key) in [("env", "environment"), ("config", "variables")] {
        if let Some(value) = component.get(theirs) {
            table.insert(key.to_owned(), to_toml(value)?);
        }
    }
    if !files.is_empty() {
        table.insert("files".to_owned(), toml::Value::Array(files));
    }
    insert_tool(&mut table, metadata.get(OURS))?;
    Ok(table)
}

fn unlock_triggers(locked: &Value) -> anyhow::Result<Table> {
    let mut triggers = Table::new();
    for trigger in list(locked, "triggers") {
        let kind = text(&trigger, "trigger_type")?;
        let config = trigger
            .get("trigger_config")
            .context("a trigger has no trigger_config")?;
        let of_kind = triggers
            .entry(kind)
            .or_insert_with(|| toml::Value::Array(Vec::new()));
        if let Some(of_kind) = of_kind.as_array_mut() {
            of_kind.push(to_toml(config)?);
        }
    }
    Ok(triggers)
}

fn requirements(of: &Value) -> anyhow::Result<()> {
    for (name, needed) in object(of, "host_requirements") {
        let optional = needed.as_str() == Some("optional");
        ensure!(
            optional || KNOWN_REQUIREMENTS.contains(&name.as_str()),
            "the application requires `{name}`, which this host does not have"
        );
    }
    Ok(())
}

fn insert_tool(into: &mut Table, ours: Option<&Value>) -> anyhow::Result<()> {
    if let Some(tool) = ours.and_then(|ours| ours.get("tool")) {
        let tool = Table::from_iter([(OURS.to_owned(), to_toml(tool)?)]);
        into.insert("tool".to_owned(), toml::Value::Table(tool));
    }
    Ok(())
}

fn ours(table: &Table) -> Option<&toml::Value> {
    table.get("tool")?.get(OURS)
}

fn table<'t>(of: &'t Table, key: &str) -> anyhow::Result<&'t Table> {
    let found = of.get(key).and_then(toml::Value::as_table);
    found.with_context(|| format!("the manifest has no table `{key}`"))
}

/// An object inside another one; empty if there is none.
pub(crate) fn object(of: &Value, key: &str) -> Map<String, Value> {
    of.get(key)
        .and_then(Value::as_object)
        .cloned()
        .unwrap_or_default()
}

/// A list inside an object; empty if there is none.
pub(crate) fn list(of: &Value, key: &str) -> Vec<Value> {
    of.get(key)
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default()
}

/// A text inside an object.
pub(crate) fn text(of: &Value, key: &str) -> anyhow::Result<String> {
    let found = of.get(key).and_then(Value::as_str);
    let found = found.with_context(|| format!("the locked application has no text `{key}`"))?;
    Ok(found.to_owned())
}

fn merge(into: &mut Value, more: Value) {
    if let (Some(into), Value::Object(more)) = (into.as_object_mut(), more) {
        into.extend(more);
    }
}

fn to_json(value: &toml::Value) -> anyhow::Result<Value> {
    serde_json::to_value(value).context("a value of the manifest cannot be JSON")
}

/// TOML has no null; such members are left out.
fn to_toml(value: &Value) -> anyhow::Result<toml::Value> {
    Ok(match value {
        Value::Null => bail!("a value is null"),
        Value::Bool(truth) => toml::Value::Boolean(*truth),
        Value::Number(number) => match number.as_i64() {
            Some(number) => toml::Value::Integer(number),
            None => toml::Value::Float(number.as_f64().context("a number is too large")?),
        },
        Value::String(text) => toml::Value::String(text.clone()),
        Value::Array(items) => {
            toml::Value::Array(items.iter().map(to_toml).collect::<Result<_, _>>()?)
        }
        Value::Object(members) => {
            let members = members.iter().filter(|(_, value)| !value.is_null());
            let members = members.map(|(name, value)| Ok((name.clone(), to_toml(value)?)));
            toml::Value::Table(members.collect::<anyhow::Result<_>>()?)
        }
    })
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::indexing_slicing,
        reason = "a test may stop at once"
    )]

    use super::*;

    const MANIFEST: &str = r#"
        spin_manifest_version = 2
        [application]
        name = "shop"
        version = "1.0.0"
        [application.trigger.redis]
        address = "redis://a"
        [application.tool.localmart]
        sqlite_synchronous = "full"
        [variables]
        key = { required = true, secret = true }
        ttl = { default = "1d" }
        [[trigger.http]]
        route = "/..."
        component = "web"
        [[trigger.redis]]
        channel = "a"
        component = "web"
        [component.web]
        source = "dist/fused/web.wasm"
        sqlite_databases = ["web"]
        allowed_outbound_hosts = ["http://other.spin.internal"]
        [component.web.variables]
        ttl = "{{ ttl }}"
        [component.web.build]
        command = "make"
        [component.web.tool.localmart]
        links = ["other"]
    "#;

    #[test]
    fn a_manifest_is_the_same_after_both_ways() {
        let manifest: Table = MANIFEST.parse().unwrap();
        let locked = lock(&manifest, |id, _| {
            assert_eq!(id, "web");
            Ok(Content {
                source: json!({ "digest": "sha256:1" }),
                single: Some("sha256:2".to_owned()),
                files: Vec::new(),
            })
        })
        .unwrap();
        assert_eq!(locked["spin_lock_version"], 1);
        assert_eq!(locked["variables"]["key"], json!({ "secret": true }));
        assert_eq!(locked["components"][0]["source"]["digest"], "sha256:1");
        assert_eq!(
            locked["components"][0]["metadata"]["localmart"]["single"],
            "sha256:2"
        );
        assert_eq!(
            locked["metadata"]["triggers"]["redis"]["address"],
            "redis://a"
        );
        let again = unlock(&locked, |_, component| {
            assert_eq!(component["source"]["digest"], "sha256:1");
            Ok(("dist/fused/web.wasm".to_owned(), Vec::new()))
        })
        .unwrap();
        let mut expected = manifest;
        // How it was built is of no use where it runs.
        expected["component"]["web"]
            .as_table_mut()
            .unwrap()
            .remove("build");
        assert_eq!(again, expected);
    }

    #[test]
    fn what_this_host_cannot_do_is_named() {
        let unlock = |locked: Value| unlock(&locked, |_, _| Ok((String::new(), Vec::new())));
        let newer = unlock(json!({ "spin_lock_version": 2 })).unwrap_err();
        assert!(newer.to_string().contains("lock version 2"), "{newer}");
        let needs = json!({ "host_requirements": { "teleport": "required" } });
        let needs = unlock(needs).unwrap_err().to_string();
        assert!(needs.contains("requires `teleport`"), "{needs}");
        unlock(json!({ "host_requirements": { "teleport": "optional" } })).unwrap();
        let apart = json!({ "components": [{ "id": "a", "dependencies": { "b:c/d": { "export": null } } }] });
        let apart = unlock(apart).unwrap_err().to_string();
        assert!(
            apart.contains("the component a has dependencies"),
            "{apart}"
        );
    }
}
