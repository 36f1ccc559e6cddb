//! `fermyon:spin/postgres@2.0.0` and `spin:postgres@3.0.0`, which have fewer value types. As in Spin, a value of any
//! other type becomes `unsupported`. Postgres has no unsigned integers.

use super::bindings::fermyon::spin::{postgres as two, rdbms_types as two_types};
use super::bindings::spin::postgres::postgres as three;
use crate::capability::postgres::bindings::spin::postgres::postgres as newer;
use crate::capability::postgres::{Answer, Connection};
use crate::capability::state::HostState;
use wasmtime::component::Resource;

impl HostState {
    async fn ask_postgres(
        &mut self,
        connection: &Resource<Connection>,
        statement: &str,
        params: Result<Vec<newer::ParameterValue>, String>,
    ) -> wasmtime::Result<Result<Answer, newer::Error>> {
        let params = match params {
            Ok(params) => params,
            Err(reason) => return Ok(Err(newer::Error::BadParameter(reason))),
        };
        let connection = self.table.get_mut(connection)?;
        Ok(connection.run(statement, &params).await)
    }
}

/// The text of an error; the older interfaces do not distinguish its parts.
fn text(error: newer::QueryError) -> String {
    match error {
        newer::QueryError::Text(text) => text,
        newer::QueryError::DbError(error) => error.as_text,
    }
}

// --- fermyon:spin/postgres@2.0.0

impl two_types::Host for HostState {}

impl two::Host for HostState {}

impl two::HostConnection for HostState {
    async fn open(
        &mut self,
        address: String,
    ) -> wasmtime::Result<Result<Resource<Connection>, two_types::Error>> {
        Ok(self.open_postgres(address, None).await?.map_err(failed_two))
    }

    async fn query(
        &mut self,
        connection: Resource<Connection>,
        statement: String,
        params: Vec<two_types::ParameterValue>,
    ) -> wasmtime::Result<Result<two_types::RowSet, two_types::Error>> {
        let params = params.into_iter().map(lift_two).collect();
        let answer = self.ask_postgres(&connection, &statement, params).await?;
        let row = |row: Vec<newer::DbValue>| row.into_iter().map(lower_two).collect();
        let rows = answer.map(|answer| two_types::RowSet {
            columns: answer.columns.into_iter().map(column_two).collect(),
            rows: answer.rows.into_iter().map(row).collect(),
        });
        Ok(rows.map_err(failed_two))
    }

    async fn execute(
        &mut self,
        connection: Resource<Connection>,
        statement: String,
        params: Vec<two_types::ParameterValue>,
    ) -> wasmtime::Result<Result<u64, two_types::Error>> {
        let params = params.into_iter().map(lift_two).collect();
        let answer = self.ask_postgres(&connection, &statement, params).await?;
        Ok(answer.map(|answer| answer.changed).map_err(failed_two))
    }

    async fn drop(&mut self, connection: Resource<Connection>) -> wasmtime::Result<()> {
        self.close_postgres(connection)
    }
}

fn lift_two(value: two_types::ParameterValue) -> Result<newer::ParameterValue, String> {
    use newer::ParameterValue as New;
    use two_types::ParameterValue as Old;
    Ok(match value {
        Old::Boolean(truth) => New::Boolean(truth),
        Old::Int8(number) => New::Int8(number),
        Old::Int16(number) => New::Int16(number),
        Old::Int32(number) => New::Int32(number),
        Old::Int64(number) => New::Int64(number),
        Old::Floating32(number) => New::Floating32(number),
        Old::Floating64(number) => New::Floating64(number),
        Old::Str(text) => New::Str(text),
        Old::Binary(bytes) => New::Binary(bytes),
        Old::DbNull => New::DbNull,
        Old::Uint8(_) | Old::Uint16(_) | Old::Uint32(_) | Old::Uint64(_) => {
            return Err("Postgres does not support unsigned integers".to_owned());
        }
    })
}

fn lower_two(value: newer::DbValue) -> two_types::DbValue {
    use newer::DbValue as New;
    use two_types::DbValue as Old;
    match value {
        New::Boolean(truth) => Old::Boolean(truth),
        New::Int8(number) => Old::Int8(number),
        New::Int16(number) => Old::Int16(number),
        New::Int32(number) => Old::Int32(number),
        New::Int64(number) => Old::Int64(number),
        New::Floating32(number) => Old::Floating32(number),
        New::Floating64(number) => Old::Floating64(number),
        New::Str(text) => Old::Str(text),
        New::Binary(bytes) => Old::Binary(bytes),
        New::DbNull => Old::DbNull,
        _ => Old::Unsupported,
    }
}

fn column_two(column: newer::Column) -> two_types::Column {
    use newer::DbDataType as New;
    use two_types::DbDataType as Old;
    let data_type = match column.data_type {
        New::Boolean => Old::Boolean,
        New::Int8 => Old::Int8,
        New::Int16 => Old::Int16,
        New::Int32 => Old::Int32,
        New::Int64 => Old::Int64,
        New::Floating32 => Old::Floating32,
        New::Floating64 => Old::Floating64,
        New::Str => Old::Str,
        New::Binary => Old::Binary,
        _ => Old::Other,
    };
    two_types::Column {
        name: column.name,
        data_type,
    }
}

