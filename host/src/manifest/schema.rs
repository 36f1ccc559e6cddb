//! The shapes of spin.toml. Unknown keys are errors everywhere but under `tool`, as in Spin.

use serde::Deserialize;
use std::collections::BTreeMap;
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
    /// Triggers by type; each is read by whoever serves that type.
    pub trigger: BTreeMap<String, Vec<Spanned<Table>>>,
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
    /// Deprecated by Spin.
    pub allowed_http_hosts: Option<Spanned<Value>>,
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
    /// Not supported yet.
    pub dependencies_inherit_configuration: Option<Spanned<bool>>,
    /// Not supported yet.
    pub dependencies: Option<Spanned<Table>>,
    /// Not supported yet.
    pub profile: Option<Spanned<Table>>,
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

/// `[[trigger.http]]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpTrigger {
    /// A name for logs.
    pub id: Option<String>,
    /// The component.
    pub component: Option<Value>,
    /// Where it answers.
    pub route: Route,
    /// Only `http` (or `spin`) is supported.
    pub executor: Option<Table>,
    /// The answer itself, in place of a component.
    pub static_response: Option<StaticResponse>,
    /// Not supported yet.
    pub dependencies: Option<Value>,
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

/// `[[trigger.redis]]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RedisTrigger {
    /// A name for logs.
    pub id: Option<String>,
    /// The component.
    pub component: Option<Value>,
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
    /// What this component itself needs of the grants above, without its links.
    pub own: Option<Own>,
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
