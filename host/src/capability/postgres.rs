//! `spin:postgres@4.2`: pooled connections, prepared statements, and transactions that cannot leak into the next guest.
//!
//! In reading order: this file (the interface), `handle` (a guest's handle), [`pool`] (connections), `server` (which of
//! them fit an address), `values` (types).
//! A handle holds a connection while a statement runs, and from the first statement of a transaction to its end. It
//! keeps the connection permanently after a statement with effects that the next guest must not inherit. If the handle
//! is dropped during a transaction or a statement, the connection is closed too, and the server rolls back.

mod handle;
mod numeric;
pub mod pool;
mod server;
mod values;

pub use handle::Connection;

use super::{Capabilities, Interface, interfaces};
use crate::capability::state::HostState;
use crate::limits;
use bindings::spin::postgres::postgres as wit;
pub(super) use handle::Answer;
use localmart_connect::Trust;
use localmart_connect::postgres::Address;
use server::Server;
use tokio_postgres::Config;
use tokio_postgres::config::Host;
use wasmtime::component::{Accessor, FutureReader, Resource, StreamReader};

/// Bindings generated from the vendored WIT.
#[allow(missing_docs, clippy::all, reason = "generated from vendored WIT")]
pub(crate) mod bindings {
    wasmtime::component::bindgen!({
        inline: "
            package localmart:host;
            world capability {
                import spin:postgres/postgres@4.2.0;
            }
        ",
        path: ["../wit/deps/spin-postgres@4.2.0"],
        imports: { default: async | trappable },
        with: {
            "spin:postgres/postgres.connection": super::Connection,
            "spin:postgres/postgres.connection-builder": super::ConnectionBuilder,
        },
        require_store_data_send: true,
    });
}

interfaces! {
    "spin:postgres/postgres@4.2.0": bindings::spin::postgres::postgres,
}

/// The environment variable that tells a guest that concurrent statements on one handle are sent at once and in order.
pub const PIPELINES_FLAG: &str = "LOCALMART_PIPELINES";

/// A connection under construction.
pub struct ConnectionBuilder {
    address: String,
    /// Trusted certificates in PEM, instead of those of the address.
    roots: Option<String>,
}

/// Parses an address and checks every server in it against the allowed hosts, by name and by IP address.
fn permitted(
    state: &HostState,
    address: &str,
    roots: Option<&str>,
) -> Result<(Config, Option<Trust>), wit::Error> {
    let invalid = |reason: String| {
        wit::Error::ConnectionFailed(format!("the address is not valid: {reason}"))
    };
    let Address { plain, mut trust } = Address::parse(address).map_err(invalid)?;
    let config: Config = plain
        .parse()
        .map_err(|error: tokio_postgres::Error| invalid(error.to_string()))?;
    let named = trust.iter().flat_map(Trust::files);
    state.check_files(named).map_err(invalid)?;
    match (&mut trust, roots) {
        (Some(trust), Some(roots)) => trust.root_text = Some(roots.to_owned()),
        (None, Some(_)) => return Err(invalid("a CA root needs sslmode=verify-full".to_owned())),
        (_, None) => {}
    }
    let port_of = |place: usize| {
        let ports = config.get_ports();
        let port = if ports.len() == 1 {
            ports.first()
        } else {
            ports.get(place)
        };
        port.copied().unwrap_or(5432)
    };
    let mut servers = Vec::new();
    for (place, host) in config.get_hosts().iter().enumerate() {
        match host {
            Host::Tcp(name) => servers.push((name.clone(), port_of(place))),
            #[cfg(unix)]
            Host::Unix(path) => servers.push((path.display().to_string(), port_of(place))),
        }
    }
    for (place, number) in config.get_hostaddrs().iter().enumerate() {
        servers.push((number.to_string(), port_of(place)));
    }
    if servers.is_empty() {
        servers.push(("localhost".to_owned(), port_of(0)));
    }
    let refused = servers.iter().find(|(host, port)| {
        let allowed = &state.component.allowed_hosts;
        !allowed
            .iter()
            .any(|one| one.allows("postgres", host, *port))
    });
    if let Some((host, port)) = refused {
        state.log_refused(&format!("postgres://{host}:{port}"));
        return Err(wit::Error::ConnectionFailed(format!(
            "address postgres://{host}:{port} is not permitted"
        )));
    }
    Ok((config, trust))
}

impl HostState {
    pub(super) async fn open_postgres(
        &mut self,
        address: String,
        roots: Option<String>,
    ) -> wasmtime::Result<Result<Resource<Connection>, wit::Error>> {
        let config = match permitted(self, &address, roots.as_deref()) {
            Ok(config) => config,
            Err(error) => return Ok(Err(error)),
        };
        let (component, faults) = (self.component.clone(), self.faults.clone());
        let server = Server::new(&address, config);
        match Connection::open(component, faults, server).await {
            Ok(connection) => self.keep_postgres(connection),
            Err(error) => Ok(Err(error)),
        }
    }

    fn keep_postgres(
        &mut self,
        connection: Connection,
    ) -> wasmtime::Result<Result<Resource<Connection>, wit::Error>> {
        if self.postgres_handles >= limits::POSTGRES_HANDLES {
            let refused = "this instance has too many open connections".to_owned();
            return Ok(Err(wit::Error::ConnectionFailed(refused)));
        }
        self.postgres_handles += 1;
        Ok(Ok(self.table.push(connection)?))
    }

    pub(super) fn close_postgres(
        &mut self,
        connection: Resource<Connection>,
    ) -> wasmtime::Result<()> {
        self.table.delete(connection)?;
        self.postgres_handles = self.postgres_handles.saturating_sub(1);
        Ok(())
    }
}

