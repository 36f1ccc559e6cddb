//! The SQL of user.

use crate::domain::{Profile, User};
use localmart_events::{EventData as _, UserChanged};
use localmart_guest::audit;
use localmart_guest::events::{Event, outbox};
use localmart_guest::kernel::{Address, Cursor, Id, Limit, Timestamp};
use localmart_guest::ports::Ports;
use localmart_guest::sql::{
    Connection, Database, Decoded, Row, SqlError, Stored as _, Value, decode_rows, transaction,
};
use localmart_guest::token::Role;
use localmart_guest::wit::Context;
use localmart_guest::{columns, params};
use serde_json::json;

// Password and e-mail key have statements of their own.
columns! {
    impl User in "users" { id, email, profile, role, version, created_at, updated_at }
}

columns! {
    impl Profile { name, phone, addresses, preferences }
}

/// The result of using a refresh token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RefreshOutcome {
    /// The token was used now: its session and the user.
    Rotated(Id, Id),
    /// The token was used before; its session.
    Reused(Id),
    /// There is no such token, or its session has ended.
    Invalid,
}

#[derive(Clone)]
pub(crate) struct Store<D> {
    database: D,
    ports: Ports,
}

/// The result of a change that may not remove the last administrator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Guarded {
    Done,
    /// The user has another version or role, or was erased.
    Changed,
    LastAdmin,
}

impl<D: Database> Store<D> {
    pub(crate) fn new(database: D, ports: Ports) -> Self {
        Self { database, ports }
    }

    pub(crate) async fn by_id(&self, id: &Id) -> Result<Option<User>, SqlError> {
        let sql = User::select("WHERE id = $1 AND erased_at IS NULL");
        let rows = self.database.open().await?.query(&sql, params![id]).await?;
        rows.first().map(User::of_row).transpose()
    }

    /// The user with this address, and the hash of the password.
    pub(crate) async fn by_email(&self, key: &str) -> Result<Option<(User, String)>, SqlError> {
        let columns = User::columns().join(", ");
        let sql = format!("SELECT {columns}, password_hash FROM users WHERE email_key = $1");
        let rows = self
            .database
            .open()
            .await?
            .query(&sql, params![key])
            .await?;
        let with_hash = |row: &Row| Ok((User::of_row(row)?, row.get("password_hash")?));
        rows.first().map(with_hash).transpose()
    }

    pub(crate) async fn list(
        &self,
        limit: Limit,
        after: Option<&Cursor>,
    ) -> Result<Decoded<User>, SqlError> {
        let (sql, params) = list_statement(limit, after);
        let rows = self.database.open().await?.query(&sql, &params).await?;
        Ok(decode_rows("users", &rows, User::of_row))
    }

    /// Writes a new user; `false` if the address is taken.
    pub(crate) async fn insert(
        &self,
        context: &Context,
        user: &User,
        key: &str,
        hash: &str,
    ) -> Result<bool, SqlError> {
        let sql = "INSERT INTO users (id, email, email_key, password_hash, name, phone, addresses, preferences, role, version, \
                   created_at, updated_at, erased_at) VALUES ($1, $2, $3, $4, \
                   $5, NULL, '[]', '{}', $6, 1, $7, $7, NULL) \
                   ON CONFLICT DO NOTHING";
        let params: &[Value] = params![
            &user.id,
            user.email.as_str(),
            key,
            hash,
            user.profile.name.clone(),
            user.role.name(),
            user.created_at
        ];
        transaction(&self.database, async |connection| {
            if connection.execute(sql, params).await? == 0 {
                return Ok(false);
            }
            self.record_event(
                connection,
                context,
                &user.id,
                "user.created",
                1,
                user.created_at,
            )
            .await?;
            self.audit(
                connection,
                context,
                &user.id,
                "user.registered",
                user.role.name(),
            )
            .await?;
            Ok(true)
        })
        .await
    }

    /// Writes a profile over its previous version.
    pub(crate) async fn update_profile(
        &self,
        context: &Context,
        user: &User,
    ) -> Result<bool, SqlError> {
        let sql = "UPDATE users SET name = $3, phone = $4, addresses = $5, \
                   preferences = $6, version = $2, updated_at = $7 \
                   WHERE id = $1 AND version = $2 - 1 AND erased_at IS NULL";
        let profile = &user.profile;
        let addresses: Vec<_> = profile.addresses.iter().map(Address::to_json).collect();
        let params: &[Value] = params![
            &user.id,
            user.version,
            profile.name.clone(),
            profile.phone.clone(),
            json!(addresses).to_string(),
            json!(profile.preferences).to_string(),
            user.updated_at
        ];
        self.write(context, user, sql, params, None).await
    }

