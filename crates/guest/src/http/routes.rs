//! The route table of a component, and the order in which a request is checked:
//! 404 → 405 → 401 → 403 → 413, 415, 400 → the operation with its 422, 404, 409, 412.

use super::idempotency::{self, Keys};
use super::message::{Incoming, percent_decode};
use super::{Answer, MAX_BODY_BYTES, Problem, Request, Response, sweep};
use crate::log::{self, Level, trace_id};
use crate::ports::{LocalFuture, Ports};
use crate::service::Service;
use crate::short_lived::ShortLived;
use crate::token::{Claims, Role, TokenKey, revocation_key, secrets_match};
use localmart_kernel::Timestamp;
use std::cell::RefCell;
use std::rc::Rc;

/// How long an instance caches a verified token, in milliseconds.
const TOKEN_CACHE_MS: i64 = 5_000;
/// How many verified tokens an instance caches.
const TOKEN_CACHE_SIZE: usize = 64;

/// Who may use a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Everybody; a token is verified if the request has one.
    All,
    /// Users with this role or a higher one.
    Only(Role),
    /// Only the shop's timers, which know the sweep token. For everybody else the route does not exist (404).
    Sweep,
}

type Handler<S> = Box<dyn Fn(Rc<S>, Request) -> LocalFuture<'static, Answer>>;

struct Route<S> {
    method: &'static str,
    access: Access,
    keys: Keys,
    handler: Handler<S>,
}

/// The routes of a component.
pub struct Routes<S> {
    paths: Vec<(&'static str, Vec<Route<S>>)>,
}

impl<S: Service> Default for Routes<S> {
    fn default() -> Self {
        Self::new()
    }
}

impl<S: Service> Routes<S> {
    /// No routes yet.
    pub fn new() -> Self {
        Self { paths: Vec::new() }
    }

    /// Adds a route; `{name}` in the path matches one segment.
    #[must_use]
    pub fn on<F, Fut>(
        mut self,
        method: &'static str,
        path: &'static str,
        access: Access,
        handler: F,
    ) -> Self
    where
        F: Fn(Rc<S>, Request) -> Fut + 'static,
        Fut: Future<Output = Answer> + 'static,
    {
        let route = Route {
            method,
            access,
            keys: if method == "POST" {
                Keys::Optional
            } else {
                Keys::Ignored
            },
            handler: Box::new(move |service, request| Box::pin(handler(service, request))),
        };
        match self.paths.iter_mut().find(|(known, _)| *known == path) {
            Some((_, routes)) => routes.push(route),
            None => self.paths.push((path, vec![route])),
        }
        self
    }

    /// The route added last refuses requests without an idempotency key.
    #[must_use]
    pub fn requires_key(self) -> Self {
        self.with_keys(Keys::Required)
    }

    /// On the route added last, a guest's idempotency key counts together with the body and the address of the client.
    #[must_use]
    pub fn keys_by_body(self) -> Self {
        self.with_keys(Keys::ByBody)
    }

    /// The route added last ignores the idempotency keys of guests without a cookie, because its answer is a capability.
    #[must_use]
    pub fn keys_of_known_clients(self) -> Self {
        self.with_keys(Keys::OfKnownClients)
    }

    /// The route added last manages idempotency keys itself, because they are written in the transaction of its effect.
    #[must_use]
    pub fn manages_keys(self) -> Self {
        self.with_keys(Keys::Managed)
    }

    fn with_keys(mut self, keys: Keys) -> Self {
        let last = self
            .paths
            .iter_mut()
            .flat_map(|(_, routes)| routes)
            .next_back();
        if let Some(route) = last {
            route.keys = keys;
        }
        self
    }
}

/// A service with its router and its configuration. One per instance.
pub struct HttpServer<S, K> {
    service: Rc<S>,
    router: matchit::Router<Vec<Route<S>>>,
    /// The configuration that every service has.
    pub settings: Settings,
    ports: Ports,
    keys: K,
    tokens: RefCell<Vec<(String, Claims, Timestamp)>>,
}

/// The configuration that every service has.
pub struct Settings {
    /// Verifies access tokens.
    pub token_key: TokenKey,
    /// The secret of the sweep routes.
    pub sweep_token: String,
    /// How long an idempotency key is kept, in milliseconds.
    pub idempotency_ttl_ms: i64,
}

/// Why a body could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyError {
    /// The body is longer than the limit.
    TooLarge,
    /// The connection ended before the body did.
    Broken,
}

