//! Resolves the triggers of a manifest: HTTP routes and Redis channels. Every error points into the file.

use super::Subscription;
use super::resolver::Resolver;
use super::routes::Pattern;
use super::{RouteSpec, Target};
use crate::compose::Plug;
use crate::manifest::ManifestError;
use crate::manifest::schema::{
    Component, HttpSettings, HttpTrigger, Manifest, RedisSettings, RedisTrigger, Route,
    StaticResponse, TextOr, Trigger,
};
use crate::variables::expand;
use serde::Deserialize as _;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// The resolved HTTP triggers.
pub(super) struct Routes {
    /// The routes, best match first.
    pub(super) routes: Vec<RouteSpec>,
    /// The components that a trigger calls without middleware.
    pub(super) triggered: BTreeSet<String>,
    /// The components that a trigger calls through middleware.
    pub(super) wrapped: Vec<WrappedComponent>,
}

/// A component behind middleware. For the host it is a separate component.
pub(super) struct WrappedComponent {
    /// Its unique id.
    pub(super) id: String,
    /// The id of the component in the manifest.
    pub(super) component: String,
    /// The middleware, outermost first.
    pub(super) middleware: Vec<Plug>,
}

/// A unique id for a component behind middleware.
fn wrapped_name(component: &str, others: &[WrappedComponent], middleware: &[Plug]) -> String {
    let names: Vec<&str> = middleware.iter().map(|plug| plug.name.as_str()).collect();
    let name = format!("{component} behind {}", names.join(", "));
    let same = others
        .iter()
        .filter(|other| other.id.starts_with(&name))
        .count();
    if same == 0 {
        name
    } else {
        format!("{name} ({})", same + 1)
    }
}

