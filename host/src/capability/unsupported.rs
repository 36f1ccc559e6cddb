//! Interfaces of Spin that this host does not support: MySQL and language models. A component that imports them can be
//! loaded, but every call returns an error.

use super::older::bindings::fermyon::spin::{llm, mysql as mysql_2, rdbms_types};
use super::{Capabilities, Interface, interfaces};
use crate::capability::state::HostState;
use bindings::spin::mysql::mysql as mysql_3;
use wasmtime::component::{Accessor, FutureReader, Resource, StreamReader};

/// Bindings generated from the vendored WIT.
#[allow(missing_docs, clippy::all, reason = "generated from vendored WIT")]
pub(crate) mod bindings {
    wasmtime::component::bindgen!({
        inline: "
            package localmart:host;
            world capability {
                import spin:mysql/mysql@3.0.0;
            }
        ",
        path: ["../wit/deps/spin-mysql@3.0.0"],
        imports: { default: async | trappable },
        with: {
            "spin:mysql/mysql.connection": super::NoConnection,
        },
        require_store_data_send: true,
    });
}

interfaces! {
    "spin:mysql/mysql@3.0.0": bindings::spin::mysql::mysql,
}

/// The error of all MySQL calls.
const NO_MYSQL: &str = "this host does not support MySQL; use Postgres or SQLite";

/// A connection that is never made.
pub enum NoConnection {}

impl mysql_2::Host for HostState {}

impl mysql_2::HostConnection for HostState {
    async fn open(
        &mut self,
        _address: String,
    ) -> wasmtime::Result<Result<Resource<NoConnection>, rdbms_types::Error>> {
        Ok(Err(rdbms_types::Error::ConnectionFailed(
            NO_MYSQL.to_owned(),
        )))
    }

    async fn query(
        &mut self,
        _connection: Resource<NoConnection>,
        _statement: String,
        _parameters: Vec<rdbms_types::ParameterValue>,
    ) -> wasmtime::Result<Result<rdbms_types::RowSet, rdbms_types::Error>> {
        Ok(Err(rdbms_types::Error::Other(NO_MYSQL.to_owned())))
    }

    async fn execute(
        &mut self,
        _connection: Resource<NoConnection>,
        _statement: String,
        _parameters: Vec<rdbms_types::ParameterValue>,
    ) -> wasmtime::Result<Result<(), rdbms_types::Error>> {
        Ok(Err(rdbms_types::Error::Other(NO_MYSQL.to_owned())))
    }

    async fn drop(&mut self, connection: Resource<NoConnection>) -> wasmtime::Result<()> {
        self.table.delete(connection)?;
        Ok(())
    }
}

impl llm::Host for HostState {
    async fn infer(
        &mut self,
        model: String,
        _prompt: String,
        _parameters: Option<llm::InferencingParams>,
    ) -> wasmtime::Result<Result<llm::InferencingResult, llm::Error>> {
        Ok(Err(no_model(&model)))
    }

    async fn generate_embeddings(
        &mut self,
        model: String,
        _text: Vec<String>,
    ) -> wasmtime::Result<Result<llm::EmbeddingsResult, llm::Error>> {
        Ok(Err(no_model(&model)))
    }
}

fn no_model(model: &str) -> llm::Error {
    llm::Error::RuntimeError(format!(
        "this host has no language models, so `{model}` is not available"
    ))
}

impl mysql_3::Host for HostState {}

impl mysql_3::HostConnection for HostState {
    async fn drop(&mut self, connection: Resource<NoConnection>) -> wasmtime::Result<()> {
        self.table.delete(connection)?;
        Ok(())
    }
}

/// Columns, rows, and the final result.
type Rows = (
    Vec<mysql_3::Column>,
    StreamReader<Vec<mysql_3::DbValue>>,
    FutureReader<Result<(), mysql_3::Error>>,
);

impl<T: Send + 'static> mysql_3::HostConnectionWithStore<T> for Capabilities {
    async fn open(
        _accessor: &Accessor<T, Self>,
        _address: String,
    ) -> wasmtime::Result<Result<Resource<NoConnection>, mysql_3::Error>> {
        Ok(Err(mysql_3::Error::ConnectionFailed(NO_MYSQL.to_owned())))
    }

    async fn query(
        _accessor: &Accessor<T, Self>,
        _connection: Resource<NoConnection>,
        _statement: String,
        _parameters: Vec<mysql_3::ParameterValue>,
    ) -> wasmtime::Result<Result<Rows, mysql_3::Error>> {
        Ok(Err(mysql_3::Error::Other(NO_MYSQL.to_owned())))
    }

    async fn execute(
        _accessor: &Accessor<T, Self>,
        _connection: Resource<NoConnection>,
        _statement: String,
        _parameters: Vec<mysql_3::ParameterValue>,
    ) -> wasmtime::Result<Result<(), mysql_3::Error>> {
        Ok(Err(mysql_3::Error::Other(NO_MYSQL.to_owned())))
    }
}