impl<S: Service, K: ShortLived + Clone + 'static> HttpServer<S, K> {
    /// Builds the router of a service: its routes and the one of its sweep. A conflict in the route table is logged, and the
    /// route is left out.
    pub fn new(service: Rc<S>, settings: Settings, ports: Ports, keys: K) -> Self {
        let mut router = matchit::Router::new();
        let mut paths = own_paths(S::routes());
        paths.push(sweep_route(ports.clone(), keys.clone()));
        for (path, routes) in paths {
            if let Err(conflict) = router.insert(path.clone(), routes) {
                log::write(
                    Level::Error,
                    "",
                    "a route conflicts with another and is left out",
                    &[("path", &path), ("reason", &conflict.to_string())],
                );
            }
        }
        Self {
            service,
            router,
            settings,
            ports,
            keys,
            tokens: RefCell::default(),
        }
    }

    /// The claims of the caller. Whether the session was ended is checked on every request, even if the token is cached.
    /// While the store of ended sessions is unavailable, tokens stay valid until they expire.
    async fn claims(&self, incoming: &Incoming, now: Timestamp) -> Result<Option<Claims>, Problem> {
        let claims = self.verified(incoming, now)?;
        if let Some(session) = claims.as_ref().and_then(|claims| claims.session.as_ref()) {
            match self.keys.get(&revocation_key(session), now).await {
                Ok(None) => {}
                Ok(Some(_)) => return Err(invalid_token()),
                Err(error) => {
                    let trace = incoming.header("traceparent").unwrap_or_default();
                    let fields = [("component", S::NOUN), ("reason", &error.0)];
                    log::write(
                        Level::Warn,
                        trace,
                        "cannot check whether the session was ended",
                        &fields,
                    );
                }
            }
        }
        Ok(claims)
    }

    fn verified(&self, incoming: &Incoming, now: Timestamp) -> Result<Option<Claims>, Problem> {
        let Some(header) = incoming.header("authorization") else {
            return Ok(None);
        };
        // The scheme may be written in any case (RFC 9110, section 11.1).
        let token = header
            .split_once(' ')
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, token)| token.trim())
            .ok_or_else(invalid_token)?;
        let mut tokens = self.tokens.borrow_mut();
        tokens.retain(|(_, _, until)| *until > now);
        if let Some((_, claims, _)) = tokens.iter().find(|(known, _, _)| known == token) {
            return Ok(Some(claims.clone()));
        }
        let claims = self
            .settings
            .token_key
            .verify(token, now)
            .ok_or_else(invalid_token)?;
        if tokens.len() < TOKEN_CACHE_SIZE {
            tokens.push((
                token.to_owned(),
                claims.clone(),
                now.plus_ms(TOKEN_CACHE_MS),
            ));
        }
        Ok(Some(claims))
    }

    async fn authorize(
        &self,
        route: &Route<S>,
        incoming: &Incoming,
        now: Timestamp,
    ) -> Result<Option<Claims>, Problem> {
        match route.access {
            Access::Sweep => {
                let sent = incoming.header("x-sweep-token").unwrap_or_default();
                if secrets_match(sent, &self.settings.sweep_token) {
                    Ok(None)
                } else {
                    Err(no_route())
                }
            }
            Access::All => self.claims(incoming, now).await,
            Access::Only(role) => match self.claims(incoming, now).await? {
                None => Err(Problem::new(401, "unauthenticated", "This needs a token.")
                    .with_header("www-authenticate", "Bearer".to_owned())),
                Some(claims) if claims.role < role => Err(Problem::new(
                    403,
                    "forbidden",
                    "Your role does not allow this.",
                )),
                claims => Ok(claims),
            },
        }
    }

    async fn handle(
        &self,
        incoming: Incoming,
        read_body: impl AsyncFnOnce(usize) -> Result<Vec<u8>, BodyError>,
    ) -> Result<Response, Problem> {
        let now = self.ports.now();
        let matched = self.router.at(incoming.path()).map_err(|_| no_route())?;
        if incoming.method == "OPTIONS" {
            return options(matched.value);
        }
        let route = find_method(matched.value, &incoming.method)?;
        let claims = self.authorize(route, &incoming, now).await?;
        let decoded = |value: &str| percent_decode(value, false).unwrap_or_default();
        let params = matched
            .params
            .iter()
            .map(|(name, value)| (name.to_owned(), decoded(value)))
            .collect();
        let key = route.keys.of(&incoming)?;
        let body = if takes_body(&incoming.method) {
            accepted_body(&incoming, read_body).await?
        } else {
            Vec::new()
        };
        let request = Request {
            incoming,
            params,
            body,
            claims,
            at: now,
        };
        let conditional = conditional(&request.incoming);
        let key = key.filter(|_| idempotency::counts(route.keys, &request));
        let answered = match key {
            Some(key) => {
                let ttl = self.settings.idempotency_ttl_ms;
                let run = |request| (route.handler)(self.service.clone(), request);
                let key = (route.keys, key.as_str());
                idempotency::run_once(&self.keys, S::NOUN, key, ttl, &self.ports, request, run)
                    .await
            }
            None => (route.handler)(self.service.clone(), request).await,
        };
        match conditional {
            Some(incoming) => answered.map(|response| unless_known(&incoming, response)),
            None => answered,
        }
    }
}

