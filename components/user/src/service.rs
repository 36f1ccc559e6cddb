//! The operations on users: registration, profile, roles, erasure. Login is in [`crate::login`].

use crate::DECLARED;
use crate::domain::{ADMIN_EMAIL, Profile, ProfilePatch, User, email_key, hash};
use crate::login::{Failures, Sessions};
use crate::store::{Guarded, Store};
use localmart_guest::config::{self, ConfigError};
use localmart_guest::http::IfMatch;
use localmart_guest::kernel::page::page;
use localmart_guest::kernel::{Asker, Cursor, Id, Limit};
use localmart_guest::ports::Ports;
use localmart_guest::service::Wire;
use localmart_guest::short_lived::{ShortLived, StoreError};
use localmart_guest::sql::{Database, SqlError};
use localmart_guest::token::Role;
use localmart_guest::token::TokenSigner;
use localmart_guest::wit::Context;

/// The name of the sort order in cursors.
pub(crate) const LIST_ORDER: &str = "newest";

/// Why an operation failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UserError {
    #[error("there is no such user")]
    NotFound,
    #[error("the e-mail address is already registered")]
    EmailTaken,
    #[error("e-mail address or password is wrong")]
    InvalidCredentials,
    #[error("too many attempts; wait {0} s")]
    TooManyAttempts(i64),
    #[error("the refresh token is not valid")]
    InvalidToken,
    #[error("it was changed in the meantime")]
    VersionConflict,
    #[error("the shop needs at least one administrator")]
    LastAdmin,
    #[error("the password cannot be hashed")]
    Hash,
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Sql(#[from] SqlError),
}

pub(crate) type Result<T> = std::result::Result<T, UserError>;

/// The operations on users.
pub(crate) struct Users<D, K> {
    pub(crate) store: Store<D>,
    pub(crate) sessions: Sessions<D, K>,
    pub(crate) failures: Failures<K>,
    ports: Ports,
    admin_password: String,
}

impl<D, K> Wire for Users<D, K>
where
    D: Database + From<&'static str>,
    K: ShortLived + Default + Clone + 'static,
{
    async fn wire(ports: Ports) -> std::result::Result<Self, ConfigError> {
        let tokens = TokenSigner::parse(&config::text("jwt_private_key").await?);
        let expected = "an Ed25519 key in base64url";
        let tokens = tokens.ok_or(ConfigError::Invalid("jwt_private_key", expected))?;
        let password = config::text("admin_password").await?;
        Ok(Self::new(
            D::from(DECLARED.noun),
            K::default(),
            tokens,
            ports,
            password,
        ))
    }
}

/// The users as other services see them. It needs no key, so a service that is fused with this one gets none.
pub(crate) struct Contacts<D> {
    store: Store<D>,
}

impl<D: Database + From<&'static str>> Wire for Contacts<D> {
    async fn wire(ports: Ports) -> std::result::Result<Self, ConfigError> {
        let store = Store::new(D::from(DECLARED.noun), ports);
        Ok(Self { store })
    }
}

impl<D: Database> Contacts<D> {
    /// The user with this id, if there is one and it is open to this asker.
    pub(crate) async fn get(
        &self,
        id: &Id,
        asker: &Asker,
    ) -> std::result::Result<Option<User>, SqlError> {
        let user = self.store.by_id(id).await?;
        Ok(user.filter(|user| user.is_open_to(asker)))
    }
}

impl<D: Database, K: ShortLived + Clone> Users<D, K> {
    pub(crate) fn new(
        database: D,
        values: K,
        tokens: TokenSigner,
        ports: Ports,
        admin_password: String,
    ) -> Self {
        let store = Store::new(database, ports.clone());
        Self {
            sessions: Sessions::new(store.clone(), values.clone(), tokens, ports.clone()),
            failures: Failures::new(values, ports.clone()),
            store,
            ports,
            admin_password,
        }
    }

    /// Deletes what is left of sessions that have ended.
    pub(crate) async fn forget_sessions(&self) -> Result<()> {
        Ok(self.store.forget_sessions(self.ports.now()).await?)
    }

    /// Registers a customer.
    pub(crate) async fn register(
        &self,
        context: &Context,
        email: &str,
        password: &str,
        name: Option<String>,
    ) -> Result<User> {
        if email_key(email) == ADMIN_EMAIL {
            return Err(UserError::EmailTaken);
        }
        self.insert(context, email, password, name, Role::Customer)
            .await
    }

