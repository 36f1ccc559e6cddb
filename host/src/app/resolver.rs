//! Resolves the syntax tree of a manifest: variables, grants and settings of components. Every error points into the
//! file.

use super::{ComponentSpec, OwnGrants, ResolveOptions, TimerSpec};
use crate::allowed_hosts::AllowedHost;
use crate::app::client_limits::ClientLimits;
use crate::app::request_limit::RequestLimit;
use crate::compose::Composition;
use crate::fetch::RemoteSource;
use crate::limits;
use crate::link::binding::Binding;
use crate::manifest::schema::{
    ApplicationTool, ClientsTable, Component, ComponentTool, Manifest, Own, RequestLimitTable,
};
use crate::manifest::{ManifestError, Source};
use crate::policy::PolicyLimits;
use crate::variables::{empty_variable, expand, is_name};
use serde::Deserialize as _;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::Duration;
use toml::Spanned;

/// Resolves one manifest with the options of the command line.
pub(super) struct Resolver<'a> {
    pub(super) source: &'a Source,
    pub(super) options: &'a ResolveOptions,
}

impl Resolver<'_> {
    pub(super) fn values(
        &self,
        manifest: &Manifest,
    ) -> Result<BTreeMap<String, String>, ManifestError> {
        for name in self.options.flags.keys() {
            if !manifest.variables.contains_key(name) {
                return Err(ManifestError::file(
                    format!(
                        "--variable {name}: {} has no variable of this name",
                        self.source.path.display()
                    ),
                    "add it to [variables], or correct the name",
                ));
            }
        }
        let mut values = BTreeMap::new();
        for (name, variable) in &manifest.variables {
            let place = |message: String, label: &str, help: String| {
                self.source.error(variable.span(), message, label, help)
            };
            if !is_name(name) {
                return Err(place(
                    format!("`{name}` is not a valid variable name"),
                    "use lower-case letters, digits and single underscores, beginning with a letter",
                    "rename the variable".into(),
                ));
            }
            let said = variable.get_ref();
            if said.required == said.default.is_some() {
                return Err(place(
                    format!("variable `{name}` must have either a default or required = true"),
                    "has both or neither",
                    "add `default = \"…\"` or `required = true`".into(),
                ));
            }
            let made = || self.options.generated.get(name).cloned();
            let value = self.options.given(name).or_else(made);
            let value = value.or_else(|| said.default.clone());
            let value = value.ok_or_else(|| {
                place(
                    format!("variable `{name}` is required and has no value"),
                    "required here",
                    format!(
                        "set it with --variable {name}=… or SPIN_VARIABLE_{}=…",
                        name.to_ascii_uppercase()
                    ),
                )
            })?;
            values.insert(name.clone(), value);
        }
        Ok(values)
    }

    pub(super) fn application_tool(
        &self,
        manifest: &Manifest,
        values: &BTreeMap<String, String>,
    ) -> Result<Option<ApplicationTool>, ManifestError> {
        let Some(value) = manifest.application.tool.get("localmart") else {
            return Ok(None);
        };
        let wrong = |reason: String| self.whole(format!("[application.tool.localmart]: {reason}"));
        let mut tool = ApplicationTool::deserialize(value.clone())
            .map_err(|error| wrong(error.message().to_owned()))?;
        if let Some(template) = &mut tool.sqlite_synchronous {
            *template = expand(template, values).map_err(|error| wrong(error.to_string()))?;
        }
        let limits = tool.request_limits.iter_mut();
        let limits = limits.flat_map(RequestLimitTable::values_mut);
        for template in limits.chain(tool.clients.iter_mut().flat_map(ClientsTable::values_mut)) {
            *template = expand(template, values).map_err(|error| wrong(error.to_string()))?;
        }
        Ok(Some(tool))
    }

    pub(super) fn client_limits(
        &self,
        tool: Option<&ApplicationTool>,
    ) -> Result<ClientLimits, ManifestError> {
        let table = tool.and_then(|tool| tool.clients.as_ref());
        let limits = table.map(ClientLimits::parse).transpose();
        let limits = limits.map_err(|reason| {
            self.whole(format!("[application.tool.localmart.clients]: {reason}"))
        })?;
        Ok(limits.unwrap_or_default())
    }

    pub(super) fn request_limits(
        &self,
        tool: Option<&ApplicationTool>,
    ) -> Result<Vec<RequestLimit>, ManifestError> {
        let tables = tool
            .map(|tool| tool.request_limits.as_slice())
            .unwrap_or_default();
        let limits = tables.iter().map(RequestLimit::parse);
        limits.collect::<Result<_, _>>().map_err(|reason| {
            self.whole(format!(
                "[[application.tool.localmart.request_limits]]: {reason}"
            ))
        })
    }

    fn whole(&self, message: String) -> ManifestError {
        ManifestError::file(
            format!("{}: {message}", self.source.path.display()),
            "see docs/reference/manifest.md",
        )
    }

    pub(super) fn component(
        &self,
        id: &str,
        component: &Component,
        span: Range<usize>,
        (manifest, values): (&Manifest, &BTreeMap<String, String>),
    ) -> Result<ComponentSpec, ManifestError> {
        self.refuse_unsupported(component)?;
        let (wasm, remote) = match component.source.get_ref() {
            toml::Value::String(wasm) => (self.source.folder().join(wasm), None),
            elsewhere => (
                std::path::PathBuf::new(),
                Some(self.remote(elsewhere, component.source.span())?),
            ),
        };
        let variables = self.component_variables(component, values)?;
        let allowed_hosts = self.allowed_hosts(component, manifest, values)?;
        let tool = self.component_tool(component)?;
        let tool_span = component
            .tool
            .get("localmart")
            .map_or(span.clone(), toml::Spanned::span);
        let bad = |message: String| {
            self.source.error(
                tool_span.clone(),
                message,
                "in this table",
                "see docs/reference/manifest.md",
            )
        };
        let every = tool
            .every
            .as_ref()
            .map(|every| self.every(every, values).map_err(bad))
            .transpose()?;
        let timeout = tool.timeout.as_deref().map(|text| {
            parse_duration(text).ok_or_else(|| bad(format!("`{text}` is not a duration like 30s")))
        });
        let own = tool.own.as_ref();
        let own = own.map(|own| self.own(own, component, values).map_err(bad));
        let mut bindings = BTreeMap::new();
        for (link, binding) in &tool.bindings {
            if !tool.links.contains(link) {
                return Err(bad(format!(
                    "bindings names `{link}`, which is not among the links"
                )));
            }
            bindings.insert(link.clone(), binding.parse::<Binding>().map_err(bad)?);
        }
        let mut environment = component.environment.clone();
        environment.extend(self.options.environment.clone());
        Ok(ComponentSpec {
            id: id.to_owned(),
            manifest_id: id.to_owned(),
            description: component.description.clone(),
            wasm,
            remote,
            source_span: component.source.span(),
            tool_span: tool_span.clone(),
            variables,
            environment,
            files: component
                .files
                .iter()
                .map(|file| (file.get_ref().clone(), file.span()))
                .collect(),
            exclude_files: component.exclude_files.clone(),
            allowed_hosts,
            key_value_stores: component
                .key_value_stores
                .iter()
                .map(|label| label.get_ref().clone())
                .collect(),
            sqlite_databases: component
                .sqlite_databases
                .iter()
                .map(|label| (label.get_ref().clone(), label.span()))
                .collect(),
            composition: Composition {
                dependencies: self.dependencies(component, manifest)?,
                middleware: Vec::new(),
            },
            links: tool.links,
            bindings,
            policy: tool.policy.map(|policy| PolicyLimits {
                instructions: policy.instructions.unwrap_or(limits::POLICY_INSTRUCTIONS),
                memory: policy.memory.unwrap_or(limits::POLICY_MEMORY_BYTES),
            }),
            own: own.transpose()?,
            calls_per_instance: tool
                .calls_per_instance
                .unwrap_or(limits::CALLS_PER_INSTANCE)
                .max(1),
            calls_per_life: tool.calls_per_life.unwrap_or(limits::CALLS_PER_LIFE).max(1),
            timeout: timeout.transpose()?.unwrap_or(limits::REQUEST_TIMEOUT),
            timer: every,
            triggered: false,
            called_by_http: false,
            called_by_redis: false,
            build: component.build.clone(),
        })
    }

    /// The `own` grants of a component. Each of them must be among its full grants.
    fn own(
        &self,
        own: &Own,
        component: &Component,
        values: &BTreeMap<String, String>,
    ) -> Result<OwnGrants, String> {
        let among = |key: &str,
                     labels: &[String],
                     granted: Vec<&String>|
         -> Result<BTreeSet<String>, String> {
            match labels.iter().find(|label| !granted.contains(label)) {
                None => Ok(labels.iter().cloned().collect()),
                Some(label) => Err(format!(
                    "own.{key} contains `{label}`, which is missing in {key}"
                )),
            }
        };
        let databases = component
            .sqlite_databases
            .iter()
            .map(toml::Spanned::get_ref);
        let stores = component
            .key_value_stores
            .iter()
            .map(toml::Spanned::get_ref);
        let hosts = component.allowed_outbound_hosts.iter();
        let hosts = hosts.map(toml::Spanned::get_ref).collect();
        let variables = component.variables.keys().collect();
        among("allowed_outbound_hosts", &own.allowed_outbound_hosts, hosts)?;
        let allowed = own.allowed_outbound_hosts.iter().map(|host| {
            let host = expand(host, values).map_err(|error| error.to_string())?;
            AllowedHost::parse(&host)
        });
        Ok(OwnGrants {
            sqlite_databases: among(
                "sqlite_databases",
                &own.sqlite_databases,
                databases.collect(),
            )?,
            key_value_stores: among("key_value_stores", &own.key_value_stores, stores.collect())?,
            allowed_hosts: allowed.collect::<Result<_, _>>()?,
            variables: among("variables", &own.variables, variables)?,
        })
    }

    /// Reads `{ url, digest }`.
    fn remote(
        &self,
        said: &toml::Value,
        span: Range<usize>,
    ) -> Result<RemoteSource, ManifestError> {
        let text = |key: &str| said.get(key).and_then(toml::Value::as_str);
        let (url, digest) = match (text("url"), text("digest")) {
            (Some(url), Some(digest)) => (url, digest),
            (Some(_), None) => {
                return Err(self.source.error(
                    span,
                    "`url` needs `digest`, the SHA-256 of the file",
                    "without digest",
                    "add digest = \"sha256:…\"; sha256sum prints it",
                ));
            }
            _ => {
                return Err(self.source.error(
                    span,
                    "a component from a registry is not supported by this host yet",
                    "a path, or { url, digest }",
                    "download it first, and name the file",
                ));
            }
        };
        RemoteSource::parse(url, digest).map_err(|reason| {
            self.source.error(
                span,
                reason,
                "here",
                "write { url = \"https://…\", digest = \"sha256:…\" }",
            )
        })
    }

    fn refuse_unsupported(&self, component: &Component) -> Result<(), ManifestError> {
        match component.ai_models.first() {
            None => Ok(()),
            Some(model) => Err(self.source.error(
                model.span(),
                "`ai_models` is not supported by this host",
                "not supported",
                "this host has no language models",
            )),
        }
    }

    /// Where a component may connect to.
    fn allowed_hosts(
        &self,
        component: &Component,
        manifest: &Manifest,
        values: &BTreeMap<String, String>,
    ) -> Result<Vec<AllowedHost>, ManifestError> {
        let mut allowed = Vec::new();
        for host in &component.allowed_outbound_hosts {
            let at = |message: String| {
                self.source
                    .error(host.span(), message, "here", "write scheme://host:port")
            };
            let text = self.host_text(host, values)?;
            let host = AllowedHost::parse(&text).map_err(at)?;
            if let Some(chained) = host.chained_component()
                && !manifest.component.contains_key(chained)
            {
                let known = super::check::joined(manifest.component.keys());
                return Err(at(format!(
                    "`{text}`: there is no component `{chained}`; known components: {known}"
                )));
            }
            allowed.push(host);
        }
        let older = component.allowed_http_hosts.as_deref().unwrap_or_default();
        for host in older {
            let at = |message: String| {
                self.source
                    .error(host.span(), message, "here", "use allowed_outbound_hosts")
            };
            if !component.allowed_outbound_hosts.is_empty() {
                let message =
                    "a component has allowed_outbound_hosts or allowed_http_hosts, not both";
                return Err(at(message.to_owned()));
            }
            let text = self.host_text(host, values)?;
            for text in before_outbound(&text) {
                allowed.push(AllowedHost::parse(&text).map_err(at)?);
            }
        }
        Ok(allowed)
    }

    /// An entry in a list of hosts, with the values of its variables.
    fn host_text(
        &self,
        host: &Spanned<String>,
        values: &BTreeMap<String, String>,
    ) -> Result<String, ManifestError> {
        let template = host.get_ref();
        if let Some(name) = empty_variable(template, values) {
            let message = format!("the variable `{name}` in `{template}` is empty");
            let help = "give it a value, with --variable or under [variables]";
            return Err(self.source.error(host.span(), message, "here", help));
        }
        expand(template, values).map_err(|error| {
            let message = error.to_string();
            self.source
                .error(host.span(), message, "in this template", error.help())
        })
    }

    fn component_variables(
        &self,
        component: &Component,
        values: &BTreeMap<String, String>,
    ) -> Result<BTreeMap<String, String>, ManifestError> {
        let mut variables = BTreeMap::new();
        for (name, template) in &component.variables {
            let value = expand(template.get_ref(), values).map_err(|error| {
                self.source.error(
                    template.span(),
                    error.to_string(),
                    "in this template",
                    error.help(),
                )
            })?;
            variables.insert(name.clone(), value);
        }
        Ok(variables)
    }

    fn component_tool(&self, component: &Component) -> Result<ComponentTool, ManifestError> {
        let Some(value) = component.tool.get("localmart") else {
            return Ok(ComponentTool::default());
        };
        ComponentTool::deserialize(value.get_ref().clone()).map_err(|error| {
            self.source.error(
                value.span(),
                error.message().to_owned(),
                "in this table",
                "see docs/reference/manifest.md",
            )
        })
    }

    fn every(
        &self,
        every: &crate::manifest::schema::Every,
        values: &BTreeMap<String, String>,
    ) -> Result<TimerSpec, String> {
        let interval = parse_duration(&every.interval).filter(|pause| !pause.is_zero());
        let mut headers = BTreeMap::new();
        for (name, template) in &every.headers {
            headers.insert(
                name.clone(),
                expand(template, values).map_err(|error| error.to_string())?,
            );
        }
        if !every.path.starts_with('/') {
            return Err(format!("the path `{}` does not begin with /", every.path));
        }
        Ok(TimerSpec {
            interval: interval
                .ok_or_else(|| format!("`{}` is not a duration like 5s", every.interval))?,
            path: every.path.clone(),
            headers,
        })
    }
}

/// Translates an entry of `allowed_http_hosts`, which has no scheme and covers HTTP only, to `allowed_outbound_hosts`.
fn before_outbound(text: &str) -> Vec<String> {
    match text {
        "insecure:allow-all" => vec!["http://*:*".to_owned(), "https://*:*".to_owned()],
        _ if text.contains("://") => vec![text.to_owned()],
        _ => vec![format!("http://{text}"), format!("https://{text}")],
    }
}

/// Parses a whole number with the unit `ms`, `s`, `m` or `h`.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    let number: u64 = number.parse().ok()?;
    let ms = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    number.checked_mul(ms).map(Duration::from_millis)
}