/// A path with its routes, for the router.
type PathRoutes<S> = (String, Vec<Route<S>>);

fn own_paths<S>(routes: Routes<S>) -> Vec<PathRoutes<S>> {
    let owned = |(path, routes): (&'static str, Vec<Route<S>>)| (path.to_owned(), routes);
    routes.paths.into_iter().map(owned).collect()
}

/// The route that the timer of a service calls.
fn sweep_route<S: Service, K: ShortLived + Clone + 'static>(
    ports: Ports,
    keys: K,
) -> PathRoutes<S> {
    let handler = move |service: Rc<S>, request: Request| {
        let (ports, keys) = (ports.clone(), keys.clone());
        Box::pin(async move { sweep::sweep(&*service, &keys, &ports, &request).await })
            as LocalFuture<'static, Answer>
    };
    let route = Route {
        method: "POST",
        access: Access::Sweep,
        keys: Keys::Ignored,
        handler: Box::new(handler),
    };
    (sweep::path(S::NOUN), vec![route])
}

/// The request, if it is a GET for somebody who has a copy.
fn conditional(incoming: &Incoming) -> Option<Incoming> {
    let asks = matches!(incoming.method.as_str(), "GET" | "HEAD");
    (asks && incoming.header("if-none-match").is_some()).then(|| incoming.clone())
}

/// 304 in place of a response that the client has already.
fn unless_known(incoming: &Incoming, mut response: Response) -> Response {
    let etag = response.headers.iter().find(|(name, _)| name == "etag");
    let known = etag.is_some_and(|(_, etag)| Request::has_copy(incoming, etag));
    if known && response.status == 200 {
        response.status = 304;
        response.body.clear();
        response.headers.retain(|(name, _)| name != "content-type");
    }
    response
}

/// Answers a request; never fails. Adds `x-request-id` and converts problems to responses.
pub async fn answer<S: Service, K: ShortLived + Clone + 'static>(
    server: &HttpServer<S, K>,
    incoming: Incoming,
    read_body: impl AsyncFnOnce(usize) -> Result<Vec<u8>, BodyError>,
) -> Response {
    let trace_parent = incoming
        .header("traceparent")
        .unwrap_or_default()
        .to_owned();
    let request_id = request_id(&incoming, &trace_parent, &server.ports);
    let response = match server.handle(incoming, read_body).await {
        Ok(response) => response,
        Err(problem) => {
            if problem.status >= 500 {
                let fields = [("code", problem.code), ("component", S::NOUN)];
                log::write(
                    Level::Warn,
                    &trace_parent,
                    "answered with an error",
                    &fields,
                );
            }
            problem.into_response(&trace_parent)
        }
    };
    let cacheable = response
        .headers
        .iter()
        .any(|(name, _)| name == "cache-control");
    let response = match cacheable {
        true => response,
        false => response.with_header("cache-control", "no-store"),
    };
    response.with_header("x-request-id", request_id)
}

