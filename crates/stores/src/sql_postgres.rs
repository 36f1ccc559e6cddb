//! The SQL trait on the blocking Postgres driver.

use localmart_connect::postgres::{Address, connector};
use localmart_guest::sql::{Connection, Database, Names, Row, SqlError, Value, for_postgres};
use postgres::types::{IsNull, ToSql, Type, private::BytesMut, to_sql_checked};
use postgres::{Client, Config};
use std::cell::RefCell;
use std::error::Error;
use std::rc::Rc;
use std::time::Duration;

/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(5);

/// A connection to the schema of a service; clones share it.
#[derive(Clone)]
pub struct Postgres(Rc<RefCell<Client>>);

impl Postgres {
    /// Connects to `postgres://user:password@host:port/database` with the schema of a service, which need not exist yet.
    pub fn open(url: &str, noun: &str) -> Result<Self, SqlError> {
        let (mut config, address) = parsed(url)?;
        let tls = connector(address.trust.as_ref()).map_err(SqlError::Failed)?;
        let (host, port) = server(&config);
        config.connect_timeout(CONNECT);
        config.options(&format!("-c search_path={noun}"));
        // The timeout of the driver covers only the TCP handshake, not a server that accepts and then stays silent.
        let (connected, client) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            // The receiver is gone if the server answers after the timeout.
            let _ = connected.send(config.connect(tls));
        });
        let silent = |_| {
            SqlError::Unavailable(format!(
                "the Postgres server at {host}:{port} does not answer within {CONNECT:?}"
            ))
        };
        let client = client.recv_timeout(CONNECT).map_err(silent)?;
        let client = client.map_err(|error| {
            let cause = error.source().map(ToString::to_string).unwrap_or_default();
            SqlError::Unavailable(format!(
                "the Postgres server at {host}:{port} does not answer: {error} {cause}"
            ))
        })?;
        Ok(Self(Rc::new(RefCell::new(client))))
    }

    /// Runs several statements without parameters.
    pub fn batch(&self, sql: &str) -> Result<(), SqlError> {
        self.0.borrow_mut().batch_execute(sql).map_err(failed)
    }
}

/// The host and port of an address.
pub fn postgres_server(url: &str) -> Result<(String, u16), SqlError> {
    Ok(server(&parsed(url)?.0))
}

fn parsed(url: &str) -> Result<(Config, Address), SqlError> {
    let invalid = |reason: String| SqlError::Failed(format!("the address is not valid: {reason}"));
    let address = Address::parse(url).map_err(invalid)?;
    let config = address.plain.parse::<Config>();
    Ok((config.map_err(|error| invalid(error.to_string()))?, address))
}

/// The host and port, without user, password and options.
fn server(config: &Config) -> (String, u16) {
    let host = config.get_hosts().first().map_or_else(
        || "localhost".to_owned(),
        |host| match host {
            postgres::config::Host::Tcp(name) => name.clone(),
            #[cfg(unix)]
            postgres::config::Host::Unix(path) => path.display().to_string(),
        },
    );
    (host, config.get_ports().first().copied().unwrap_or(5432))
}

impl Database for Postgres {
    type Connection = Self;

    async fn open(&self) -> Result<Self, SqlError> {
        Ok(self.clone())
    }
}

impl Connection for Postgres {
    async fn query(&self, sql: &str, params: &[Value]) -> Result<Vec<Row>, SqlError> {
        let sql = for_postgres(sql, params);
        let params: Vec<Bound<'_>> = params.iter().map(Bound).collect();
        let params: Vec<&(dyn ToSql + Sync)> = params.iter().map(|one| one as _).collect();
        let rows = self.0.borrow_mut().query(&sql, &params).map_err(failed)?;
        let columns = rows.first().map(postgres::Row::columns).unwrap_or_default();
        let names: Names = columns.iter().map(|one| one.name().to_owned()).collect();
        rows.iter().map(|row| decode_row(&names, row)).collect()
    }

    async fn execute(&self, sql: &str, params: &[Value]) -> Result<u64, SqlError> {
        let sql = for_postgres(sql, params);
        let params: Vec<Bound<'_>> = params.iter().map(Bound).collect();
        let params: Vec<&(dyn ToSql + Sync)> = params.iter().map(|one| one as _).collect();
        self.0.borrow_mut().execute(&sql, &params).map_err(failed)
    }

    async fn begin(&self) -> Result<(), SqlError> {
        self.batch("BEGIN")
    }

    async fn commit(&self) -> Result<(), SqlError> {
        self.batch("COMMIT")
    }

    async fn rollback(&self) -> Result<(), SqlError> {
        self.batch("ROLLBACK")
    }
}

fn decode_row(names: &Names, row: &postgres::Row) -> Result<Row, SqlError> {
    let column = |place: usize| {
        let ty = row.columns().get(place).map(postgres::Column::type_);
        match ty {
            Some(&Type::INT8) => Ok(row
                .try_get::<_, Option<i64>>(place)
                .map_err(failed)?
                .map_or(Value::Null, Value::Integer)),
            Some(&Type::INT4) => Ok(row
                .try_get::<_, Option<i32>>(place)
                .map_err(failed)?
                .map_or(Value::Null, |number| Value::Integer(i64::from(number)))),
            Some(&(Type::TEXT | Type::VARCHAR | Type::NAME)) => Ok(row
                .try_get::<_, Option<String>>(place)
                .map_err(failed)?
                .map_or(Value::Null, Value::Text)),
            _ => Err(SqlError::Failed(
                "a column is neither BIGINT nor TEXT".to_owned(),
            )),
        }
    };
    let values: Result<_, _> = (0..row.len()).map(column).collect();
    values.map(|values| Row::new(names, values))
}

#[derive(Debug)]
struct Bound<'a>(&'a Value);

impl ToSql for Bound<'_> {
    fn to_sql(
        &self,
        ty: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        match self.0 {
            Value::Null => Ok(IsNull::Yes),
            Value::Integer(number) if i64::accepts(ty) => number.to_sql(ty, out),
            Value::Text(text) if <&str as ToSql>::accepts(ty) => text.as_str().to_sql(ty, out),
            _ => Err(format!("a parameter is not of the type {ty}").into()),
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

fn failed(error: postgres::Error) -> SqlError {
    match error.as_db_error() {
        Some(db) => SqlError::Failed(db.to_string()),
        None if error.is_closed() => SqlError::Unavailable(error.to_string()),
        None => SqlError::Failed(format!(
            "{error}: {:?}",
            error.source().map(ToString::to_string)
        )),
    }
}