    async fn insert(
        &self,
        context: &Context,
        email: &str,
        password: &str,
        name: Option<String>,
        role: Role,
    ) -> Result<User> {
        let (key, now) = (email_key(email), self.ports.now());
        if self.store.by_email(&key).await?.is_some() {
            return Err(UserError::EmailTaken);
        }
        let hash = hash(password, &self.ports.secret()).ok_or(UserError::Hash)?;
        let user = User {
            id: self.ports.new_id(),
            email: email.trim().to_owned(),
            profile: Profile {
                name,
                ..Profile::default()
            },
            role,
            version: 1,
            created_at: now,
            updated_at: now,
        };
        if self.store.insert(context, &user, &key, &hash).await? {
            Ok(user)
        } else {
            Err(UserError::EmailTaken)
        }
    }

    /// Creates the first administrator if there is none.
    pub(crate) async fn ensure_admin(&self, context: &Context) -> Result<()> {
        if self.store.by_email(ADMIN_EMAIL).await?.is_some() {
            return Ok(());
        }
        let made = self.insert(
            context,
            ADMIN_EMAIL,
            &self.admin_password,
            None,
            Role::Admin,
        );
        match made.await {
            Ok(_) | Err(UserError::EmailTaken) => Ok(()),
            Err(error) => Err(error),
        }
    }

    pub(crate) async fn get(&self, id: &str) -> Result<User> {
        let id = Id::parse(id).ok_or(UserError::NotFound)?;
        self.store.by_id(&id).await?.ok_or(UserError::NotFound)
    }

    pub(crate) async fn patch(
        &self,
        context: &Context,
        id: &str,
        patch: ProfilePatch,
        if_match: Option<IfMatch>,
    ) -> Result<User> {
        let user = self.get(id).await?;
        if if_match.is_some_and(|versions| !versions.allows(user.version)) {
            return Err(UserError::VersionConflict);
        }
        let changed = User {
            profile: patch.onto(user.profile),
            version: user.version + 1,
            updated_at: self.ports.now(),
            ..user
        };
        if self.store.update_profile(context, &changed).await? {
            Ok(changed)
        } else {
            Err(UserError::VersionConflict)
        }
    }

    /// A page of users, newest first, and the cursor of the next page.
    pub(crate) async fn list(
        &self,
        limit: Limit,
        after: Option<&Cursor>,
    ) -> Result<(Vec<User>, Option<String>)> {
        let found = self.store.list(limit, after).await?;
        Ok(page(found.items, found.rows, limit, |last| Cursor {
            order: LIST_ORDER.to_owned(),
            key: last.created_at.ms().to_string(),
            id: last.id.to_string(),
        }))
    }

    /// Changes the role of a user. Existing tokens contain the old role, so all sessions end.
    pub(crate) async fn set_role(
        &self,
        context: &Context,
        id: &str,
        role: Role,
        if_match: Option<IfMatch>,
    ) -> Result<User> {
        let user = self.get(id).await?;
        if if_match.is_some_and(|versions| !versions.allows(user.version)) {
            return Err(UserError::VersionConflict);
        }
        if user.role == role {
            return Ok(user);
        }
        let changed = User {
            role,
            version: user.version + 1,
            updated_at: self.ports.now(),
            ..user.clone()
        };
        guarded(self.store.update_role(context, &changed, user.role).await?)?;
        // After the change: a login under way sees the new role, or has a session that ends here.
        self.sessions.end_all(&user.id).await?;
        Ok(changed)
    }

    /// Erases the personal data of a user (GDPR, article 17). Other services keep records that the law requires, such as
    /// invoices.
    pub(crate) async fn erase(&self, context: &Context, id: &str) -> Result<()> {
        let user = self.get(id).await?;
        guarded(self.store.erase(context, &user).await?)?;
        // After the change: a login under way fails, or has a session that ends here.
        self.sessions.end_all(&user.id).await
    }
}

fn guarded(outcome: Guarded) -> Result<()> {
    match outcome {
        Guarded::Done => Ok(()),
        Guarded::Changed => Err(UserError::VersionConflict),
        Guarded::LastAdmin => Err(UserError::LastAdmin),
    }
}
