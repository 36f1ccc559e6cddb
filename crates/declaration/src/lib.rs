//! What a component declares about itself in `components/<noun>/component.toml`, and the lists that are made from all
//! declarations: [`manifest`] (the repeated halves of `spin.toml` and `runtime-config.toml`) and [`events`] (the table of
//! events). Each key is described in `docs/reference/component.md`.

pub mod events;
pub mod manifest;

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The name of a declaration in the folder of its component.
pub const FILE: &str = "component.toml";
/// The service that has the event bus on SQL. It is a database without a component.
pub const BUS: &str = "bus";

/// The declaration of one component.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Declaration {
    /// One line for people.
    pub description: String,
    /// A policy: pure, without stores, settings, routes and timer.
    #[serde(default)]
    pub policy: bool,
    /// Nouns of the components that it calls over WIT.
    #[serde(default)]
    pub links: Vec<String>,
    /// HTTP routes in Spin's syntax. The route of the sweep comes with the timer.
    #[serde(default)]
    pub routes: Vec<String>,
    /// How often the sweep runs, such as `2s`.
    pub timer: Option<String>,
    /// Kinds of the events that it tells, such as `order.paid`.
    #[serde(default)]
    pub tells: Vec<String>,
    /// Channels of the events that it reads, such as `order.events`.
    #[serde(default)]
    pub hears: Vec<String>,
    /// Prefixes of its keys in the short-lived store.
    #[serde(default)]
    pub expires: Vec<String>,
    /// How many calls may run in one instance at once.
    pub calls_per_instance: Option<u32>,
    /// Variables that every door reads. A caller that is fused with the component gets them too.
    #[serde(default)]
    pub settings: BTreeMap<String, Setting>,
    /// Variables that only the HTTP door reads.
    #[serde(default)]
    pub http_settings: BTreeMap<String, Setting>,
}

/// A variable of the application.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(untagged)]
pub enum Setting {
    /// Another component declares it.
    Of(String),
    /// Declared here.
    Own(Variable),
}

/// The declaration of a variable, with Spin's keys.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Variable {
    /// The value without another source.
    pub default: Option<String>,
    /// Whether it needs a value; then there is no default.
    #[serde(default)]
    pub required: bool,
    /// Whether it is kept out of logs.
    #[serde(default)]
    pub secret: bool,
    /// One line for people.
    pub description: String,
}

/// Why declarations cannot be used. The text names the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid(pub String);

impl std::fmt::Display for Invalid {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for Invalid {}

impl Declaration {
    /// Reads the declaration of a component.
    ///
    /// # Errors
    /// The file cannot be read, or has an unknown or wrong key.
    pub fn read(folder: &Path) -> Result<Self, Invalid> {
        let path = folder.join(FILE);
        let failed =
            |error: &dyn std::fmt::Display| Invalid(format!("{}: {error}", path.display()));
        let text = std::fs::read_to_string(&path).map_err(|error| failed(&error))?;
        toml::from_str(&text).map_err(|error| failed(&error))
    }

    /// Whether it writes to the event bus or reads it.
    fn uses_bus(&self) -> bool {
        !(self.tells.is_empty() && self.hears.is_empty())
    }
}

fn tells<'a>(noun: &'a str, one: &'a Declaration) -> impl Iterator<Item = (&'a str, &'a str)> {
    one.tells.iter().map(move |kind| (noun, kind.as_str()))
}

/// The channel of a kind of event: `order.events` of `order.paid`.
pub fn channel_of(kind: &str) -> String {
    let (noun, _) = kind.split_once('.').unwrap_or((kind, ""));
    format!("{noun}.events")
}

/// The declarations of all components, by noun.
#[derive(Clone, Debug)]
pub struct Declarations(pub BTreeMap<String, Declaration>);

impl Declarations {
    /// Reads the declarations below a folder `components`, and checks that they fit together.
    ///
    /// # Errors
    /// A declaration cannot be read, or names something that no other one declares.
    pub fn read(components: &Path) -> Result<Self, Invalid> {
        let failed = |error: &dyn std::fmt::Display| {
            Invalid(format!("reading {}: {error}", components.display()))
        };
        let mut all = BTreeMap::new();
        for entry in std::fs::read_dir(components).map_err(|error| failed(&error))? {
            let folder: PathBuf = entry.map_err(|error| failed(&error))?.path();
            if folder.join(FILE).is_file() {
                let noun = folder.file_name().unwrap_or_default().to_string_lossy();
                all.insert(noun.into_owned(), Declaration::read(&folder)?);
            }
        }
        let all = Self(all);
        match all.problem() {
            Some(problem) => Err(Invalid(problem)),
            None => Ok(all),
        }
    }

