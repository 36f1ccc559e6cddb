//! The shapes of spin.toml. Unknown keys are errors everywhere but under `tool`, as in Spin.

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use toml::{Spanned, Table, Value};

/// The whole file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Always 2.
    pub spin_manifest_version: Spanned<i64>,
    /// The application.
    pub application: Application,
    /// Application variables.
    #[serde(default)]
    pub variables: BTreeMap<String, Spanned<Variable>>,
    /// Triggers by type; the settings of each are read by whoever serves that type.
    pub trigger: BTreeMap<String, Vec<Spanned<Trigger>>>,
    /// Components by id.
    #[serde(default)]
    pub component: BTreeMap<String, Spanned<Component>>,
}

/// `[application]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Application {
    /// The name, for logs and metrics.
    pub name: String,
    /// Free text.
    #[serde(default)]
    pub version: String,
    /// Free text.
    #[serde(default)]
    pub description: String,
    /// Free text.
    #[serde(default)]
    pub authors: Vec<String>,
    /// Environments that `spin build` checks against; nothing to this host.
    #[serde(default)]
    pub targets: Vec<Value>,
    /// Settings of trigger types.
    #[serde(default)]
    pub trigger: Table,
    /// Settings of tools; `localmart` is ours.
    #[serde(default)]
    pub tool: Table,
}

/// `[variables]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Variable {
    /// Free text.
    #[serde(default)]
    pub description: String,
    /// Whether somebody must give a value.
    #[serde(default)]
    pub required: bool,
    /// The value if nobody gives one.
    pub default: Option<String>,
    /// Whether it must not be shown.
    #[serde(default)]
    pub secret: bool,
}

/// An entry of `[[trigger.<type>]]`: what all types have in common.
#[derive(Debug, Deserialize)]
pub struct Trigger {
    /// A name; it becomes part of the id of a component that is written inside.
    pub id: Option<String>,
    /// The component, by id or written inside.
    pub component: Option<TextOr<Box<Component>>>,
    /// Components that the trigger brings along, by role.
    #[serde(default)]
    pub dependencies: BTreeMap<String, Vec<TextOr<Dependency>>>,
    /// What this type has beside.
    #[serde(flatten)]
    pub settings: Table,
}

/// A text, or a table of some shape. Places of the file survive, which an untagged enum would lose.
#[derive(Clone, Debug)]
pub enum TextOr<T> {
    /// A text.
    Text(String),
    /// A table.
    Table(T),
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for TextOr<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Either<T> {
            type Value = TextOr<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text or a table")
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(TextOr::Text(text.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(TextOr::Table)
            }
        }
        deserializer.deserialize_any(Either(PhantomData))
    }
}

/// `[component.<id>]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Component {
    /// The wasm file, or where it comes from.
    pub source: Spanned<Value>,
    /// Free text.
    #[serde(default)]
    pub description: String,
    /// Templates of the component's own variables.
    #[serde(default)]
    pub variables: BTreeMap<String, Spanned<String>>,
    /// Environment variables.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    /// Files that the component may read.
    #[serde(default)]
    pub files: Vec<Spanned<FileMount>>,
    /// Globs that `files` leaves out.
    #[serde(default)]
    pub exclude_files: Vec<String>,
    /// Where it may connect to.
    #[serde(default)]
    pub allowed_outbound_hosts: Vec<Spanned<String>>,
    /// What `allowed_outbound_hosts` was before: hosts without a scheme.
    pub allowed_http_hosts: Option<Vec<Spanned<String>>>,
    /// Labels of key-value stores.
    #[serde(default)]
    pub key_value_stores: Vec<Spanned<String>>,
    /// Labels of databases.
    #[serde(default)]
    pub sqlite_databases: Vec<Spanned<String>>,
    /// Not supported.
    #[serde(default)]
    pub ai_models: Vec<Spanned<String>>,
    /// Nothing to this host.
    #[serde(default)]
    pub targets: Vec<Value>,
    /// How to build it.
    pub build: Option<Build>,
    /// Settings of tools; `localmart` is ours.
    #[serde(default)]
    pub tool: BTreeMap<String, Spanned<Value>>,
    /// Whether every dependency may do what the component may.
    pub dependencies_inherit_configuration: Option<Spanned<bool>>,
    /// Components that answer imports of this one, by what they answer.
    #[serde(default)]
    pub dependencies: BTreeMap<Spanned<String>, TextOr<Dependency>>,
    /// What is different under `--profile <name>`.
    #[serde(default)]
    pub profile: BTreeMap<String, Profile>,
}

/// `[component.<id>.profile.<name>]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// In place of the component's.
    pub source: Option<Spanned<Value>>,
    /// Beside the component's; its own values win.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    /// Beside the component's; its own win.
    #[serde(default)]
    pub dependencies: BTreeMap<Spanned<String>, TextOr<Dependency>>,
    /// In place of the component's commands.
    pub build: Option<ProfileBuild>,
}

