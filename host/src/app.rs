//! What a manifest comes to: components with their grants and values, and where they answer. All checks that need no
//! wasm happen here, each with its place in the file.

mod check;
mod dependencies;
mod resolver;
mod triggers;

use crate::allowed_hosts::AllowedHost;
use crate::compose::Composition;
use crate::fetch::Remote;
use crate::link::binding::Binding;
use crate::manifest::schema::{ApplicationTool, FileMount};
use crate::manifest::{ManifestError, Source};
use crate::messages::Subscription;
use crate::policy::PolicyLimits;
use crate::runtime_config::VariablesProvider;
use crate::serve::routes::Pattern;
use check::{check_links, retain};
use resolver::Resolver;
pub use resolver::duration;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

/// An application, ready to be linked.
#[derive(Debug)]
pub struct App {
    /// The name in the manifest.
    pub name: String,
    /// Whether it has `[application.tool.localmart]`, and what that says.
    pub tool: Option<ApplicationTool>,
    /// The values of the application's variables, wherever they come from.
    pub variables: BTreeMap<String, String>,
    /// By id.
    pub components: BTreeMap<String, ComponentSpec>,
    /// Where they answer, best match first for each path.
    pub routes: Vec<RouteSpec>,
    /// Which components listen to which channels.
    pub subscriptions: Vec<Subscription>,
    /// The manifest, for later errors.
    pub source: Source,
}

/// A component of the application.
#[derive(Clone, Debug)]
pub struct ComponentSpec {
    /// The id; one that no other has, also where the same component stands behind middleware.
    pub id: String,
    /// The id in the manifest.
    pub named: String,
    /// The wasm file; of one from elsewhere, where it will be once it is fetched.
    pub wasm: PathBuf,
    /// Where it comes from, if it is not beside the manifest.
    pub remote: Option<Remote>,
    /// Where `source` stands in the manifest.
    pub source_span: Range<usize>,
    /// Where the tool table stands in the manifest.
    pub tool_span: Range<usize>,
    /// Resolved values of its variables.
    pub variables: BTreeMap<String, String>,
    /// Environment variables.
    pub environment: BTreeMap<String, String>,
    /// Files, with their place for errors.
    pub files: Vec<(FileMount, Range<usize>)>,
    /// Globs left out of `files`.
    pub exclude_files: Vec<String>,
    /// Where it may connect to.
    pub allowed_hosts: Vec<AllowedHost>,
    /// Labels of key-value stores.
    pub key_value_stores: BTreeSet<String>,
    /// Labels of databases, with their place for errors.
    pub sqlite_databases: BTreeMap<String, Range<usize>>,
    /// The components that it brings along.
    pub composition: Composition,
    /// The components it links.
    pub links: Vec<String>,
    /// How some of them are bound, where the manifest says so.
    pub bindings: BTreeMap<String, Binding>,
    /// The grants of the component alone.
    pub own: Option<OwnGrants>,
    /// What it may take if it is a policy.
    pub policy: Option<PolicyLimits>,
    /// Calls that one instance may serve at once.
    pub calls_per_instance: usize,
    /// Calls that one instance serves in its life.
    pub calls_per_life: usize,
    /// How long a call may take until its response headers.
    pub timeout: Duration,
    /// A request that the host makes to it in turn.
    pub every: Option<EverySpec>,
    /// Whether any trigger starts it.
    pub triggered: bool,
    /// Whether an HTTP trigger or a timer does.
    pub called_by_http: bool,
    /// Whether a Redis trigger does.
    pub called_by_redis: bool,
    /// How to build it, if the manifest says.
    pub build: Option<crate::manifest::schema::Build>,
}

/// What a component may do when none of its links runs inside it.
#[derive(Clone, Debug, Default)]
pub struct OwnGrants {
    /// Labels of databases.
    pub sqlite_databases: BTreeSet<String>,
    /// Labels of key-value stores.
    pub key_value_stores: BTreeSet<String>,
    /// Where it may connect to.
    pub allowed_hosts: Vec<AllowedHost>,
    /// Names of variables.
    pub variables: BTreeSet<String>,
}

/// A request that the host makes to a component in turn.
#[derive(Clone, Debug)]
pub struct EverySpec {
    /// The pause between two.
    pub interval: Duration,
    /// The path.
    pub path: String,
    /// Resolved headers.
    pub headers: BTreeMap<String, String>,
}

/// Where a component answers.
#[derive(Clone, Debug)]
pub struct RouteSpec {
    /// The route as written.
    pub text: String,
    /// The route as matched.
    pub pattern: Pattern,
    /// What answers.
    pub target: Target,
}

/// What answers a route.
#[derive(Clone, Debug)]
pub enum Target {
    /// A component, by id.
    Component(String),
    /// The same answer every time.
    Fixed(http::Response<String>),
}

impl RouteSpec {
    /// The component that answers, if one does.
    pub fn component(&self) -> Option<&str> {
        match &self.target {
            Target::Component(id) => Some(id),
            Target::Fixed(_) => None,
        }
    }

    /// Who answers, in a word, for logs and metrics.
    pub fn answerer(&self) -> &str {
        self.component().unwrap_or("static_response")
    }
}

/// What the command line brings to the variables.
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// `--variable name=value`: wins over everything.
    pub flags: BTreeMap<String, String>,
    /// What the host made for itself, as secrets: used where nobody gives a value.
    pub made: BTreeMap<String, String>,
    /// Providers of a runtime configuration, in order: they win over `made` and the environment.
    pub providers: Vec<VariablesProvider>,
    /// `--env NAME=value`: for every component, wins over `environment`.
    pub environment: BTreeMap<String, String>,
    /// Only these components, if any are named.
    pub only: Vec<String>,
}

impl Given {
    /// What somebody says of a variable: a flag, else a provider, else the environment, which as in Spin includes a file `.env` in the
    /// working directory. What the host made for itself is not among it.
    pub fn said(&self, name: &str) -> Option<String> {
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
pub fn resolve(source: Source, given: &Given) -> Result<App, ManifestError> {
    let manifest = source.parse()?;
    let resolver = Resolver {
        source: &source,
        given,
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
        if spec.every.is_some() {
            over_http.insert(id.clone());
        }
        components.insert(id.clone(), spec);
    }
    for behind in http.behind {
        if let Some(spec) = components.get(&behind.component) {
            let mut spec = ComponentSpec {
                id: behind.id.clone(),
                every: None,
                ..spec.clone()
            };
            spec.composition.middleware = behind.middleware;
            over_http.insert(behind.id.clone());
            components.insert(behind.id, spec);
        }
    }
    for spec in components.values_mut() {
        spec.called_by_http = over_http.contains(&spec.id);
        spec.called_by_redis = subscriptions.iter().any(|one| one.component == spec.id);
        spec.triggered = spec.called_by_http || spec.called_by_redis;
    }
    let mut app = App {
        name: manifest.application.name.clone(),
        tool,
        variables: values,
        components,
        routes: http.routes,
        subscriptions,
        source: source.clone(),
    };
    check_links(&app)?;
    retain(&mut app, given)?;
    Ok(app)
}
