//! The SQL of user.

use crate::domain::{Profile, User};
use localmart_events::{EventData as _, UserChanged};
use localmart_guest::audit;
use localmart_guest::events::{Event, outbox};
use localmart_guest::kernel::{Address, Cursor, Id, Limit, Timestamp};
use localmart_guest::params;
use localmart_guest::ports::Ports;
use localmart_guest::sql::{
    Connection, Database, Decoded, Row, SqlError, Value, decode_rows, transaction,
};
use localmart_guest::token::Role;
use localmart_guest::wit::Context;
use serde_json::json;

const COLUMNS: &str =
    "id, email, name, phone, addresses, preferences, role, version, created_at, updated_at";

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
        let sql = format!(
            "SELECT {COLUMNS} FROM users WHERE id = CAST($1 AS TEXT) AND erased_at IS NULL"
        );
        let rows = self.database.open().await?.query(&sql, params![id]).await?;
        rows.first().map(user).transpose()
    }

    /// The user with this address, and the hash of the password.
    pub(crate) async fn by_email(&self, key: &str) -> Result<Option<(User, String)>, SqlError> {
        let sql = format!(
            "SELECT {COLUMNS}, password_hash FROM users WHERE email_key = CAST($1 AS TEXT)"
        );
        let rows = self
            .database
            .open()
            .await?
            .query(&sql, params![key])
            .await?;
        let with_hash = |row: &Row| Ok((user(row)?, row.text(10)?));
        rows.first().map(with_hash).transpose()
    }

    pub(crate) async fn list(
        &self,
        limit: Limit,
        after: Option<&Cursor>,
    ) -> Result<Decoded<User>, SqlError> {
        let (sql, params) = list_statement(limit, after);
        let rows = self.database.open().await?.query(&sql, &params).await?;
        Ok(decode_rows("users", &rows, user))
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
                   created_at, updated_at, erased_at) VALUES (CAST($1 AS TEXT), CAST($2 AS TEXT), CAST($3 AS TEXT), CAST($4 AS TEXT), \
                   CAST($5 AS TEXT), NULL, '[]', '{}', CAST($6 AS TEXT), 1, CAST($7 AS BIGINT), CAST($7 AS BIGINT), NULL) \
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
        let sql = "UPDATE users SET name = CAST($3 AS TEXT), phone = CAST($4 AS TEXT), addresses = CAST($5 AS TEXT), \
                   preferences = CAST($6 AS TEXT), version = CAST($2 AS BIGINT), updated_at = CAST($7 AS BIGINT) \
                   WHERE id = CAST($1 AS TEXT) AND version = CAST($2 AS BIGINT) - 1 AND erased_at IS NULL";
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
        let sql = "UPDATE users SET role = CAST($3 AS TEXT), version = CAST($2 AS BIGINT), updated_at = CAST($4 AS BIGINT) \
                   WHERE id = CAST($1 AS TEXT) AND version = CAST($2 AS BIGINT) - 1 AND erased_at IS NULL";
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
                       preferences = '{}', role = 'customer', version = version + 1, updated_at = CAST($2 AS BIGINT), \
                       erased_at = CAST($2 AS BIGINT) WHERE id = CAST($1 AS TEXT) AND role = CAST($3 AS TEXT) \
                       AND erased_at IS NULL RETURNING version";
            let rows = connection.query(sql, params![id, now, user.role.name()]).await?;
            let Some(row) = rows.first() else {
                return Ok(Guarded::Changed);
            };
            self.record_event(connection, context, id, "user.updated", row.unsigned(0)?, now).await?;
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
            let sql = "UPDATE users SET version = version WHERE id = CAST($1 AS TEXT) AND version = CAST($2 AS BIGINT) \
                       AND erased_at IS NULL";
            if connection.execute(sql, params![&user.id, user.version]).await? == 0 {
                return Ok(false);
            }
            let sql = "INSERT INTO sessions (id, user_id, created_at, expires_at, revoked_at) VALUES (CAST($1 AS TEXT), CAST($2 AS TEXT), \
                       CAST($3 AS BIGINT), CAST($4 AS BIGINT), NULL)";
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
            let sql = "UPDATE refresh_tokens SET spent_at = CAST($2 AS BIGINT) WHERE hash = CAST($1 AS TEXT) AND spent_at IS NULL \
                       RETURNING session_id";
            let used = connection.query(sql, params![refresh, now]).await?;
            let Some(row) = used.first() else {
                let sql = "SELECT session_id FROM refresh_tokens WHERE hash = CAST($1 AS TEXT)";
                let rows = connection.query(sql, params![refresh]).await?;
                return match rows.first() {
                    Some(row) => Ok(RefreshOutcome::Reused(row.id(0)?)),
                    None => Ok(RefreshOutcome::Invalid),
                };
            };
            let session = row.id(0)?;
            let sql = "UPDATE sessions SET expires_at = CAST($3 AS BIGINT) WHERE id = CAST($1 AS TEXT) AND revoked_at IS NULL \
                       AND expires_at > CAST($2 AS BIGINT) RETURNING user_id";
            let rows = connection.query(sql, params![&session, now, end]).await?;
            let Some(row) = rows.first() else {
                return Ok(RefreshOutcome::Invalid);
            };
            let user = row.id(0)?;
            add_refresh(connection, next, &session).await?;
            Ok(RefreshOutcome::Rotated(session, user))
        })
        .await
    }

    /// The session of a refresh token, used or not, and the user.
    pub(crate) async fn session_of(&self, refresh: &str) -> Result<Option<(Id, Id)>, SqlError> {
        let sql = "SELECT s.id, s.user_id FROM refresh_tokens r JOIN sessions s ON s.id = r.session_id WHERE r.hash = CAST($1 AS TEXT)";
        let rows = self
            .database
            .open()
            .await?
            .query(sql, params![refresh])
            .await?;
        rows.first()
            .map(|row| Ok((row.id(0)?, row.id(1)?)))
            .transpose()
    }

    pub(crate) async fn live_sessions(
        &self,
        user: &Id,
        now: Timestamp,
    ) -> Result<Vec<Id>, SqlError> {
        let sql = "SELECT id FROM sessions WHERE user_id = CAST($1 AS TEXT) AND revoked_at IS NULL AND expires_at > CAST($2 AS BIGINT)";
        let rows = self
            .database
            .open()
            .await?
            .query(sql, params![user, now])
            .await?;
        rows.iter().map(|row| row.id(0)).collect()
    }

    /// The times of a user's sessions, for the export.
    pub(crate) async fn session_times(
        &self,
        user: &Id,
    ) -> Result<Vec<(Timestamp, Timestamp)>, SqlError> {
        let sql = "SELECT created_at, expires_at FROM sessions WHERE user_id = CAST($1 AS TEXT) ORDER BY created_at DESC LIMIT 100";
        let rows = self
            .database
            .open()
            .await?
            .query(sql, params![user])
            .await?;
        rows.iter()
            .map(|row| Ok((row.time(0)?, row.time(1)?)))
            .collect()
    }

    pub(crate) async fn end_session(&self, session: &Id, now: Timestamp) -> Result<(), SqlError> {
        let sql = "UPDATE sessions SET revoked_at = CAST($2 AS BIGINT) WHERE id = CAST($1 AS TEXT) AND revoked_at IS NULL";
        let connection = self.database.open().await?;
        connection
            .execute(sql, params![session, now])
            .await
            .map(drop)
    }

    /// Deletes expired sessions with their tokens.
    pub(crate) async fn forget_sessions(&self, now: Timestamp) -> Result<(), SqlError> {
        transaction(&self.database, async |connection| {
            let sql = "DELETE FROM refresh_tokens WHERE session_id IN (SELECT id FROM sessions WHERE expires_at <= CAST($1 AS BIGINT))";
            connection.execute(sql, params![now]).await?;
            let sql = "DELETE FROM sessions WHERE expires_at <= CAST($1 AS BIGINT)";
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
        beyond = " AND (created_at, id) < (CAST($2 AS BIGINT), CAST($3 AS TEXT))";
    }
    let sql = format!(
        "SELECT {COLUMNS} FROM users WHERE erased_at IS NULL{beyond} ORDER BY created_at DESC, id DESC LIMIT CAST($1 AS BIGINT)"
    );
    (sql, params)
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
    let sql = "INSERT INTO refresh_tokens (hash, session_id, spent_at) VALUES (CAST($1 AS TEXT), CAST($2 AS TEXT), NULL)";
    connection
        .execute(sql, params![hash, session])
        .await
        .map(drop)
}

fn user(row: &Row) -> Result<User, SqlError> {
    let invalid = |what: &str| SqlError::Failed(format!("a user's {what} is not valid"));
    let addresses: Vec<serde_json::Value> =
        serde_json::from_str(&row.text(4)?).map_err(|_| invalid("addresses"))?;
    let address =
        |value: &serde_json::Value| Address::from_json(value).ok_or_else(|| invalid("address"));
    Ok(User {
        id: row.id(0)?,
        email: row.text(1)?,
        profile: Profile {
            name: row.maybe_text(2)?,
            phone: row.maybe_text(3)?,
            addresses: addresses.iter().map(address).collect::<Result<_, _>>()?,
            preferences: serde_json::from_str(&row.text(5)?).map_err(|_| invalid("preferences"))?,
        },
        role: Role::parse(&row.text(6)?).ok_or_else(|| invalid("role"))?,
        version: row.unsigned(7)?,
        created_at: row.time(8)?,
        updated_at: row.time(9)?,
    })
}
