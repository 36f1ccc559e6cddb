//! The HTTP API of users: registration, login, profile, user management.

use crate::DECLARED;
use crate::domain::{MAX_ADDRESSES, MAX_PREFERENCES, ProfilePatch, User};
use crate::login::{ACCESS_S, TokenPair};
use crate::service::{LIST_ORDER, UserError, Users};
use localmart_guest::http::decode::{address, email, text};
use localmart_guest::http::{Access, Answer, Fields, Invalid, Problem, Request, Response, Routes};
use localmart_guest::kernel::{Address, Cursor, Limit};
use localmart_guest::service::{Declared, Service};
use localmart_guest::short_lived::ShortLived;
use localmart_guest::sql::Database;
use localmart_guest::token::Role;
use localmart_guest::wit::Context;
use serde_json::{Map, Value, json};
use std::rc::Rc;

impl<D, K> Service for Users<D, K>
where
    D: Database + From<&'static str>,
    K: ShortLived + Default + Clone + 'static,
{
    const DECLARED: Declared = DECLARED;

    fn routes() -> Routes<Self> {
        let (user, admin) = (Access::Only(Role::Customer), Access::Only(Role::Admin));
        Routes::new()
            .on("POST", "/api/auth/register", Access::All, register)
            .keys_by_body()
            .on("POST", "/api/auth/login", Access::All, log_in)
            .keys_by_body()
            .on("POST", "/api/auth/refresh", Access::All, refresh)
            .keys_by_body()
            .on("POST", "/api/auth/logout", user, log_out)
            .on("GET", "/api/users/me", user, me)
            .on("PATCH", "/api/users/me", user, patch)
            .on("DELETE", "/api/users/me", user, erase)
            .on("GET", "/api/users/me/export", user, export)
            .on("GET", "/api/users", admin, list)
            .on("PATCH", "/api/users/{id}", admin, set_roles)
    }

    async fn sweep(&self, context: &Context) -> Result<Map<String, Value>, Problem> {
        self.ensure_admin(context).await?;
        self.forget_sessions().await?;
        Ok(Map::new())
    }
}

type Api<D, K> = Rc<Users<D, K>>;

async fn register<D: Database, K: ShortLived + Clone>(api: Api<D, K>, request: Request) -> Answer {
    let mut fields = Fields::of_body(&request.body)?;
    let email = fields.required("email", email);
    let password = fields.required("password", password(10));
    let name = fields.optional("name", text(1, 200));
    let (email, password) = fields.finish(email.zip(password))?;
    let context = request.context();
    let user = api.register(&context, &email, &password, name).await?;
    let (user, pair) = api.sessions.begin(user).await?;
    Ok(tokens(201, &user, &pair))
}

async fn log_in<D: Database, K: ShortLived + Clone>(api: Api<D, K>, request: Request) -> Answer {
    let mut fields = Fields::of_body(&request.body)?;
    let email = fields.required("email", text(1, 254));
    let password = fields.required("password", password(1));
    let (email, password) = fields.finish(email.zip(password))?;
    if crate::domain::email_key(&email) == crate::domain::ADMIN_EMAIL {
        api.ensure_admin(&request.context()).await?;
    }
    let user = api.log_in(&email, &password, request.client_ip()).await?;
    let (user, pair) = api.sessions.begin(user).await?;
    Ok(tokens(200, &user, &pair))
}

async fn refresh<D: Database, K: ShortLived + Clone>(api: Api<D, K>, request: Request) -> Answer {
    let presented = refresh_token(&request)?;
    let (user, pair) = api.sessions.refresh(&presented).await?;
    Ok(tokens(200, &user, &pair))
}

async fn log_out<D: Database, K: ShortLived + Clone>(api: Api<D, K>, request: Request) -> Answer {
    let presented = refresh_token(&request)?;
    let shown = request
        .claims
        .as_ref()
        .and_then(|claims| claims.session.as_deref());
    api.sessions
        .log_out(subject(&request), &presented, shown)
        .await?;
    Ok(Response::no_content())
}

