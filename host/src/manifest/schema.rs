//! The types of spin.toml. As in Spin, unknown keys are errors everywhere except under `tool`.

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use toml::{Spanned, Table, Value};

/// A whole manifest.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Always 2.
    pub spin_manifest_version: Spanned<i64>,
    /// The application table.
    pub application: Application,
    /// Application variables.
    #[serde(default)]
    pub variables: BTreeMap<String, Spanned<Variable>>,
    /// Triggers by type. The settings of each are read by the code for its type.
    pub trigger: BTreeMap<String, Vec<Spanned<Trigger>>>,
    /// Components by id.
    #[serde(default)]
    pub component: BTreeMap<String, Spanned<Component>>,
}

/// `[application]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Application {
    /// The name of the application, for logs and metrics.
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
    /// Environments that `spin build` checks against; ignored by this host.
    #[serde(default)]
    pub targets: Vec<Value>,
    /// Settings of trigger types.
    #[serde(default)]
    pub trigger: Table,
    /// Settings of tools; the key `localmart` belongs to this host.
    #[serde(default)]
    pub tool: Table,
}

/// An entry of `[variables]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Variable {
    /// Free text.
    #[serde(default)]
    pub description: String,
    /// Whether a value must be provided.
    #[serde(default)]
    pub required: bool,
    /// The value if none is provided.
    pub default: Option<String>,
    /// Whether the value must not be printed.
    #[serde(default)]
    pub secret: bool,
}

/// An entry of `[[trigger.<type>]]`: the keys that all types share.
#[derive(Debug, Deserialize)]
pub struct Trigger {
    /// A name; it becomes part of the id of an inline component.
    pub id: Option<String>,
    /// The component, by id or inline.
    pub component: Option<TextOr<Box<Component>>>,
    /// Dependencies of the trigger, by role.
    #[serde(default)]
    pub dependencies: BTreeMap<String, Vec<TextOr<Dependency>>>,
    /// The keys of the trigger type.
    #[serde(flatten)]
    pub settings: Table,
}

/// A string, or a table of type `T`. Unlike an untagged enum this keeps spans.
#[derive(Clone, Debug)]
pub enum TextOr<T> {
    /// A string.
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
                f.write_str("a string or a table")
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
    /// The wasm file, or a table with its location.
    pub source: Spanned<Value>,
    /// Free text.
    #[serde(default)]
    pub description: String,
    /// Templates for the variables of the component.
    #[serde(default)]
    pub variables: BTreeMap<String, Spanned<String>>,
    /// Environment variables.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    /// Files that the component may read.
    #[serde(default)]
    pub files: Vec<Spanned<FileMount>>,
    /// Globs that exclude files from `files`.
    #[serde(default)]
    pub exclude_files: Vec<String>,
    /// Where it may connect to.
    #[serde(default)]
    pub allowed_outbound_hosts: Vec<Spanned<String>>,
    /// The predecessor of `allowed_outbound_hosts`: hosts without a scheme.
    pub allowed_http_hosts: Option<Vec<Spanned<String>>>,
    /// Labels of key-value stores.
    #[serde(default)]
    pub key_value_stores: Vec<Spanned<String>>,
    /// Labels of databases.
    #[serde(default)]
    pub sqlite_databases: Vec<Spanned<String>>,
    /// Not supported by this host.
    #[serde(default)]
    pub ai_models: Vec<Spanned<String>>,
    /// Ignored by this host.
    #[serde(default)]
    pub targets: Vec<Value>,
    /// How to build it.
    pub build: Option<Build>,
    /// Settings of tools; the key `localmart` belongs to this host.
    #[serde(default)]
    pub tool: BTreeMap<String, Spanned<Value>>,
    /// Whether all dependencies inherit the grants of the component.
    pub dependencies_inherit_configuration: Option<Spanned<bool>>,
    /// Components that answer imports of this one, by the name of the import.
    #[serde(default)]
    pub dependencies: BTreeMap<Spanned<String>, TextOr<Dependency>>,
    /// Profiles, selected with `--profile <name>`.
    #[serde(default)]
    pub profile: BTreeMap<String, Profile>,
}

