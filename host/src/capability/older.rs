//! Older interfaces of Spin: `fermyon:spin/*@2.0.0`, `spin:postgres@3.0.0` and `wasi:config@0.2.0-draft-2024-09-27`.
//! They are translated to the capabilities of the newer interfaces, with the same grants. `spin:postgres@4.0`,
//! `spin:sqlite@3.0` and other older minor versions need no translation: the newer interface answers them.

mod key_value;
mod postgres;
mod redis;
mod sqlite;
mod variables;

use super::{Capabilities, Interface, interfaces};

/// Bindings generated from the vendored WIT.
#[allow(missing_docs, clippy::all, reason = "generated from vendored WIT")]
pub(crate) mod bindings {
    wasmtime::component::bindgen!({
        inline: "
            package localmart:older;
            world capabilities {
                import fermyon:spin/key-value@2.0.0;
                import fermyon:spin/sqlite@2.0.0;
                import fermyon:spin/variables@2.0.0;
                import fermyon:spin/redis@2.0.0;
                import fermyon:spin/postgres@2.0.0;
                import fermyon:spin/mqtt@2.0.0;
                import fermyon:spin/mysql@2.0.0;
                import fermyon:spin/llm@2.0.0;
                import spin:postgres/postgres@3.0.0;
                import wasi:config/store@0.2.0-draft-2024-09-27;
            }
        ",
        path: [
            "../wit/deps/fermyon-spin@2.0.0",
            "../wit/deps/spin-postgres@3.0.0",
            "../wit/deps/wasi-config@0.2.0-draft-2024-09-27",
        ],
        imports: { default: async | trappable },
        with: {
            "fermyon:spin/key-value.store": crate::capability::key_value::OpenStore,
            "fermyon:spin/sqlite.connection": crate::capability::sqlite::Connection,
            "fermyon:spin/redis.connection": crate::capability::redis::Connection,
            "fermyon:spin/postgres.connection": crate::capability::postgres::Connection,
            "fermyon:spin/mqtt.connection": crate::capability::mqtt::Connection,
            "fermyon:spin/mysql.connection": crate::capability::unsupported::NoConnection,
            "spin:postgres/postgres.connection": crate::capability::postgres::Connection,
        },
        require_store_data_send: true,
    });
}

interfaces! {
    "fermyon:spin/key-value@2.0.0": bindings::fermyon::spin::key_value,
    "fermyon:spin/sqlite@2.0.0": bindings::fermyon::spin::sqlite,
    "fermyon:spin/variables@2.0.0": bindings::fermyon::spin::variables,
    "fermyon:spin/redis@2.0.0": bindings::fermyon::spin::redis,
    "fermyon:spin/rdbms-types@2.0.0": bindings::fermyon::spin::rdbms_types,
    "fermyon:spin/postgres@2.0.0": bindings::fermyon::spin::postgres,
    "fermyon:spin/mqtt@2.0.0": bindings::fermyon::spin::mqtt,
    "fermyon:spin/mysql@2.0.0": bindings::fermyon::spin::mysql,
    "fermyon:spin/llm@2.0.0": bindings::fermyon::spin::llm,
    "spin:postgres/postgres@3.0.0": bindings::spin::postgres::postgres,
    "wasi:config/store@0.2.0-draft-2024-09-27": bindings::wasi::config::store,
}