async fn me<D: Database, K: ShortLived + Clone>(api: Api<D, K>, request: Request) -> Answer {
    request.query(&[])?.finish()?;
    Ok(respond(&api.get(subject(&request)).await?))
}

async fn patch<D: Database, K: ShortLived + Clone>(api: Api<D, K>, request: Request) -> Answer {
    let mut fields = Fields::of_body(&request.body)?;
    let patch = ProfilePatch {
        name: fields.patch("name", text(1, 200)),
        phone: fields.patch("phone", phone),
        addresses: fields
            .patch("addresses", addresses)
            .map(Option::unwrap_or_default),
        preferences: fields
            .patch("preferences", preferences)
            .map(Option::unwrap_or_default),
    };
    let patch = fields.finish(Some(patch))?;
    let (context, if_match) = (request.context(), request.if_match());
    Ok(respond(
        &api.patch(&context, subject(&request), patch, if_match)
            .await?,
    ))
}

async fn erase<D: Database, K: ShortLived + Clone>(api: Api<D, K>, request: Request) -> Answer {
    api.erase(&request.context(), subject(&request)).await?;
    Ok(Response::no_content())
}

/// Exports all data that this service has about a user (GDPR, article 20). Orders have their own API.
async fn export<D: Database, K: ShortLived + Clone>(api: Api<D, K>, request: Request) -> Answer {
    request.query(&[])?.finish()?;
    let user = api.get(subject(&request)).await?;
    let sessions = api
        .store
        .session_times(&user.id)
        .await
        .map_err(UserError::from)?;
    let session =
        |(begun, ends): &(_, _)| json!({ "created_at": time(*begun), "expires_at": time(*ends) });
    let body = json!({
        "user": encode(&user),
        "sessions": sessions.iter().map(session).collect::<Vec<_>>(),
        "related": { "orders": "/api/orders", "cart": "/api/carts/mine" },
    });
    let attachment = "attachment; filename=\"localmart-export.json\"";
    Ok(Response::json(200, &body).with_header("content-disposition", attachment))
}

async fn list<D: Database, K: ShortLived + Clone>(api: Api<D, K>, request: Request) -> Answer {
    let mut query = request.query(&["limit", "cursor"])?;
    let limit = query
        .get("limit", "must be 1 to 100", Limit::parse)
        .unwrap_or_default();
    let cursor = query.get("cursor", "is not a cursor of this list", |text| {
        Cursor::decode_number(text, LIST_ORDER)
    });
    query.finish()?;
    let (users, next) = api.list(limit, cursor.as_ref()).await?;
    Ok(Response::page(users.iter().map(encode).collect(), next))
}

async fn set_roles<D: Database, K: ShortLived + Clone>(api: Api<D, K>, request: Request) -> Answer {
    let mut fields = Fields::of_body(&request.body)?;
    let role = fields.required("roles", roles);
    let role = fields.finish(role)?;
    let (context, if_match) = (request.context(), request.if_match());
    Ok(respond(
        &api.set_role(&context, request.param("id"), role, if_match)
            .await?,
    ))
}

fn subject(request: &Request) -> &str {
    request
        .claims
        .as_ref()
        .map_or("", |claims| claims.subject.as_str())
}

fn refresh_token(request: &Request) -> Result<String, Problem> {
    let mut fields = Fields::of_body(&request.body)?;
    let token = fields.required("refresh_token", text(1, 200));
    fields.finish(token)
}

/// Decodes a password. It is used exactly as written, including spaces.
fn password(least: usize) -> impl Fn(&Value) -> Result<String, Invalid> {
    move |value| {
        let fits = |text: &&str| (least..=128).contains(&text.chars().count());
        let password = value.as_str().filter(fits);
        password
            .map(str::to_owned)
            .ok_or_else(|| Invalid::new(format!("must have {least} to 128 characters")))
    }
}

fn phone(value: &Value) -> Result<String, Invalid> {
    let phone = text(3, 32)(value)?;
    let usual = phone
        .chars()
        .all(|c| c.is_ascii_digit() || "+-() ./".contains(c));
    if usual {
        Ok(phone)
    } else {
        Err(Invalid::new(
            "must consist of digits, spaces, +, -, ( and )",
        ))
    }
}