impl Resolver<'_> {
    pub(super) fn routes(&self, manifest: &Manifest) -> Result<Routes, ManifestError> {
        let mut routes: Vec<(RouteSpec, Range<usize>)> = Vec::new();
        let (mut triggered, mut wrapped) = (BTreeSet::new(), Vec::new());
        let base = self.base(manifest)?;
        for (kind, entries) in &manifest.trigger {
            for entry in entries {
                match kind.as_str() {
                    "http" => {}
                    "redis" => continue,
                    _ => {
                        return Err(self.source.error(
                            entry.span(),
                            format!("this host does not support triggers of type `{kind}`"),
                            "not supported",
                            "supported are http and redis; the unsupported parts are listed in docs/reference/manifest.md",
                        ));
                    }
                }
                let said = entry.get_ref();
                let trigger = HttpTrigger::deserialize(said.settings.clone()).map_err(|error| {
                    self.source.error(
                        entry.span(),
                        error.message().to_owned(),
                        "in this trigger",
                        "see docs/reference/manifest.md",
                    )
                })?;
                let mut target = self.target(said, &trigger, entry.span(), manifest)?;
                let middleware = self.middleware(&said.dependencies, &entry.span(), manifest)?;
                if let Target::Component(id) = &mut target {
                    if middleware.is_empty() {
                        triggered.insert(id.clone());
                    } else {
                        let one = WrappedComponent {
                            component: id.clone(),
                            id: wrapped_name(id, &wrapped, &middleware),
                            middleware,
                        };
                        id.clone_from(&one.id);
                        wrapped.push(one);
                    }
                }
                if let Some(route) = self.route(&trigger, &base, entry.span(), target)? {
                    if let Some((other, _)) = routes
                        .iter()
                        .find(|(known, _)| known.pattern.clashes(&route.pattern))
                    {
                        return Err(self.source.error(
                            entry.span(),
                            format!(
                                "the routes `{}` and `{}` match the same paths",
                                other.text, route.text
                            ),
                            format!("`{}` already answers here", other.answerer()),
                            "change or remove one of the two",
                        ));
                    }
                    routes.push((route, entry.span()));
                }
            }
        }
        let mut routes: Vec<RouteSpec> = routes.into_iter().map(|(route, _)| route).collect();
        routes.sort_by_key(|route| route.pattern.rank());
        Ok(Routes {
            routes,
            triggered,
            wrapped,
        })
    }

    fn target(
        &self,
        said: &Trigger,
        trigger: &HttpTrigger,
        span: Range<usize>,
        manifest: &Manifest,
    ) -> Result<Target, ManifestError> {
        let refuse = |what: &str| {
            self.source.error(
                span.clone(),
                format!("{what} is not supported by this host yet"),
                "not supported",
                "the unsupported parts are listed in docs/reference/manifest.md",
            )
        };
        if let Some(executor) = &trigger.executor {
            let kind = executor.get("type").and_then(toml::Value::as_str);
            if !matches!(kind, Some("http" | "spin")) {
                return Err(refuse("an executor other than http"));
            }
        }
        match (&trigger.static_response, &said.component) {
            (Some(fixed), None) => {
                let made = fixed_response(fixed).map_err(|reason| {
                    let message = format!("the static_response is invalid: {reason}");
                    let help = "use a status from 200 to 599, and valid HTTP headers";
                    self.source.error(span, message, "here", help)
                })?;
                Ok(Target::Fixed(made))
            }
            (Some(_), Some(_)) => Err(self.source.error(
                span,
                "a trigger has either a component or a static_response, not both",
                "here",
                "remove one of the two",
            )),
            (None, component) => self
                .named_component(component.as_ref(), span, manifest)
                .map(Target::Component),
        }
    }

    /// The component that a trigger of any type names.
    fn named_component(
        &self,
        component: Option<&TextOr<Box<Component>>>,
        span: Range<usize>,
        manifest: &Manifest,
    ) -> Result<String, ManifestError> {
        let id = match component {
            Some(TextOr::Text(id)) => id.clone(),
            // Inline components have been replaced by ids before.
            Some(TextOr::Table(_)) | None => {
                return Err(self.source.error(
                    span,
                    "this trigger names no component",
                    "component = \"…\" is missing",
                    "name the component to call",
                ));
            }
        };
        if !manifest.component.contains_key(&id) {
            return Err(self.source.error(
                span,
                format!("there is no component `{id}`"),
                "named here",
                format!(
                    "add [component.{id}], or name one of: {}",
                    super::check::joined(manifest.component.keys())
                ),
            ));
        }
        Ok(id)
    }

    /// The path before all routes; empty without one.
    fn base(&self, manifest: &Manifest) -> Result<String, ManifestError> {
        let Some(table) = manifest.application.trigger.get("http") else {
            return Ok(String::new());
        };
        let wrong = |reason: &str| {
            let path = self.source.path.display();
            let message = format!("{path}: [application.trigger.http]: {reason}");
            ManifestError::file(message, "the only key is base, a path such as /shop")
        };
        let settings = HttpSettings::deserialize(table.clone());
        let settings = settings.map_err(|error| wrong(error.message()))?;
        let base = settings.base.unwrap_or_default();
        let base = base.trim_end_matches('/');
        match base.is_empty() || base.starts_with('/') {
            true => Ok(base.to_owned()),
            false => Err(wrong(&format!("base = `{base}` does not begin with /"))),
        }
    }

    fn route(
        &self,
        trigger: &HttpTrigger,
        base: &str,
        span: Range<usize>,
        target: Target,
    ) -> Result<Option<RouteSpec>, ManifestError> {
        match &trigger.route {
            Route::Private { private: true } => Ok(None),
            Route::Private { private: false } => Err(self.source.error(
                span,
                "`private = false` is not a route",
                "here",
                "write a path, or { private = true }",
            )),
            Route::Path(text) => {
                let text = format!("{base}{text}");
                let pattern = Pattern::parse(&text).map_err(|reason| {
                    self.source.error(
                        span,
                        format!("`{text}` is not a route: {reason}"),
                        "here",
                        "write /exact, /a/:segment or /prefix/...",
                    )
                })?;
                Ok(Some(RouteSpec {
                    text,
                    pattern,
                    target,
                }))
            }
        }
    }

    /// The subscriptions of the Redis triggers.
    pub(super) fn subscriptions(
        &self,
        manifest: &Manifest,
        values: &BTreeMap<String, String>,
    ) -> Result<Vec<Subscription>, ManifestError> {
        let settings = match manifest.application.trigger.get("redis") {
            Some(table) => RedisSettings::deserialize(table.clone()).map_err(|error| {
                let message = format!(
                    "{}: [application.trigger.redis]: {}",
                    self.source.path.display(),
                    error.message()
                );
                ManifestError::file(message, "the only key is address")
            })?,
            None => RedisSettings::default(),
        };
        let entries = manifest.trigger.get("redis").map(Vec::as_slice);
        let mut subscriptions = Vec::new();
        for entry in entries.unwrap_or_default() {
            let wrong = |message: String, help: &str| {
                self.source
                    .error(entry.span(), message, "in this trigger", help)
            };
            let said = entry.get_ref();
            let trigger = RedisTrigger::deserialize(said.settings.clone()).map_err(|error| {
                wrong(error.message().to_owned(), "see docs/reference/manifest.md")
            })?;
            if let Some(role) = said.dependencies.keys().next() {
                let message = format!("a Redis trigger does not support `dependencies.{role}`");
                return Err(wrong(message, "remove it"));
            }
            if trigger.executor.is_some() {
                let message = "an executor for a Redis trigger is not supported by this host";
                return Err(wrong(message.to_owned(), "remove it"));
            }
            let template = trigger.address.as_ref().or(settings.address.as_ref());
            let template = template.ok_or_else(|| {
                wrong(
                    "this trigger has no server address".to_owned(),
                    "set `address` here or in [application.trigger.redis]",
                )
            })?;
            let expanded = |template: &str| {
                expand(template, values)
                    .map_err(|error| wrong(error.to_string(), "declare it under [variables]"))
            };
            let address = expanded(template)?;
            let ours = manifest.application.tool.contains_key("localmart");
            let embedded = ours && address == super::EMBEDDED;
            if !embedded && localmart_connect::redis::Address::parse(address.as_str()).is_err() {
                // The address is not printed because it may contain a password.
                return Err(wrong(
                    "the address of this trigger is not the address of a Redis server".to_owned(),
                    "write redis://host:port",
                ));
            }
            subscriptions.push(Subscription {
                channel: expanded(&trigger.channel)?,
                component: self.named_component(said.component.as_ref(), entry.span(), manifest)?,
                address,
            });
        }
        Ok(subscriptions)
    }
}

fn fixed_response(fixed: &StaticResponse) -> Result<http::Response<String>, http::Error> {
    let mut response = http::Response::builder().status(fixed.status_code);
    for (name, value) in &fixed.headers {
        response = response.header(name, value);
    }
    response.body(fixed.body.clone())
}