/// `[component.<id>.profile.<name>]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// Replaces the source of the component.
    pub source: Option<Spanned<Value>>,
    /// Added to the environment of the component; overrides its values.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    /// Added to the dependencies of the component; overrides its entries.
    #[serde(default)]
    pub dependencies: BTreeMap<Spanned<String>, TextOr<Dependency>>,
    /// Replaces the build commands of the component.
    pub build: Option<ProfileBuild>,
}

/// `[component.<id>.profile.<name>.build]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProfileBuild {
    /// One command line, or several in order.
    pub command: Commands,
}

/// A dependency or middleware: its location, and the grants that it inherits.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dependency {
    /// A local file, relative to the manifest.
    pub path: Option<String>,
    /// The id of a component of this application whose source is used.
    pub component: Option<String>,
    /// The address of the file to download.
    pub url: Option<String>,
    /// The digest of the downloaded file, as `sha256:…`.
    pub digest: Option<String>,
    /// A version in a registry; not supported.
    pub version: Option<String>,
    /// A registry; not supported.
    pub registry: Option<String>,
    /// A package in a registry; not supported.
    pub package: Option<String>,
    /// The export that answers, if its name differs from the import.
    pub export: Option<String>,
    /// The grants of the component that the dependency inherits; none by default.
    pub inherit_configuration: Option<Inherit>,
}

/// The grants that a dependency inherits.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum Inherit {
    /// All or none.
    All(bool),
    /// The grants with these keys.
    Some(Vec<String>),
}

/// An entry of `files`.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum FileMount {
    /// A glob; matching files keep their paths.
    Glob(String),
    /// A file or folder with another path in the guest.
    Placed {
        /// The path relative to the manifest.
        source: String,
        /// The absolute path in the guest.
        destination: String,
    },
}

/// `[component.<id>.build]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Build {
    /// One command line, or several in order.
    pub command: Commands,
    /// The working directory, relative to the manifest.
    #[serde(default)]
    pub workdir: String,
    /// Globs of the source files; a change triggers a rebuild in watch mode.
    #[serde(default)]
    pub watch: Vec<String>,
}

/// One command line or several.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum Commands {
    /// One command line.
    One(String),
    /// Several command lines, in order.
    Several(Vec<String>),
}

/// The keys of `[[trigger.http]]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpTrigger {
    /// The route.
    pub route: Route,
    /// Only `http` (or `spin`) is supported.
    pub executor: Option<Table>,
    /// A static response instead of a component.
    pub static_response: Option<StaticResponse>,
}

/// A response that is written in the manifest.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StaticResponse {
    /// The status code.
    #[serde(default = "ok")]
    pub status_code: u16,
    /// The headers.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// The body; empty by default.
    #[serde(default)]
    pub body: String,
}

fn ok() -> u16 {
    200
}

/// The keys of `[[trigger.redis]]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RedisTrigger {
    /// The channel. May contain application variables.
    pub channel: String,
    /// The address of the server; overrides that of the application. May contain application variables.
    pub address: Option<String>,
    /// Only the default is supported.
    pub executor: Option<Table>,
}

/// `[application.trigger.redis]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpSettings {
    /// The path before all routes, such as `/shop`.
    pub base: Option<String>,
}

/// `[application.trigger.redis]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RedisSettings {
    /// The default address of the server for Redis triggers. May contain application variables.
    pub address: Option<String>,
}

/// The route of an HTTP trigger.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum Route {
    /// `/exact`, `/a/:segment/b`, `/prefix/...`.
    Path(String),
    /// No route: the component can be called only from inside the application.
    Private {
        /// Always true.
        private: bool,
    },
}

