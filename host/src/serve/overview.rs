//! The overview of an application: its components and their routes. The host answers with it at `/`, unless a component
//! has that route, and at every address that no route matches. People get text or a page ([`page`]), clients that ask
//! for JSON get JSON; [`accept`] decides. The host makes no request to a component for it.

mod accept;
mod page;

use super::answer::{HostProblem, empty, full};
use super::load::LoadedRoute;
use crate::app::routes::Pattern;
use crate::app::routes::nearest::nearest;
use crate::app::{ComponentSpec, Target};
use crate::trace::Trace;
use accept::{Form, preferred};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};
use page::Page;
use serde_json::json;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use wasmtime_wasi_http::WasiBody;

/// Longer addresses are shortened in text and pages, in characters.
const SHOWN_CHARACTERS: usize = 120;

/// The name of routes with a static response, which have no component.
const STATIC: &str = "static responses";

/// The methods of the overview.
const METHODS: &str = "GET, HEAD";

/// Explains the notation of routes.
const NOTATION: &str =
    "A route that ends in /... includes every address below it; :name stands for one segment.";

/// The components and routes of an application.
pub struct Overview {
    name: String,
    description: String,
    components: Vec<ComponentRoutes>,
    /// All routes, including those that are not listed.
    patterns: Vec<Pattern>,
    page: Page,
}

/// A component and its listed routes.
struct ComponentRoutes {
    name: String,
    description: String,
    routes: Vec<Route>,
}

/// A listed route.
struct Route {
    text: String,
    pattern: Pattern,
}

/// The parts of a request that the overview depends on.
struct Asked<'r> {
    method: &'r Method,
    path: &'r str,
    form: Option<Form>,
}