/// `[component.<id>.profile.<name>.build]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProfileBuild {
    /// One command line, or several in order.
    pub command: Commands,
}

/// A component that another one brings along: where it is, and what it may do.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dependency {
    /// A file, beside the manifest.
    pub path: Option<String>,
    /// The source of a component of this application.
    pub component: Option<String>,
    /// Not supported yet.
    pub url: Option<String>,
    /// Not supported yet.
    pub digest: Option<String>,
    /// Not supported yet.
    pub version: Option<String>,
    /// Not supported yet.
    pub registry: Option<String>,
    /// Not supported yet.
    pub package: Option<String>,
    /// Which export answers, if it is not called as the import is.
    pub export: Option<String>,
    /// Which grants of the component it has too; none if it is left out.
    pub inherit_configuration: Option<Inherit>,
}

/// Which grants of a component its dependency has too.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum Inherit {
    /// All or none.
    All(bool),
    /// These, by the keys of the manifest.
    Some(Vec<String>),
}

/// An entry of `files`.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum FileMount {
    /// A glob; matches keep their place.
    Glob(String),
    /// A file or folder at another place.
    Placed {
        /// Beside the manifest.
        source: String,
        /// An absolute path in the guest.
        destination: String,
    },
}

/// `[component.<id>.build]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Build {
    /// One command line, or several in order.
    pub command: Commands,
    /// Where it runs, beside the manifest.
    #[serde(default)]
    pub workdir: String,
    /// What a watcher looks at.
    #[serde(default)]
    pub watch: Vec<String>,
}

/// One command line or several.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum Commands {
    /// One.
    One(String),
    /// Several, in order.
    Several(Vec<String>),
}

/// What `[[trigger.http]]` has beside.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpTrigger {
    /// Where it answers.
    pub route: Route,
    /// Only `http` (or `spin`) is supported.
    pub executor: Option<Table>,
    /// The answer itself, in place of a component.
    pub static_response: Option<StaticResponse>,
}

/// An answer that is written in the manifest.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StaticResponse {
    /// Its status.
    #[serde(default = "ok")]
    pub status_code: u16,
    /// Its headers.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Its body; nothing if it is left out.
    #[serde(default)]
    pub body: String,
}

fn ok() -> u16 {
    200
}

/// What `[[trigger.redis]]` has beside.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RedisTrigger {
    /// The channel; a template of application variables.
    pub channel: String,
    /// The server, if not the application's; a template of application variables.
    pub address: Option<String>,
    /// Only the default is supported.
    pub executor: Option<Table>,
}

/// `[application.trigger.redis]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RedisSettings {
    /// The server of every Redis trigger that names none; a template of application variables.
    pub address: Option<String>,
}

/// Where a component answers.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum Route {
    /// `/exact`, `/a/:segment/b`, `/prefix/...`.
    Path(String),
    /// Nowhere from outside.
    Private {
        /// Always true.
        private: bool,
    },
}

/// `[component.<id>.tool.localmart]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ComponentTool {
    /// The components whose exports answer this one's imports.
    #[serde(default)]
    pub links: Vec<String>,
    /// How some of them are bound, by component: `fused` or `isolated`.
    #[serde(default)]
    pub bindings: BTreeMap<String, String>,
    /// What this component itself needs of the grants above, without its links.
    pub own: Option<Own>,
    /// Makes it a policy: pure, metered, without capabilities.
    pub policy: Option<Policy>,
    /// Calls that one instance may serve at once.
    pub calls_per_instance: Option<usize>,
    /// Calls that one instance serves in its life; 1 makes a fresh instance for each.
    pub calls_per_life: Option<usize>,
    /// How long a call may take until its response headers, as `30s`.
    pub timeout: Option<String>,
    /// A request that the host makes to it in turn.
    pub every: Option<Every>,
}

/// `tool.localmart.own`: the grants of the component when its links do not run inside it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Own {
    /// Labels of databases.
    #[serde(default)]
    pub sqlite_databases: Vec<String>,
    /// Labels of key-value stores.
    #[serde(default)]
    pub key_value_stores: Vec<String>,
    /// Where it may connect to.
    #[serde(default)]
    pub allowed_outbound_hosts: Vec<String>,
    /// Names of variables.
    #[serde(default)]
    pub variables: Vec<String>,
}

/// `tool.localmart.policy`: how much it may take for one decision.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// Instructions.
    pub instructions: Option<u64>,
    /// Bytes of linear memory.
    pub memory: Option<usize>,
}

/// `tool.localmart.every`: a POST that the host makes to the component, again and again.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Every {
    /// The pause between two, as `5s`.
    pub interval: String,
    /// The path, whether routed or not.
    pub path: String,
    /// Headers; templates of application variables.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
}

/// `[application.tool.localmart]`: marks an application that wants this host's own ways.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApplicationTool {
    /// `normal` (default) or `full`: SQLite's `synchronous`; a template of application variables.
    pub sqlite_synchronous: Option<String>,
}
