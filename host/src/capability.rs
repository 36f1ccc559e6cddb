//! The interfaces besides WASI that a guest may import, one file per capability. A component can use only what its
//! manifest grants.
//!
//! - [`sqlite`] (`spin:sqlite@3.1`), [`postgres`] (`spin:postgres@4.2`), [`redis`] (`spin:redis@3`), [`key_value`]
//!   (`spin:key-value@3` and `wasi:keyvalue@0.2.0-draft2`), [`variables`] (`spin:variables@3`), [`mqtt`]
//!   (`spin:mqtt@3`)
//! - `older`: previous versions of these interfaces
//! - [`outgoing`]: outgoing `wasi:http` requests; [`stdio`]: logs; [`points`]: test points
//! - [`unsupported`]: interfaces that always return an error; `denied`: all interfaces for components without grants

mod denied;
pub mod inside;
pub mod key_value;
pub mod messages;
pub mod mqtt;
mod older;
pub mod outgoing;
pub mod points;
pub mod postgres;
pub mod redis;
pub mod sqlite;
pub mod state;
pub mod stdio;
pub mod unsupported;
pub mod variables;

use state::HostState;
use wasmtime::component::{HasData, Linker};

/// Bindings generated from the vendored WIT.
#[allow(missing_docs, clippy::all, reason = "generated from vendored WIT")]
pub(crate) mod bindings {
    wasmtime::component::bindgen!({
        inline: "
            package localmart:host;
            world capabilities {
                import spin:sqlite/sqlite@3.1.0;
                import spin:postgres/postgres@4.2.0;
                import spin:redis/redis@3.0.0;
                import spin:key-value/key-value@3.0.0;
                import spin:variables/variables@3.0.0;
                import spin:mqtt/mqtt@3.0.0;
                import spin:mysql/mysql@3.0.0;
                import wasi:keyvalue/store@0.2.0-draft2;
                import wasi:keyvalue/atomics@0.2.0-draft2;
                import wasi:keyvalue/batch@0.2.0-draft2;
                import localmart:testing/points@1.0.0;
            }
        ",
        path: [
            "../wit/deps/spin-sqlite@3.1.0",
            "../wit/deps/spin-postgres@4.2.0",
            "../wit/deps/spin-redis@3.0.0",
            "../wit/deps/spin-key-value@3.0.0",
            "../wit/deps/spin-variables@3.0.0",
            "../wit/deps/spin-mqtt@3.0.0",
            "../wit/deps/spin-mysql@3.0.0",
            "../wit/deps/wasi-keyvalue@0.2.0-draft2",
            "../wit/testing",
        ],
        imports: { default: async | trappable },
        with: {
            "spin:sqlite/sqlite.connection": super::sqlite::Connection,
            "spin:postgres/postgres.connection": super::postgres::Connection,
            "spin:postgres/postgres.connection-builder": super::postgres::ConnectionBuilder,
            "spin:redis/redis.connection": super::redis::Connection,
            "spin:key-value/key-value.store": super::key_value::OpenStore,
            "spin:mqtt/mqtt.connection": super::mqtt::Connection,
            "spin:mysql/mysql.connection": super::unsupported::NoConnection,
            "wasi:keyvalue/store.bucket": super::key_value::OpenStore,
            "wasi:keyvalue/atomics.cas": super::key_value::Cas,
        },
        require_store_data_send: true,
    });
}

/// The marker type for wasmtime's linker. The data of all capabilities is in the instance's [`HostState`].
pub struct Capabilities;

impl HasData for Capabilities {
    type Data<'a> = &'a mut HostState;
}

/// Adds every interface that a guest may import. Test points are added only on request.
pub fn add_to_linker(linker: &mut Linker<HostState>, with_points: bool) -> wasmtime::Result<()> {
    use bindings::{localmart, spin, wasi};
    wasmtime_wasi::p2::add_to_linker_async(linker)?;
    wasmtime_wasi::p3::add_to_linker(linker)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(linker)?;
    wasmtime_wasi_http::p3::add_to_linker(linker)?;
    spin::sqlite::sqlite::add_to_linker::<_, Capabilities>(linker, |state| state)?;
    spin::postgres::postgres::add_to_linker::<_, Capabilities>(linker, |state| state)?;
    spin::redis::redis::add_to_linker::<_, Capabilities>(linker, |state| state)?;
    spin::key_value::key_value::add_to_linker::<_, Capabilities>(linker, |state| state)?;
    spin::variables::variables::add_to_linker::<_, Capabilities>(linker, |state| state)?;
    spin::mqtt::mqtt::add_to_linker::<_, Capabilities>(linker, |state| state)?;
    spin::mysql::mysql::add_to_linker::<_, Capabilities>(linker, |state| state)?;
    older::add_to_linker(linker)?;
    denied::add_to_linker(linker)?;
    wasi::keyvalue::store::add_to_linker::<_, Capabilities>(linker, |state| state)?;
    wasi::keyvalue::atomics::add_to_linker::<_, Capabilities>(linker, |state| state)?;
    wasi::keyvalue::batch::add_to_linker::<_, Capabilities>(linker, |state| state)?;
    if with_points {
        localmart::testing::points::add_to_linker::<_, Capabilities>(linker, |state| state)?;
    }
    Ok(())
}