    /// What does not fit together; `None` if everything does.
    fn problem(&self) -> Option<String> {
        let told: BTreeSet<String> = self.told().map(|(_, kind)| channel_of(kind)).collect();
        for (noun, one) in &self.0 {
            let wrong = |what: String| Some(format!("components/{noun}/{FILE}: {what}"));
            if let Some(link) = one.links.iter().find(|link| !self.0.contains_key(*link)) {
                return wrong(format!("`links` names `{link}`, which is no component"));
            }
            if let Some(channel) = one.hears.iter().find(|channel| !told.contains(*channel)) {
                return wrong(format!(
                    "`hears` names `{channel}`, and nobody tells an event of it"
                ));
            }
            let settings = one.settings.iter().chain(&one.http_settings);
            for (name, setting) in settings {
                if let Setting::Of(other) = setting
                    && !self.0.get(other).is_some_and(|other| other.declares(name))
                {
                    return wrong(format!("`{name}` is not declared by `{other}`"));
                }
            }
            let alone = one.links.is_empty() && one.routes.is_empty() && one.timer.is_none();
            let bare = one.settings.is_empty() && one.http_settings.is_empty() && !one.uses_bus();
            if one.policy && !(alone && bare) {
                return wrong(
                    "a policy has no links, routes, timer, settings and events".to_owned(),
                );
            }
        }
        None
    }

    /// Each kind of event with the component that tells it.
    fn told(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().flat_map(|(noun, one)| tells(noun, one))
    }

    /// A component and everything that it calls, directly or not: what it is fused with. Each comes after those that it
    /// calls, and the component is the last.
    pub fn with_links<'a>(&'a self, noun: &'a str) -> Vec<&'a str> {
        let mut found = Vec::new();
        self.visit(noun, &mut found);
        found
    }

    fn visit<'a>(&'a self, noun: &'a str, found: &mut Vec<&'a str>) {
        if found.contains(&noun) {
            return;
        }
        for link in self.0.get(noun).into_iter().flat_map(|one| &one.links) {
            self.visit(link, found);
        }
        if !found.contains(&noun) {
            found.push(noun);
        }
    }
}

impl Declaration {
    fn declares(&self, name: &str) -> bool {
        let own = |settings: &BTreeMap<String, Setting>| {
            matches!(settings.get(name), Some(Setting::Own(_)))
        };
        own(&self.settings) || own(&self.http_settings)
    }

    /// The settings that it declares itself.
    fn own_settings(&self) -> impl Iterator<Item = (&str, &Variable)> {
        let all = self.settings.iter().chain(&self.http_settings);
        all.filter_map(|(name, setting)| match setting {
            Setting::Own(variable) => Some((name.as_str(), variable)),
            Setting::Of(_) => None,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::indexing_slicing,
        reason = "a test may stop at once"
    )]

    use super::*;

    fn declarations(all: &[(&str, &str)]) -> Declarations {
        let read = |(noun, text): &(&str, &str)| {
            let text = format!("description = \"x\"\n{text}");
            ((*noun).to_owned(), toml::from_str(&text).unwrap())
        };
        Declarations(all.iter().map(read).collect())
    }

    #[test]
    fn links_come_before_their_callers() {
        let all = declarations(&[
            ("a", "links = [\"b\", \"c\"]"),
            ("b", "links = [\"d\"]"),
            ("c", "links = [\"b\"]"),
            ("d", ""),
        ]);
        assert_eq!(all.with_links("a"), ["d", "b", "c", "a"]);
        assert_eq!(all.problem(), None);
    }

    #[test]
    fn what_nobody_declares_is_refused() {
        let problem = |text: &str| declarations(&[("a", text)]).problem().unwrap();
        assert!(problem("links = [\"b\"]").contains("`links` names `b`"));
        assert!(problem("hears = [\"b.events\"]").contains("nobody tells"));
        assert!(problem("[settings]\nttl = \"a\"").contains("`ttl` is not declared by `a`"));
        assert!(problem("policy = true\ntimer = \"1s\"").contains("a policy has no"));
        let unknown = toml::from_str::<Declaration>("description = \"x\"\nlink = []");
        assert!(
            unknown
                .unwrap_err()
                .to_string()
                .contains("unknown field `link`")
        );
    }

    #[test]
    fn lists_are_made_from_the_declarations() {
        let all = declarations(&[
            (
                "seller",
                "links = [\"buyer\"]\nroutes = [\"/api/sales/...\"]\ntimer = \"2s\"\ntells = [\"sale.made\"]",
            ),
            (
                "buyer",
                "hears = [\"sale.events\"]\n[settings.ttl]\ndefault = \"1d\"\ndescription = \"How long\"\n[http_settings.key]\nrequired = true\nsecret = true\ndescription = \"A key\"",
            ),
        ]);
        let spin = manifest::spin(&all);
        let parsed: toml::Table = spin.parse().unwrap();
        let seller = &parsed["component"]["seller"];
        assert_eq!(seller["source"].as_str(), Some("dist/fused/seller.wasm"));
        // A fused caller gets the settings of the callee, but not what only the HTTP door of the callee reads.
        let variables = seller["variables"].as_table().unwrap();
        assert!(variables.contains_key("ttl") && !variables.contains_key("key"));
        assert!(
            parsed["component"]["buyer"]["variables"]
                .get("key")
                .is_some()
        );
        assert_eq!(parsed["variables"]["key"]["secret"].as_bool(), Some(true));
        assert!(events::table(&all).contains("| `sale.events` | `sale.made` | seller | buyer |"));
        assert!(manifest::runtime_config(&all).contains("[sqlite_database.bus]"));
    }
}