    /// Writes a role over its previous version.
    pub(crate) async fn update_role(
        &self,
        context: &Context,
        user: &User,
        from: Role,
    ) -> Result<Guarded, SqlError> {
        let sql = "UPDATE users SET role = $3, version = $2, updated_at = $4 \
                   WHERE id = $1 AND version = $2 - 1 AND erased_at IS NULL";
        let params: &[Value] = params![&user.id, user.version, user.role.name(), user.updated_at];
        let detail = format!("{} → {}", from.name(), user.role.name());
        transaction(&self.database, async |connection| {
            if from == Role::Admin && !has_another_admin(connection).await? {
                return Ok(Guarded::LastAdmin);
            }
            if connection.execute(sql, params).await? == 0 {
                return Ok(Guarded::Changed);
            }
            let (version, now) = (user.version, user.updated_at);
            self.record_event(connection, context, &user.id, "user.updated", version, now)
                .await?;
            self.audit(connection, context, &user.id, "user.role", &detail)
                .await?;
            Ok(Guarded::Done)
        })
        .await
    }

    /// A conditional change to a user, with its event and optionally an entry in the audit log (action and detail).
    async fn write(
        &self,
        context: &Context,
        user: &User,
        sql: &str,
        params: &[Value],
        audited: Option<(&str, &str)>,
    ) -> Result<bool, SqlError> {
        transaction(&self.database, async |connection| {
            if connection.execute(sql, params).await? == 0 {
                return Ok(false);
            }
            let (version, now) = (user.version, user.updated_at);
            self.record_event(connection, context, &user.id, "user.updated", version, now)
                .await?;
            if let Some((action, detail)) = audited {
                self.audit(connection, context, &user.id, action, detail)
                    .await?;
            }
            Ok(true)
        })
        .await
    }

    /// Deletes all personal data of a user. The row itself stays.
    pub(crate) async fn erase(&self, context: &Context, user: &User) -> Result<Guarded, SqlError> {
        let (now, id) = (self.ports.now(), &user.id);
        transaction(&self.database, async |connection| {
            if user.role == Role::Admin && !has_another_admin(connection).await? {
                return Ok(Guarded::LastAdmin);
            }
            let sql = "UPDATE users SET email = '', email_key = NULL, password_hash = NULL, name = NULL, phone = NULL, addresses = '[]', \
                       preferences = '{}', role = 'customer', version = version + 1, updated_at = $2, \
                       erased_at = $2 WHERE id = $1 AND role = $3 \
                       AND erased_at IS NULL RETURNING version";
            let rows = connection.query(sql, params![id, now, user.role.name()]).await?;
            let Some(row) = rows.first() else {
                return Ok(Guarded::Changed);
            };
            self.record_event(connection, context, id, "user.updated", row.get("version")?, now).await?;
            self.audit(connection, context, id, "user.erased", "").await?;
            Ok(Guarded::Done)
        })
        .await
    }

    /// Writes a session, if the user is still as described; `false` otherwise. The row of the user is locked, so that a
    /// change of the role that comes later finds the session and ends it.
    pub(crate) async fn begin_session(
        &self,
        session: &Id,
        user: &User,
        refresh: &str,
        now: Timestamp,
        end: Timestamp,
    ) -> Result<bool, SqlError> {
        transaction(&self.database, async |connection| {
            let sql = "UPDATE users SET version = version WHERE id = $1 AND version = $2 \
                       AND erased_at IS NULL";
            if connection.execute(sql, params![&user.id, user.version]).await? == 0 {
                return Ok(false);
            }
            let sql = "INSERT INTO sessions (id, user_id, created_at, expires_at, revoked_at) VALUES ($1, $2, \
                       $3, $4, NULL)";
            connection.execute(sql, params![session, &user.id, now, end]).await?;
            add_refresh(connection, refresh, session).await?;
            Ok(true)
        })
        .await
    }

    /// Marks a refresh token as used and writes the next one, if the session has not ended.
    pub(crate) async fn rotate(
        &self,
        refresh: &str,
        next: &str,
        now: Timestamp,
        end: Timestamp,
    ) -> Result<RefreshOutcome, SqlError> {
        transaction(&self.database, async |connection| {
            let sql = "UPDATE refresh_tokens SET spent_at = $2 WHERE hash = $1 AND spent_at IS NULL \
                       RETURNING session_id";
            let used = connection.query(sql, params![refresh, now]).await?;
            let Some(row) = used.first() else {
                let sql = "SELECT session_id FROM refresh_tokens WHERE hash = $1";
                let rows = connection.query(sql, params![refresh]).await?;
                return match rows.first() {
                    Some(row) => Ok(RefreshOutcome::Reused(row.get("session_id")?)),
                    None => Ok(RefreshOutcome::Invalid),
                };
            };
            let session: Id = row.get("session_id")?;
            let sql = "UPDATE sessions SET expires_at = $3 WHERE id = $1 AND revoked_at IS NULL \
                       AND expires_at > $2 RETURNING user_id";
            let rows = connection.query(sql, params![&session, now, end]).await?;
            let Some(row) = rows.first() else {
                return Ok(RefreshOutcome::Invalid);
            };
            let user = row.get("user_id")?;
            add_refresh(connection, next, &session).await?;
            Ok(RefreshOutcome::Rotated(session, user))
        })
        .await
    }