/// `[component.<id>.tool.localmart]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ComponentTool {
    /// The components whose exports answer imports of this component.
    #[serde(default)]
    pub links: Vec<String>,
    /// The bindings of links, by component: `fused` or `isolated`.
    #[serde(default)]
    pub bindings: BTreeMap<String, String>,
    /// The grants that the component needs itself, without those of its links.
    pub own: Option<Own>,
    /// Declares a policy: a pure component with an instruction limit and without capabilities.
    pub policy: Option<Policy>,
    /// How many calls one instance may serve at once.
    pub calls_per_instance: Option<usize>,
    /// How many calls one instance serves before it is replaced; 1 creates a new instance for each call.
    pub calls_per_life: Option<usize>,
    /// How long a call may take until the response headers, for example `30s`.
    pub timeout: Option<String>,
    /// A request that the host makes periodically.
    pub every: Option<Every>,
}

/// `tool.localmart.own`: the grants of the component when its links are not fused into it.
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

/// `tool.localmart.policy`: the limits of one decision.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// The maximum number of instructions.
    pub instructions: Option<u64>,
    /// The maximum linear memory in bytes.
    pub memory: Option<usize>,
}

/// `tool.localmart.every`: a POST request that the host makes to the component periodically.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Every {
    /// The time between two requests, for example `5s`.
    pub interval: String,
    /// The path; it does not need a route.
    pub path: String,
    /// Headers. Values may contain application variables.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
}

/// `[application.tool.localmart]`: enables the behaviour that goes beyond Spin.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApplicationTool {
    /// SQLite's `synchronous` setting: `normal` (default) or `full`. May contain application variables.
    pub sqlite_synchronous: Option<String>,
    /// The limits for clients.
    pub clients: Option<ClientsTable>,
    /// The limits of single requests.
    #[serde(default)]
    pub request_limits: Vec<RequestLimitTable>,
}

/// `[[application.tool.localmart.request_limits]]`: limits that some requests share. Rates and numbers may contain
/// application variables.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RequestLimitTable {
    /// Methods and routes, such as `POST /api/things` or `* /api/...`.
    pub requests: Vec<String>,
    /// The rate of one address, such as `60/1m`; `0/1m` or `none` for any.
    pub per_address: Option<String>,
    /// Whether clients on this machine count per address, whatever the limits for clients say.
    #[serde(default)]
    pub count_loopback: bool,
    /// The rate of all addresses together, such as `6000/1m`; `0/1m` or `none` for any.
    pub in_all: Option<String>,
    /// How many run at once on each core; 0 for any number.
    pub at_once: Option<String>,
    /// How many more may wait on each core.
    pub waiting: Option<String>,
}

impl RequestLimitTable {
    /// All values that are set.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut String> {
        [
            &mut self.per_address,
            &mut self.in_all,
            &mut self.at_once,
            &mut self.waiting,
        ]
        .into_iter()
        .flatten()
    }
}

/// `[application.tool.localmart.clients]`: the limits for clients. All values are texts and may contain application
/// variables.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientsTable {
    /// Open connections in all.
    pub connections: Option<String>,
    /// Open connections of one address.
    pub connections_per_address: Option<String>,
    /// Whether connections from loopback count per address: `true` or `false`.
    pub count_loopback: Option<String>,
    /// Networks of proxies, separated by commas.
    pub trusted_proxies: Option<String>,
    /// Time for the head of a request, such as `15s`.
    pub head_timeout: Option<String>,
    /// Time without a request, such as `60s`.
    pub idle_timeout: Option<String>,
    /// Time for a small body, and between two parts of a large one, such as `15s`.
    pub body_timeout: Option<String>,
    /// The least rate of a large body, in bytes per second.
    pub min_body_rate: Option<String>,
    /// How long a client may read nothing of its response, such as `30s`.
    pub write_timeout: Option<String>,
}

impl ClientsTable {
    /// All values that are set.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut String> {
        [
            &mut self.connections,
            &mut self.connections_per_address,
            &mut self.count_loopback,
            &mut self.trusted_proxies,
            &mut self.head_timeout,
            &mut self.idle_timeout,
            &mut self.body_timeout,
            &mut self.min_body_rate,
            &mut self.write_timeout,
        ]
        .into_iter()
        .flatten()
    }
}
