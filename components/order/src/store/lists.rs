//! Lists of orders. A page continues after a key instead of an offset, so that page 1000 costs as much as page 1.

use super::rows::OrderRow;
use super::{Store, complete};
use crate::domain::Order;
use crate::domain::status::Status;
use localmart_guest::kernel::{Cursor, Limit};
use localmart_guest::sql::{Connection as _, Database, SqlError, Stored as _, Value};

/// The filter of a list of orders.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Scope {
    /// Only the orders of this user; `None` for all orders.
    pub(crate) customer_id: Option<String>,
    pub(crate) status: Option<Status>,
}

impl<D: Database> Store<D> {
    /// A page of orders, newest first, and one more order if there is a next page; and the number of rows.
    pub(crate) async fn list(
        &self,
        scope: &Scope,
        limit: Limit,
        after: Option<&Cursor>,
    ) -> Result<(Vec<Order>, usize), SqlError> {
        let (sql, params) = list_statement(scope, limit, after);
        let connection = self.database.open().await?;
        let found = connection.query(&sql, &params).await?;
        Ok((complete(&connection, &found).await?, found.len()))
    }
}

/// The query of a page.
pub(crate) fn list_statement(
    scope: &Scope,
    limit: Limit,
    after: Option<&Cursor>,
) -> (String, Vec<Value>) {
    let mut params: Vec<Value> = Vec::new();
    let mut conditions = Vec::new();
    let mut place = |value: Value| {
        params.push(value);
        params.len()
    };
    if let Some(customer) = &scope.customer_id {
        conditions.push(format!("customer_id = ${}", place(customer.into())));
    }
    if let Some(status) = scope.status {
        conditions.push(format!("status = ${}", place(status.name().into())));
    }
    if let Some(after) = after {
        let key = place(after.key.parse::<i64>().unwrap_or_default().into());
        let id = place(Value::from(&after.id));
        conditions.push(format!("(created_at, id) < (${key}, ${id})"));
    }
    let limit = place(limit.probe().into());
    let filter = if conditions.is_empty() {
        String::new()
    } else {
        format!("WHERE {}", conditions.join(" AND "))
    };
    let rest = format!("{filter} ORDER BY created_at DESC, id DESC LIMIT ${limit}");
    (OrderRow::select(&rest), params)
}