    /// The session of a refresh token, used or not, and the user.
    pub(crate) async fn session_of(&self, refresh: &str) -> Result<Option<(Id, Id)>, SqlError> {
        let sql = "SELECT s.id, s.user_id FROM refresh_tokens r JOIN sessions s ON s.id = r.session_id WHERE r.hash = $1";
        let rows = self
            .database
            .open()
            .await?
            .query(sql, params![refresh])
            .await?;
        rows.first()
            .map(|row| Ok((row.get("id")?, row.get("user_id")?)))
            .transpose()
    }

    pub(crate) async fn live_sessions(
        &self,
        user: &Id,
        now: Timestamp,
    ) -> Result<Vec<Id>, SqlError> {
        let sql =
            "SELECT id FROM sessions WHERE user_id = $1 AND revoked_at IS NULL AND expires_at > $2";
        let rows = self
            .database
            .open()
            .await?
            .query(sql, params![user, now])
            .await?;
        rows.iter().map(|row| row.get("id")).collect()
    }

    /// The times of a user's sessions, for the export.
    pub(crate) async fn session_times(
        &self,
        user: &Id,
    ) -> Result<Vec<(Timestamp, Timestamp)>, SqlError> {
        let sql = "SELECT created_at, expires_at FROM sessions WHERE user_id = $1 ORDER BY created_at DESC LIMIT 100";
        let rows = self
            .database
            .open()
            .await?
            .query(sql, params![user])
            .await?;
        rows.iter()
            .map(|row| Ok((row.get("created_at")?, row.get("expires_at")?)))
            .collect()
    }

    pub(crate) async fn end_session(&self, session: &Id, now: Timestamp) -> Result<(), SqlError> {
        let sql = "UPDATE sessions SET revoked_at = $2 WHERE id = $1 AND revoked_at IS NULL";
        let connection = self.database.open().await?;
        connection
            .execute(sql, params![session, now])
            .await
            .map(drop)
    }

    /// Deletes expired sessions with their tokens.
    pub(crate) async fn forget_sessions(&self, now: Timestamp) -> Result<(), SqlError> {
        transaction(&self.database, async |connection| {
            let sql = "DELETE FROM refresh_tokens WHERE session_id IN (SELECT id FROM sessions WHERE expires_at <= $1)";
            connection.execute(sql, params![now]).await?;
            let sql = "DELETE FROM sessions WHERE expires_at <= $1";
            connection.execute(sql, params![now]).await.map(drop)
        })
        .await
    }

    /// Writes the event of a new or changed user. It contains the id only; other services ask for further data.
    async fn record_event(
        &self,
        connection: &impl Connection,
        context: &Context,
        id: &Id,
        kind: &str,
        version: u64,
        now: Timestamp,
    ) -> Result<(), SqlError> {
        let event = Event::new(
            &self.ports.new_id(),
            kind,
            "user",
            id.as_str(),
            version,
            now,
        );
        let data = UserChanged {
            user_id: id.to_string(),
            version,
        };
        let event = event.with(data.to_value());
        outbox::record(connection, &event.in_trace(&context.trace_parent), now).await
    }

    async fn audit(
        &self,
        connection: &impl Connection,
        context: &Context,
        id: &Id,
        action: &str,
        detail: &str,
    ) -> Result<(), SqlError> {
        let deed = self.ports.new_id();
        audit::record(
            connection,
            &deed,
            context,
            id.as_str(),
            action,
            detail,
            self.ports.now(),
        )
        .await
    }
}

/// The query of a page. It continues after a key instead of an offset, so that page 1000 costs as much as page 1.
pub(crate) fn list_statement(limit: Limit, after: Option<&Cursor>) -> (String, Vec<Value>) {
    let mut params: Vec<Value> = vec![limit.probe().into()];
    let mut beyond = "";
    if let Some(after) = after {
        params.push(after.key.parse::<i64>().unwrap_or_default().into());
        params.push(Value::from(&after.id));
        beyond = " AND (created_at, id) < ($2, $3)";
    }
    let rest =
        format!("WHERE erased_at IS NULL{beyond} ORDER BY created_at DESC, id DESC LIMIT $1");
    (User::select(&rest), params)
}

/// Whether there are two administrators or more. Their rows are locked, so that two changes at once cannot remove both.
async fn has_another_admin(connection: &impl Connection) -> Result<bool, SqlError> {
    let sql = "UPDATE users SET version = version WHERE role = 'admin' AND erased_at IS NULL";
    Ok(connection.execute(sql, params![]).await? > 1)
}

async fn add_refresh(
    connection: &impl Connection,
    hash: &str,
    session: &Id,
) -> Result<(), SqlError> {
    let sql = "INSERT INTO refresh_tokens (hash, session_id, spent_at) VALUES ($1, $2, NULL)";
    connection
        .execute(sql, params![hash, session])
        .await
        .map(drop)
}