impl Overview {
    /// The overview of an application. Routes that only a timer calls are not listed.
    pub fn new<'c>(
        (name, description): (&str, &str),
        routes: &[LoadedRoute],
        component: impl Fn(&str) -> Option<&'c ComponentSpec>,
    ) -> Self {
        let mut listed = BTreeMap::<String, ComponentRoutes>::new();
        for LoadedRoute { spec: route, .. } in routes {
            let (name, description) = match &route.target {
                Target::Fixed(_) => (STATIC, ""),
                Target::Component(id) => match component(id) {
                    Some(spec) if is_timer(spec, &route.text) => continue,
                    Some(spec) => (spec.manifest_id.as_str(), spec.description.as_str()),
                    None => continue,
                },
            };
            let new = || ComponentRoutes {
                name: name.to_owned(),
                description: description.to_owned(),
                routes: Vec::new(),
            };
            let component = listed.entry(name.to_owned()).or_insert_with(new);
            component.routes.push(Route {
                text: route.text.clone(),
                pattern: route.pattern.clone(),
            });
        }
        let mut components: Vec<ComponentRoutes> = listed.into_values().collect();
        for component in &mut components {
            component.routes.sort_by(|a, b| a.text.cmp(&b.text));
        }
        Self {
            name: name.to_owned(),
            description: description.to_owned(),
            components,
            patterns: routes.iter().map(|one| one.spec.pattern.clone()).collect(),
            page: Page::default(),
        }
    }

    /// The answer to a request that no route matches.
    pub fn answer(
        &self,
        method: &Method,
        path: &str,
        headers: &HeaderMap,
        trace: &Trace,
    ) -> Response<WasiBody> {
        let asked = Asked {
            method,
            path,
            form: preferred(headers),
        };
        let mut response = match (path, method) {
            ("/", &Method::GET | &Method::HEAD) => self.index(&asked),
            ("/", _) => {
                let mut refused = HostProblem::MethodNotAllowed.response(true, trace);
                let methods = HeaderValue::from_static(METHODS);
                refused.headers_mut().insert(header::ALLOW, methods);
                refused
            }
            _ => self.not_found(&asked, trace),
        };
        let headers = response.headers_mut();
        let accept = HeaderValue::from_static("accept");
        headers.insert(header::VARY, accept);
        if let Ok(id) = HeaderValue::from_str(trace.id()) {
            headers.insert("x-request-id", id);
        }
        response
    }

    /// The answer to `GET /`.
    fn index(&self, asked: &Asked<'_>) -> Response<WasiBody> {
        match asked.form {
            None | Some(Form::Text) => text(StatusCode::OK, asked, self.listing()),
            Some(Form::Html) => self.page.response(StatusCode::OK, asked, self, None),
            Some(Form::Json) => {
                let components = self.components.iter().map(|component| {
                    let routes: Vec<&str> =
                        component.routes.iter().map(|one| &*one.text).collect();
                    json!({ "id": component.name, "description": component.description, "routes": routes })
                });
                let body = json!({
                    "name": self.name,
                    "description": self.description,
                    "components": components.collect::<Vec<_>>(),
                });
                respond(StatusCode::OK, asked, "application/json", body.to_string())
            }
        }
    }

    /// The answer to an unknown address, with the nearest route.
    fn not_found(&self, asked: &Asked<'_>, trace: &Trace) -> Response<WasiBody> {
        let listed = self.components.iter().flat_map(|one| &one.routes);
        let hint = nearest(listed.map(|route| &route.pattern), asked.path);
        let form = asked.form.unwrap_or_else(|| self.usual_form(asked));
        match form {
            Form::Json => {
                let mut detail = HostProblem::NotFound.detail().to_owned();
                if let Some(hint) = hint {
                    // Writing to a String cannot fail.
                    let _ = write!(detail, " Did you mean {hint}?");
                }
                let mut response = HostProblem::NotFound.problem(&detail, trace);
                if asked.method == Method::HEAD {
                    *response.body_mut() = empty();
                }
                response
            }
            Form::Text => {
                let mut said = format!("404 Not Found: there is nothing at {}\n", asked.shown());
                if let Some(hint) = hint {
                    let _ = writeln!(said, "Did you mean {hint}?");
                }
                let listing = self.listing();
                text(StatusCode::NOT_FOUND, asked, format!("{said}\n{listing}"))
            }
            Form::Html => {
                let status = StatusCode::NOT_FOUND;
                self.page.response(status, asked, self, hint.as_deref())
            }
        }
    }

    /// The form of an error for a client that accepts everything. Clients of an API get the form of its errors: those
    /// that write, and those that miss an address beside existing ones.
    fn usual_form(&self, asked: &Asked<'_>) -> Form {
        let reads = matches!(*asked.method, Method::GET | Method::HEAD);
        let first = asked.path.split('/').find(|part| !part.is_empty());
        let is_beside = |pattern: &Pattern| first.is_some_and(|first| pattern.begins_with(first));
        if reads && !self.patterns.iter().any(is_beside) {
            Form::Text
        } else {
            Form::Json
        }
    }

    /// All components and routes as text.
    fn listing(&self) -> String {
        let mut text = titled(&self.name, &self.description);
        for component in &self.components {
            text += "\n";
            text += &titled(&component.name, &component.description);
            for route in &component.routes {
                let _ = writeln!(text, "  {}", route.text);
            }
        }
        let _ = match self.components.as_slice() {
            [] => writeln!(text, "\nNo component has a route."),
            _ => writeln!(text, "\n{NOTATION}"),
        };
        text
    }
}

impl Asked<'_> {
    /// The path, shortened if it is long.
    fn shown(&self) -> String {
        match self.path.char_indices().nth(SHOWN_CHARACTERS) {
            Some((end, _)) => format!("{}…", self.path.get(..end).unwrap_or_default()),
            None => self.path.to_owned(),
        }
    }
}

/// Whether a route is there for the timer of its component.
fn is_timer(spec: &ComponentSpec, route: &str) -> bool {
    spec.timer.as_ref().is_some_and(|timer| timer.path == route)
}

/// A line with a name and, if there is one, its description.
fn titled(name: &str, description: &str) -> String {
    match description.lines().next() {
        Some(description) => format!("{name}: {description}\n"),
        None => format!("{name}\n"),
    }
}

fn text(status: StatusCode, asked: &Asked<'_>, body: String) -> Response<WasiBody> {
    respond(status, asked, "text/plain; charset=utf-8", body)
}

/// A response that browsers neither guess the type of nor keep without asking again.
fn respond(
    status: StatusCode,
    asked: &Asked<'_>,
    content_type: &'static str,
    body: String,
) -> Response<WasiBody> {
    let length = body.len();
    let mut response = Response::new(match *asked.method {
        Method::HEAD => empty(),
        _ => full(body),
    });
    *response.status_mut() = status;
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_TYPE, content_type),
        (header::CACHE_CONTROL, "no-cache"),
        (HeaderName::from_static("x-content-type-options"), "nosniff"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.insert(header::CONTENT_LENGTH, length.into());
    response
}
