//! The audit log: who did what to which subject, in which trace. A row is written in the transaction of the change and
//! never changed afterwards.

use crate::log::trace_id;
use crate::params;
use crate::sql::{Connection, SqlError};
use crate::wit::{Actor, Context};
use localmart_kernel::{Id, Timestamp};

/// Writes a row. `detail` is text or JSON without secrets and without personal data.
pub async fn record(
    connection: &impl Connection,
    id: &Id,
    context: &Context,
    subject: &str,
    action: &str,
    detail: &str,
    at: Timestamp,
) -> Result<(), SqlError> {
    let sql = "INSERT INTO audit (id, subject, action, actor, trace_id, detail, at) VALUES ($1, $2, \
               $3, $4, $5, $6, $7)";
    let trace = trace_id(&context.trace_parent).unwrap_or_default();
    let params = params![
        id,
        subject,
        action,
        actor(&context.actor),
        trace,
        detail,
        at
    ];
    connection.queue(sql, params).await
}

/// The actor as it is stored: the role and, for users, the user id.
pub fn actor(actor: &Actor) -> String {
    match actor {
        Actor::Anonymous => "anonymous".to_owned(),
        Actor::Customer(id) => format!("customer:{id}"),
        Actor::Staff(id) => format!("staff:{id}"),
        Actor::Admin(id) => format!("admin:{id}"),
        Actor::System => "system".to_owned(),
    }
}
