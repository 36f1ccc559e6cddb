//! Requests and responses, independent of the transport.

use super::{FieldProblem, Problem};
use crate::token::{Claims, Role};
use crate::wit::{Actor, Context};
use localmart_kernel::Timestamp;
use serde_json::Value;

/// A request as it arrived, before any check.
#[derive(Clone, Debug, Default)]
pub struct Incoming {
    /// The method in upper case.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// Header names in lower case.
    pub headers: Vec<(String, String)>,
}

impl Incoming {
    /// The first header of this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    /// Target without the query.
    pub fn path(&self) -> &str {
        self.target
            .split_once('?')
            .map_or(&self.target, |(path, _)| path)
    }
}

/// A request that passed all checks: routed, authorised, its body read.
#[derive(Clone, Debug)]
pub struct Request {
    /// The request as it arrived.
    pub incoming: Incoming,
    /// The values of the route's `{names}`, percent-decoded.
    pub params: Vec<(String, String)>,
    /// The bytes of the body.
    pub body: Vec<u8>,
    /// The claims of the verified token, if the request has a token.
    pub claims: Option<Claims>,
    /// When the request arrived.
    pub at: Timestamp,
}

impl Request {
    /// The value of `{name}` in the route.
    pub fn param(&self, name: &str) -> &str {
        let found = self.params.iter().find(|(known, _)| known == name);
        found.map_or("", |(_, value)| value.as_str())
    }

    /// The first header of this name (lower case).
    pub fn header(&self, name: &str) -> Option<&str> {
        self.incoming.header(name)
    }

    /// The IP address of the client, as the host reports it; empty if it does not.
    pub fn client_ip(&self) -> &str {
        let address = self.header("spin-client-addr").unwrap_or_default();
        let ip = address.rsplit_once(':').map_or(address, |(ip, _)| ip);
        ip.trim_start_matches('[').trim_end_matches(']')
    }

    /// The W3C `traceparent` of the request; empty if it has none.
    pub fn trace_parent(&self) -> &str {
        self.header("traceparent").unwrap_or_default()
    }

    /// The context that calls to other services carry.
    pub fn context(&self) -> Context {
        let actor = match &self.claims {
            None => Actor::Anonymous,
            Some(Claims { subject, role, .. }) => match role {
                Role::Customer => Actor::Customer(subject.clone()),
                Role::Staff => Actor::Staff(subject.clone()),
                Role::Admin => Actor::Admin(subject.clone()),
            },
        };
        Context {
            trace_parent: self.trace_parent().to_owned(),
            actor,
            deadline: u64::try_from(self.at.plus_ms(REQUEST_MS).ms()).unwrap_or_default(),
        }
    }

    /// Whether the caller has this role or a higher one.
    pub fn has_role(&self, role: Role) -> bool {
        self.claims
            .as_ref()
            .is_some_and(|claims| claims.role >= role)
    }

    /// The versions in `If-Match` (RFC 9110, section 13.1.1). `*` allows every version, like no header.
    pub fn if_match(&self) -> Option<IfMatch> {
        let headers = self.incoming.headers.iter();
        let lines = headers.filter(|(name, _)| name == "if-match");
        let tags: Vec<&str> = lines
            .flat_map(|(_, value)| value.split(','))
            .map(str::trim)
            .collect();
        let restricts = !tags.is_empty() && !tags.contains(&"*");
        restricts.then(|| IfMatch::new(tags.into_iter().filter_map(strong_version)))
    }

    /// Whether `If-None-Match` names this entity tag, so that a GET is answered with 304 (RFC 9110, section 13.1.2).
    pub fn has_copy(incoming: &Incoming, etag: &str) -> bool {
        let weak = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
        let headers = incoming.headers.iter();
        let lines = headers.filter(|(name, _)| name == "if-none-match");
        let mut tags = lines.flat_map(|(_, value)| value.split(','));
        tags.any(|tag| tag.trim() == "*" || weak(tag) == weak(etag))
    }

    /// The decoded query parameters. An unknown or repeated parameter is 422, like an unknown field of a body.
    pub fn query(&self, known: &[&str]) -> Result<Query, Problem> {
        let text = self
            .incoming
            .target
            .split_once('?')
            .map_or("", |(_, query)| query);
        let mut values: Vec<(String, String)> = Vec::new();
        let mut errors = Vec::new();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (name, value) = (percent_decode(name, true), percent_decode(value, true));
            let (Some(name), Some(value)) = (name, value) else {
                errors.push(query_problem(
                    pair,
                    "invalid",
                    "is not percent-encoded UTF-8",
                ));
                continue;
            };
            if !known.contains(&name.as_str()) {
                errors.push(query_problem(
                    &name,
                    "unknown_field",
                    "is not a parameter of this list",
                ));
            } else if values.iter().any(|(there, _)| *there == name) {
                errors.push(query_problem(&name, "repeated", "is given twice"));
            } else {
                values.push((name, value));
            }
        }
        if errors.is_empty() {
            Ok(Query { values, errors })
        } else {
            Err(Problem::invalid(errors))
        }
    }
}