fn failed_two(error: newer::Error) -> two_types::Error {
    match error {
        newer::Error::ConnectionFailed(reason) => two_types::Error::ConnectionFailed(reason),
        newer::Error::BadParameter(reason) => two_types::Error::BadParameter(reason),
        newer::Error::QueryFailed(error) => two_types::Error::QueryFailed(text(error)),
        newer::Error::ValueConversionFailed(reason) => {
            two_types::Error::ValueConversionFailed(reason)
        }
        newer::Error::Other(reason) => two_types::Error::Other(reason),
    }
}

// --- spin:postgres@3.0.0

impl three::Host for HostState {}

impl three::HostConnection for HostState {
    async fn open(
        &mut self,
        address: String,
    ) -> wasmtime::Result<Result<Resource<Connection>, three::Error>> {
        Ok(self
            .open_postgres(address, None)
            .await?
            .map_err(failed_three))
    }

    async fn query(
        &mut self,
        connection: Resource<Connection>,
        statement: String,
        params: Vec<three::ParameterValue>,
    ) -> wasmtime::Result<Result<three::RowSet, three::Error>> {
        let params = Ok(params.into_iter().map(lift_three).collect());
        let answer = self.ask_postgres(&connection, &statement, params).await?;
        let row = |row: Vec<newer::DbValue>| row.into_iter().map(lower_three).collect();
        let rows = answer.map(|answer| three::RowSet {
            columns: answer.columns.into_iter().map(column_three).collect(),
            rows: answer.rows.into_iter().map(row).collect(),
        });
        Ok(rows.map_err(failed_three))
    }

    async fn execute(
        &mut self,
        connection: Resource<Connection>,
        statement: String,
        params: Vec<three::ParameterValue>,
    ) -> wasmtime::Result<Result<u64, three::Error>> {
        let params = Ok(params.into_iter().map(lift_three).collect());
        let answer = self.ask_postgres(&connection, &statement, params).await?;
        Ok(answer.map(|answer| answer.changed).map_err(failed_three))
    }

    async fn drop(&mut self, connection: Resource<Connection>) -> wasmtime::Result<()> {
        self.close_postgres(connection)
    }
}

fn lift_three(value: three::ParameterValue) -> newer::ParameterValue {
    use newer::ParameterValue as New;
    use three::ParameterValue as Old;
    match value {
        Old::Boolean(truth) => New::Boolean(truth),
        Old::Int8(number) => New::Int8(number),
        Old::Int16(number) => New::Int16(number),
        Old::Int32(number) => New::Int32(number),
        Old::Int64(number) => New::Int64(number),
        Old::Floating32(number) => New::Floating32(number),
        Old::Floating64(number) => New::Floating64(number),
        Old::Str(text) => New::Str(text),
        Old::Binary(bytes) => New::Binary(bytes),
        Old::Date(date) => New::Date(date),
        Old::Time(time) => New::Time(time),
        Old::Datetime(moment) => New::Datetime(moment),
        Old::Timestamp(seconds) => New::Timestamp(seconds),
        Old::DbNull => New::DbNull,
    }
}

fn lower_three(value: newer::DbValue) -> three::DbValue {
    use newer::DbValue as New;
    use three::DbValue as Old;
    match value {
        New::Boolean(truth) => Old::Boolean(truth),
        New::Int8(number) => Old::Int8(number),
        New::Int16(number) => Old::Int16(number),
        New::Int32(number) => Old::Int32(number),
        New::Int64(number) => Old::Int64(number),
        New::Floating32(number) => Old::Floating32(number),
        New::Floating64(number) => Old::Floating64(number),
        New::Str(text) => Old::Str(text),
        New::Binary(bytes) => Old::Binary(bytes),
        New::Date(date) => Old::Date(date),
        New::Time(time) => Old::Time(time),
        New::Datetime(moment) => Old::Datetime(moment),
        New::Timestamp(seconds) => Old::Timestamp(seconds),
        New::DbNull => Old::DbNull,
        _ => Old::Unsupported,
    }
}

fn column_three(column: newer::Column) -> three::Column {
    use newer::DbDataType as New;
    use three::DbDataType as Old;
    let data_type = match column.data_type {
        New::Boolean => Old::Boolean,
        New::Int8 => Old::Int8,
        New::Int16 => Old::Int16,
        New::Int32 => Old::Int32,
        New::Int64 => Old::Int64,
        New::Floating32 => Old::Floating32,
        New::Floating64 => Old::Floating64,
        New::Str => Old::Str,
        New::Binary => Old::Binary,
        New::Date => Old::Date,
        New::Time => Old::Time,
        New::Datetime => Old::Datetime,
        New::Timestamp => Old::Timestamp,
        _ => Old::Other,
    };
    three::Column {
        name: column.name,
        data_type,
    }
}

fn failed_three(error: newer::Error) -> three::Error {
    match error {
        newer::Error::ConnectionFailed(reason) => three::Error::ConnectionFailed(reason),
        newer::Error::BadParameter(reason) => three::Error::BadParameter(reason),
        newer::Error::QueryFailed(error) => three::Error::QueryFailed(text(error)),
        newer::Error::ValueConversionFailed(reason) => three::Error::ValueConversionFailed(reason),
        newer::Error::Other(reason) => three::Error::Other(reason),
    }
}
