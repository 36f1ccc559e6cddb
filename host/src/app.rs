//! The resolved application: components with their grants and variables, and routes. All checks that need no wasm file
//! happen here, and their errors point into the manifest.

mod check;
pub mod client_limits;
mod dependencies;
pub mod request_limit;
mod resolver;
pub mod routes;
mod triggers;

use crate::allowed_hosts::AllowedHost;
use crate::compose::Composition;
use crate::fetch::RemoteSource;
use crate::link::binding::Binding;
use crate::manifest::schema::{ApplicationTool, FileMount};
use crate::manifest::{ManifestError, Source};
use crate::policy::PolicyLimits;
use crate::runtime_config::VariablesProvider;
use check::{check_links, retain};
use client_limits::ClientLimits;
use request_limit::RequestLimit;
use resolver::Resolver;
pub use resolver::parse_duration;
use routes::Pattern;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

/// The address of Redis that means this process instead of a server.
pub const EMBEDDED: &str = "embedded";

/// A component's subscription to a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// The address of a server, or `embedded`.
    pub address: String,
    /// The channel.
    pub channel: String,
    /// The id of the component.
    pub component: String,
}

/// A resolved application.
#[derive(Debug)]
pub struct App {
    /// The name in the manifest.
    pub name: String,
    /// The description in the manifest; may be empty.
    pub description: String,
    /// The table `[application.tool.localmart]`, if there is one.
    pub tool: Option<ApplicationTool>,
    /// The limits for clients.
    pub client_limits: ClientLimits,
    /// The limits of single requests.
    pub request_limits: Vec<RequestLimit>,
    /// The values of the application's variables, from all sources.
    pub variables: BTreeMap<String, String>,
    /// The components by id.
    pub components: BTreeMap<String, ComponentSpec>,
    /// The routes, best match first.
    pub routes: Vec<RouteSpec>,
    /// Which component subscribes to which channel.
    pub subscriptions: Vec<Subscription>,
    /// The manifest, for later errors.
    pub source: Source,
}

/// A resolved component.
#[derive(Clone, Debug)]
pub struct ComponentSpec {
    /// A unique id. A component behind middleware has another one than the same component without it.
    pub id: String,
    /// The id in the manifest.
    pub manifest_id: String,
    /// The description in the manifest; may be empty.
    pub description: String,
    /// The wasm file. For a component with a URL this is set after the download.
    pub wasm: PathBuf,
    /// The URL and digest, if the component is not a local file.
    pub remote: Option<RemoteSource>,
    /// The span of `source` in the manifest.
    pub source_span: Range<usize>,
    /// The span of the tool table in the manifest.
    pub tool_span: Range<usize>,
    /// Its variables with their resolved values.
    pub variables: BTreeMap<String, String>,
    /// Its environment variables.
    pub environment: BTreeMap<String, String>,
    /// Its files with their spans in the manifest.
    pub files: Vec<(FileMount, Range<usize>)>,
    /// Globs that exclude files from `files`.
    pub exclude_files: Vec<String>,
    /// Where it may connect to.
    pub allowed_hosts: Vec<AllowedHost>,
    /// The labels of its key-value stores.
    pub key_value_stores: BTreeSet<String>,
    /// The labels of its databases with their spans in the manifest.
    pub sqlite_databases: BTreeMap<String, Range<usize>>,
    /// Its dependencies and middleware.
    pub composition: Composition,
    /// The components that it links.
    pub links: Vec<String>,
    /// The bindings that the manifest declares, by link.
    pub bindings: BTreeMap<String, Binding>,
    /// The grants that the component needs without its links.
    pub own: Option<OwnGrants>,
    /// The limits of a policy; `None` for other components.
    pub policy: Option<PolicyLimits>,
    /// How many calls one instance may serve at once.
    pub calls_per_instance: usize,
    /// How many calls one instance serves before it is replaced.
    pub calls_per_life: usize,
    /// How long a call may take until the response headers.
    pub timeout: Duration,
    /// A request that the host makes periodically.
    pub timer: Option<TimerSpec>,
    /// Whether any trigger or timer calls it.
    pub triggered: bool,
    /// Whether an HTTP trigger or a timer calls it.
    pub called_by_http: bool,
    /// Whether a Redis trigger calls it.
    pub called_by_redis: bool,
    /// How to build it.
    pub build: Option<crate::manifest::schema::Build>,
}