async fn open_async<T: Send + 'static>(
    accessor: &Accessor<T, Capabilities>,
    address: String,
    roots: Option<String>,
) -> wasmtime::Result<Result<Resource<Connection>, wit::Error>> {
    let permitted = accessor.with(|mut access| {
        let state = access.get();
        permitted(state, &address, roots.as_deref())
            .map(|config| (state.component.clone(), state.faults.clone(), config))
    });
    let (component, faults, config) = match permitted {
        Ok(permitted) => permitted,
        Err(error) => return Ok(Err(error)),
    };
    let server = Server::new(&address, config);
    match Connection::open(component, faults, server).await {
        Ok(connection) => accessor.with(|mut access| access.get().keep_postgres(connection)),
        Err(error) => Ok(Err(error)),
    }
}

/// Runs a statement while the other calls of the instance continue.
async fn run_async<T: Send + 'static>(
    accessor: &Accessor<T, Capabilities>,
    connection: &Resource<Connection>,
    sql: &str,
    params: &[wit::ParameterValue],
) -> wasmtime::Result<Result<Answer, wit::Error>> {
    let connection = accessor
        .with(|mut access| wasmtime::error::Ok(access.get().table.get(connection)?.clone()))?;
    Ok(connection.run(sql, params).await)
}

impl wit::Host for HostState {}

impl wit::HostConnectionBuilder for HostState {
    async fn new(&mut self, address: String) -> wasmtime::Result<Resource<ConnectionBuilder>> {
        let roots = None;
        Ok(self.table.push(ConnectionBuilder { address, roots })?)
    }

    async fn set_ca_root(
        &mut self,
        builder: Resource<ConnectionBuilder>,
        certificates: String,
    ) -> wasmtime::Result<Result<(), wit::Error>> {
        self.table.get_mut(&builder)?.roots = Some(certificates);
        Ok(Ok(()))
    }

    async fn build(
        &mut self,
        builder: Resource<ConnectionBuilder>,
    ) -> wasmtime::Result<Result<Resource<Connection>, wit::Error>> {
        let ConnectionBuilder { address, roots } = self.table.get(&builder)?;
        let (address, roots) = (address.clone(), roots.clone());
        self.open_postgres(address, roots).await
    }

    async fn drop(&mut self, builder: Resource<ConnectionBuilder>) -> wasmtime::Result<()> {
        self.table.delete(builder)?;
        Ok(())
    }
}

impl<T: Send + 'static> wit::HostConnectionBuilderWithStore<T> for Capabilities {
    async fn build_async(
        accessor: &Accessor<T, Self>,
        builder: Resource<ConnectionBuilder>,
    ) -> wasmtime::Result<Result<Resource<Connection>, wit::Error>> {
        let (address, roots) = accessor.with(|mut access| {
            let ConnectionBuilder { address, roots } = access.get().table.get(&builder)?;
            wasmtime::error::Ok((address.clone(), roots.clone()))
        })?;
        open_async(accessor, address, roots).await
    }
}

impl wit::HostConnection for HostState {
    async fn open(
        &mut self,
        address: String,
    ) -> wasmtime::Result<Result<Resource<Connection>, wit::Error>> {
        self.open_postgres(address, None).await
    }

    async fn query(
        &mut self,
        connection: Resource<Connection>,
        statement: String,
        params: Vec<wit::ParameterValue>,
    ) -> wasmtime::Result<Result<wit::RowSet, wit::Error>> {
        let answer = self
            .table
            .get(&connection)?
            .clone()
            .run(&statement, &params)
            .await;
        Ok(answer.map(|answer| wit::RowSet {
            columns: answer.columns,
            rows: answer.rows,
        }))
    }

    async fn execute(
        &mut self,
        connection: Resource<Connection>,
        statement: String,
        params: Vec<wit::ParameterValue>,
    ) -> wasmtime::Result<Result<u64, wit::Error>> {
        let answer = self
            .table
            .get(&connection)?
            .clone()
            .run(&statement, &params)
            .await;
        Ok(answer.map(|answer| answer.changed))
    }

    async fn drop(&mut self, connection: Resource<Connection>) -> wasmtime::Result<()> {
        self.close_postgres(connection)
    }
}

type Outcome = (
    Vec<wit::Column>,
    StreamReader<wit::Row>,
    FutureReader<Result<(), wit::Error>>,
);

impl<T: Send + 'static> wit::HostConnectionWithStore<T> for Capabilities {
    async fn open_async(
        accessor: &Accessor<T, Self>,
        address: String,
    ) -> wasmtime::Result<Result<Resource<Connection>, wit::Error>> {
        open_async(accessor, address, None).await
    }

    async fn query_async(
        accessor: &Accessor<T, Self>,
        connection: Resource<Connection>,
        statement: String,
        params: Vec<wit::ParameterValue>,
    ) -> wasmtime::Result<Result<Outcome, wit::Error>> {
        let answer = run_async(accessor, &connection, &statement, &params).await?;
        accessor.with(|mut access| {
            let answer = match answer {
                Ok(answer) => answer,
                Err(error) => return Ok(Err(error)),
            };
            let stream = StreamReader::new(&mut access, answer.rows)?;
            let end = FutureReader::new(&mut access, async { wasmtime::error::Ok(Ok(())) })?;
            Ok(Ok((answer.columns, stream, end)))
        })
    }

    async fn execute_async(
        accessor: &Accessor<T, Self>,
        connection: Resource<Connection>,
        statement: String,
        params: Vec<wit::ParameterValue>,
    ) -> wasmtime::Result<Result<u64, wit::Error>> {
        let answer = run_async(accessor, &connection, &statement, &params).await?;
        Ok(answer.map(|answer| answer.changed))
    }
}
