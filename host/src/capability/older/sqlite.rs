//! `fermyon:spin/sqlite@2.0.0`.

use super::bindings::fermyon::spin::sqlite as wit;
use crate::capability::sqlite::bindings::spin::sqlite::sqlite as newer;
use crate::capability::sqlite::{Connection, Rows};
use crate::capability::state::HostState;
use wasmtime::component::Resource;

impl wit::Host for HostState {}

impl wit::HostConnection for HostState {
    async fn open(
        &mut self,
        database: String,
    ) -> wasmtime::Result<Result<Resource<Connection>, wit::Error>> {
        Ok(self.open_database(&database)?.map_err(failed))
    }

    async fn execute(
        &mut self,
        connection: Resource<Connection>,
        statement: String,
        parameters: Vec<wit::Value>,
    ) -> wasmtime::Result<Result<wit::QueryResult, wit::Error>> {
        let parameters: Vec<newer::Value> = parameters.into_iter().map(lift).collect();
        let connection = self.table.get_mut(&connection)?;
        let rows = connection.run(&statement, &parameters).await;
        let row = |values: Vec<newer::Value>| wit::RowResult {
            values: values.into_iter().map(lower).collect(),
        };
        let result = rows.map(|Rows { columns, rows }| wit::QueryResult {
            columns,
            rows: rows.into_iter().map(row).collect(),
        });
        Ok(result.map_err(failed))
    }

    async fn drop(&mut self, connection: Resource<Connection>) -> wasmtime::Result<()> {
        self.table.delete(connection)?;
        Ok(())
    }
}

fn lift(value: wit::Value) -> newer::Value {
    match value {
        wit::Value::Integer(number) => newer::Value::Integer(number),
        wit::Value::Real(number) => newer::Value::Real(number),
        wit::Value::Text(text) => newer::Value::Text(text),
        wit::Value::Blob(bytes) => newer::Value::Blob(bytes),
        wit::Value::Null => newer::Value::Null,
    }
}

fn lower(value: newer::Value) -> wit::Value {
    match value {
        newer::Value::Integer(number) => wit::Value::Integer(number),
        newer::Value::Real(number) => wit::Value::Real(number),
        newer::Value::Text(text) => wit::Value::Text(text),
        newer::Value::Blob(bytes) => wit::Value::Blob(bytes),
        newer::Value::Null => wit::Value::Null,
    }
}

fn failed(error: newer::Error) -> wit::Error {
    match error {
        newer::Error::NoSuchDatabase => wit::Error::NoSuchDatabase,
        newer::Error::AccessDenied => wit::Error::AccessDenied,
        newer::Error::InvalidConnection => wit::Error::InvalidConnection,
        newer::Error::DatabaseFull => wit::Error::DatabaseFull,
        newer::Error::Io(reason) => wit::Error::Io(reason),
    }
}