/// How long a request may take, in milliseconds: the default of the host, which then answers 504. Calls to other services
/// stop waiting at the same time.
const REQUEST_MS: i64 = 30_000;

/// How many versions of an `If-Match` header are compared.
const MAX_VERSIONS: usize = 16;

/// The versions that a change may start from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IfMatch([Option<u64>; MAX_VERSIONS]);

impl IfMatch {
    fn new(versions: impl Iterator<Item = u64>) -> Self {
        let mut known = [None; MAX_VERSIONS];
        for (place, version) in known.iter_mut().zip(versions) {
            *place = Some(version);
        }
        Self(known)
    }

    /// Whether a change may start from this version.
    pub fn allows(&self, version: u64) -> bool {
        self.0.contains(&Some(version))
    }
}

impl From<u64> for IfMatch {
    fn from(version: u64) -> Self {
        Self::new(std::iter::once(version))
    }
}

/// The version in an entity tag of the shop, which is strong.
fn strong_version(tag: &str) -> Option<u64> {
    let version = tag.strip_prefix('"')?.strip_suffix('"')?;
    version.parse().ok()
}

/// The decoded query parameters of a request.
pub struct Query {
    values: Vec<(String, String)>,
    errors: Vec<FieldProblem>,
}

impl Query {
    /// Reads one parameter; a value that `parse` refuses becomes an entry of the 422.
    pub fn get<T>(
        &mut self,
        name: &str,
        expected: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let (_, value) = self.values.iter().find(|(known, _)| known == name)?;
        let parsed = parse(value);
        if parsed.is_none() {
            self.errors.push(query_problem(name, "invalid", expected));
        }
        parsed
    }

    /// 422 with every invalid parameter, if there is one.
    pub fn finish(self) -> Result<(), Problem> {
        if self.errors.is_empty() {
            Ok(())
        } else {
            Err(Problem::invalid(self.errors))
        }
    }
}

fn query_problem(field: &str, code: &str, detail: &str) -> FieldProblem {
    FieldProblem {
        field: field.chars().take(100).collect(),
        code: code.to_owned(),
        detail: detail.to_owned(),
    }
}

/// Decodes percent-encoding (RFC 3986); `+` is a space in a query. `None` if the text is not well formed or not UTF-8.
pub fn percent_decode(text: &str, plus_is_space: bool) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digits = [rest.next()?, rest.next()?];
                let digits = std::str::from_utf8(&digits).ok()?;
                if !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
                    return None;
                }
                u8::from_str_radix(digits, 16).ok()?
            }
            b'+' if plus_is_space => b' ',
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

/// A response with its whole body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// Header names in lower case.
    pub headers: Vec<(String, String)>,
    /// The bytes of the body.
    pub body: Vec<u8>,
    /// Whether the response is stored under the idempotency key of its request.
    pub stored_with_key: bool,
}

impl Response {
    /// A response with a body of any type.
    pub fn bytes(status: u16, content_type: &str, body: Vec<u8>) -> Self {
        Self {
            status,
            headers: vec![("content-type".to_owned(), content_type.to_owned())],
            body,
            stored_with_key: status < 300,
        }
    }

    /// A response with a JSON body.
    pub fn json(status: u16, body: &Value) -> Self {
        Self::bytes(status, "application/json", body.to_string().into_bytes())
    }

    /// A page of a list.
    pub fn page(items: Vec<Value>, next_cursor: Option<String>) -> Self {
        Self::json(
            200,
            &serde_json::json!({ "items": items, "next_cursor": next_cursor }),
        )
    }

    /// 204 without a body.
    pub fn no_content() -> Self {
        Self {
            status: 204,
            headers: Vec::new(),
            body: Vec::new(),
            stored_with_key: true,
        }
    }

    /// Lets caches keep the response if they ask each time whether it is still current. For public data; the answer to a
    /// request with a token stays private.
    #[must_use]
    pub fn for_caches(self, request: &Request) -> Self {
        match request.claims {
            None => self
                .with_header("cache-control", "no-cache")
                .with_header("vary", "authorization"),
            Some(_) => self,
        }
    }

    /// Adds a header (name in lower case).
    #[must_use]
    pub fn with_header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// Adds the version as a strong `ETag`.
    #[must_use]
    pub fn with_version(self, version: u64) -> Self {
        self.with_header("etag", format!("\"{version}\""))
    }
}