fn addresses(value: &Value) -> Result<Vec<Address>, Invalid> {
    let wrong = || {
        Invalid::new(format!(
            "must be a list of at most {MAX_ADDRESSES} addresses, each with name, line1, city, postal_code and country"
        ))
    };
    let items = value
        .as_array()
        .filter(|items| items.len() <= MAX_ADDRESSES)
        .ok_or_else(wrong)?;
    let one = |item: &Value| {
        let mut fields = Fields::of_body(item.to_string().as_bytes()).ok()?;
        let address = address(&mut fields);
        fields.finish(address).ok()
    };
    items
        .iter()
        .map(|item| one(item).ok_or_else(wrong))
        .collect()
}

fn preferences(value: &Value) -> Result<Map<String, Value>, Invalid> {
    let simple =
        |value: &Value| value.is_boolean() || value.as_str().is_some_and(|text| text.len() <= 500);
    let fits = |object: &&Map<String, Value>| {
        object.len() <= MAX_PREFERENCES
            && object
                .iter()
                .all(|(name, value)| name.len() <= 100 && simple(value))
    };
    let object = value.as_object().filter(fits);
    object.cloned().ok_or_else(|| {
        Invalid::new(format!(
            "must be an object of at most {MAX_PREFERENCES} texts or booleans"
        ))
    })
}

fn roles(value: &Value) -> Result<Role, Invalid> {
    let wrong = || Invalid::new("must be a non-empty list of customer, staff and admin");
    let names = value.as_array().ok_or_else(wrong)?;
    let roles = names.iter().map(|name| name.as_str().and_then(Role::parse));
    let roles: Option<Vec<Role>> = roles.collect();
    roles
        .and_then(|roles| roles.into_iter().max())
        .ok_or_else(wrong)
}

fn time(time: localmart_guest::kernel::Timestamp) -> String {
    time.to_string()
}

fn respond(user: &User) -> Response {
    Response::json(200, &encode(user)).with_version(user.version)
}

/// The answer to a login. It is not stored under an idempotency key, because tokens must not be stored.
fn tokens(status: u16, user: &User, pair: &TokenPair) -> Response {
    let body = json!({
        "user": encode(user),
        "access_token": pair.access,
        "refresh_token": pair.refresh,
        "token_type": "Bearer",
        "expires_in": ACCESS_S,
    });
    let mut response = Response::json(status, &body).with_header("cache-control", "no-store");
    response.stored_with_key = false;
    response
}

fn encode(user: &User) -> Value {
    let profile = &user.profile;
    json!({
        "id": user.id.as_str(),
        "email": user.email,
        "name": profile.name,
        "phone": profile.phone,
        "addresses": profile.addresses.iter().map(Address::to_json).collect::<Vec<_>>(),
        "preferences": profile.preferences,
        "roles": user.role.names(),
        "version": user.version,
        "created_at": user.created_at.to_string(),
        "updated_at": user.updated_at.to_string(),
    })
}

impl From<UserError> for Problem {
    fn from(error: UserError) -> Self {
        match error {
            UserError::NotFound => Self::not_found("user"),
            UserError::EmailTaken => Self::business(
                409,
                "email_taken",
                "This e-mail address is already registered.",
            ),
            UserError::InvalidCredentials => Self::new(
                401,
                "invalid_credentials",
                "The e-mail address or the password is wrong.",
            ),
            UserError::TooManyAttempts(seconds) => Self::new(
                429,
                "too_many_attempts",
                "Too many wrong passwords; try again later.",
            )
            .with_header("retry-after", seconds.to_string()),
            UserError::InvalidToken => Self::new(
                401,
                "invalid_token",
                "The refresh token is not valid any more; log in again.",
            ),
            UserError::VersionConflict => Self::version_conflict(),
            UserError::LastAdmin => Self::business(
                409,
                "last_admin",
                "The shop needs at least one administrator.",
            ),
            UserError::Hash => Self::internal(),
            UserError::Store(error) => error.into(),
            UserError::Sql(error) => error.into(),
        }
    }
}