fn invalid_token() -> Problem {
    Problem::new(
        401,
        "unauthenticated",
        "The token is missing, expired or not valid.",
    )
    .with_header("www-authenticate", "Bearer".to_owned())
}

fn no_route() -> Problem {
    Problem::new(404, "not_found", "There is nothing at this address.")
}

/// The methods of an address, as the value of `allow`; `None` if only the shop's timers may use the address.
fn allowed<S>(routes: &[Route<S>]) -> Option<String> {
    let public = routes.iter().filter(|route| route.access != Access::Sweep);
    let mut methods: Vec<&str> = public.map(|route| route.method).collect();
    if methods.is_empty() {
        return None;
    }
    if methods.contains(&"GET") {
        methods.push("HEAD");
    }
    methods.push("OPTIONS");
    Some(methods.join(", "))
}

/// The answer to OPTIONS.
fn options<S>(routes: &[Route<S>]) -> Answer {
    let allowed = allowed(routes).ok_or_else(no_route)?;
    Ok(Response::no_content().with_header("allow", allowed))
}

fn find_method<'a, S>(routes: &'a [Route<S>], method: &str) -> Result<&'a Route<S>, Problem> {
    let wanted = if method == "HEAD" { "GET" } else { method };
    routes
        .iter()
        .find(|route| route.method == wanted)
        .ok_or_else(|| {
            let Some(allowed) = allowed(routes) else {
                return no_route();
            };
            Problem::new(
                405,
                "method_not_allowed",
                "This address does not take this method.",
            )
            .with_header("allow", allowed)
        })
}

fn takes_body(method: &str) -> bool {
    matches!(method, "POST" | "PUT" | "PATCH")
}

async fn accepted_body(
    incoming: &Incoming,
    read_body: impl AsyncFnOnce(usize) -> Result<Vec<u8>, BodyError>,
) -> Result<Vec<u8>, Problem> {
    let too_large = || Problem::new(413, "body_too_large", "The body is larger than 1 MiB.");
    let announced = incoming
        .header("content-length")
        .and_then(|length| length.parse::<u64>().ok());
    if announced.is_some_and(|length| length > MAX_BODY_BYTES as u64) {
        return Err(too_large());
    }
    let body = read_body(MAX_BODY_BYTES)
        .await
        .map_err(|error| match error {
            BodyError::TooLarge => too_large(),
            BodyError::Broken => Problem::new(
                400,
                "malformed_json",
                "The connection ended before the body was complete.",
            ),
        })?;
    let coding = incoming.header("content-encoding").unwrap_or_default();
    if !coding.trim().is_empty() && !coding.trim().eq_ignore_ascii_case("identity") {
        let unknown = Problem::new(
            415,
            "unsupported_media_type",
            "The body must be sent without a content encoding.",
        );
        return Err(unknown.with_header("accept-encoding", "identity".to_owned()));
    }
    let content_type = incoming.header("content-type").unwrap_or_default();
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    if !body.is_empty() && !media_type.eq_ignore_ascii_case("application/json") {
        return Err(Problem::new(
            415,
            "unsupported_media_type",
            "The body must be application/json.",
        ));
    }
    Ok(body)
}

/// The id that the client sent if it is 1 to 128 visible ASCII characters, else the trace id, else a new id.
fn request_id(incoming: &Incoming, trace_parent: &str, ports: &Ports) -> String {
    let usable =
        |id: &&str| (1..=128).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic());
    let sent = incoming.header("x-request-id").filter(usable);
    match sent.or_else(|| trace_id(trace_parent)) {
        Some(id) => id.to_owned(),
        None => ports.new_id().to_string(),
    }
}