/// The grants of a component when none of its links is fused into it.
#[derive(Clone, Debug, Default)]
pub struct OwnGrants {
    /// The labels of its databases.
    pub sqlite_databases: BTreeSet<String>,
    /// The labels of its key-value stores.
    pub key_value_stores: BTreeSet<String>,
    /// Where it may connect to.
    pub allowed_hosts: Vec<AllowedHost>,
    /// The names of its variables.
    pub variables: BTreeSet<String>,
}

/// A request that the host makes to a component periodically.
#[derive(Clone, Debug)]
pub struct TimerSpec {
    /// The time between two requests.
    pub interval: Duration,
    /// The path.
    pub path: String,
    /// Headers with resolved values.
    pub headers: BTreeMap<String, String>,
}

/// A route and its target.
#[derive(Clone, Debug)]
pub struct RouteSpec {
    /// The route as written in the manifest.
    pub text: String,
    /// The parsed route.
    pub pattern: Pattern,
    /// What answers the route.
    pub target: Target,
}

/// What answers a route.
#[derive(Clone, Debug)]
pub enum Target {
    /// A component, by id.
    Component(String),
    /// A static response.
    Fixed(http::Response<String>),
}

impl RouteSpec {
    /// The id of the component that answers, if there is one.
    pub fn component(&self) -> Option<&str> {
        match &self.target {
            Target::Component(id) => Some(id),
            Target::Fixed(_) => None,
        }
    }

    /// The component id or `static_response`, for logs and metrics.
    pub fn answerer(&self) -> &str {
        self.component().unwrap_or("static_response")
    }
}

/// Values from outside the manifest, such as command-line options.
#[derive(Clone, Debug, Default)]
pub struct ResolveOptions {
    /// `--variable name=value`; overrides every other source.
    pub flags: BTreeMap<String, String>,
    /// Values that the host has generated, such as secrets; used if no other source has a value.
    pub generated: BTreeMap<String, String>,
    /// The variable providers of the runtime configuration, in order. They override `generated` and the environment.
    pub providers: Vec<VariablesProvider>,
    /// `--env NAME=value`; set for every component, overrides `environment`.
    pub environment: BTreeMap<String, String>,
    /// The components to run; empty means all.
    pub only: Vec<String>,
}

impl ResolveOptions {
    /// The value that the user gives a variable: a flag, else a provider, else the environment. As in Spin, the file `.env`
    /// in the working directory extends the environment. Values that the host generated are not considered.
    pub fn given(&self, name: &str) -> Option<String> {
        let environment = VariablesProvider::Env {
            prefix: "SPIN_VARIABLE".to_owned(),
            dotenv: Some(".env".into()),
        };
        let flag = self.flags.get(name).cloned();
        let provided = || self.providers.iter().find_map(|one| one.get(name));
        flag.or_else(provided).or_else(|| environment.get(name))
    }
}

/// Resolves a manifest.
pub fn resolve(source: Source, options: &ResolveOptions) -> Result<App, ManifestError> {
    let manifest = source.parse()?;
    let resolver = Resolver {
        source: &source,
        options,
    };
    let values = resolver.values(&manifest)?;
    let tool = resolver.application_tool(&manifest, &values)?;
    let http = resolver.routes(&manifest)?;
    let mut over_http = http.triggered;
    let subscriptions = resolver.subscriptions(&manifest, &values)?;
    let mut components = BTreeMap::new();
    for (id, component) in &manifest.component {
        let spec = resolver.component(
            id,
            component.get_ref(),
            component.span(),
            (&manifest, &values),
        )?;
        if spec.timer.is_some() {
            over_http.insert(id.clone());
        }
        components.insert(id.clone(), spec);
    }
    for wrapped in http.wrapped {
        if let Some(spec) = components.get(&wrapped.component) {
            let mut spec = ComponentSpec {
                id: wrapped.id.clone(),
                timer: None,
                ..spec.clone()
            };
            spec.composition.middleware = wrapped.middleware;
            over_http.insert(wrapped.id.clone());
            components.insert(wrapped.id, spec);
        }
    }
    for spec in components.values_mut() {
        spec.called_by_http = over_http.contains(&spec.id);
        spec.called_by_redis = subscriptions.iter().any(|one| one.component == spec.id);
        spec.triggered = spec.called_by_http || spec.called_by_redis;
    }
    let client_limits = resolver.client_limits(tool.as_ref())?;
    let request_limits = resolver.request_limits(tool.as_ref())?;
    let mut app = App {
        name: manifest.application.name.clone(),
        description: manifest.application.description.clone(),
        tool,
        client_limits,
        request_limits,
        variables: values,
        components,
        routes: http.routes,
        subscriptions,
        source: source.clone(),
    };
    check_links(&app)?;
    retain(&mut app, options)?;
    Ok(app)
}
