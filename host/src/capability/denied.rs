//! The interfaces that require a grant, answered as for a component without grants. They serve components inside
//! another one that do not inherit its grants; their imports were renamed by [`crate::compose::deny`].

use super::Capabilities;
use super::bindings::{spin, wasi};
use super::older::bindings as older;
use crate::capability::state::HostState;
use crate::compose::deny::denied_name;
use wasmtime::component::Linker;
use wasmtime_wasi::cli::{WasiCli, WasiCliCtxView};
use wasmtime_wasi::filesystem::{WasiFilesystem, WasiFilesystemCtxView};
use wasmtime_wasi::sockets::{WasiSockets, WasiSocketsCtxView};
use wasmtime_wasi_http::{WasiHttp, WasiHttpCtxView};

/// Adds all of these interfaces.
pub(super) fn add_to_linker(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    macro_rules! deny {
        ($($name:literal: $interface:path, $data:ty, $state:expr;)*) => {$({
            use $interface as interface;
            let mut instance = linker.instance(&denied_name($name))?;
            interface::add_to_linker_instance::<HostState, $data>(&mut instance, $state)?;
        })*};
    }
    deny! {
        "spin:sqlite/sqlite@3.1.0": spin::sqlite::sqlite, Capabilities, HostState::without_grants;
        "spin:postgres/postgres@4.2.0": spin::postgres::postgres, Capabilities, HostState::without_grants;
        "spin:redis/redis@3.0.0": spin::redis::redis, Capabilities, HostState::without_grants;
        "spin:key-value/key-value@3.0.0": spin::key_value::key_value, Capabilities, HostState::without_grants;
        "spin:variables/variables@3.0.0": spin::variables::variables, Capabilities, HostState::without_grants;
        "spin:mqtt/mqtt@3.0.0": spin::mqtt::mqtt, Capabilities, HostState::without_grants;
        "wasi:keyvalue/store@0.2.0-draft2": wasi::keyvalue::store, Capabilities, HostState::without_grants;
        "wasi:keyvalue/atomics@0.2.0-draft2": wasi::keyvalue::atomics, Capabilities, HostState::without_grants;
        "wasi:keyvalue/batch@0.2.0-draft2": wasi::keyvalue::batch, Capabilities, HostState::without_grants;
        "fermyon:spin/key-value@2.0.0": older::fermyon::spin::key_value, Capabilities, HostState::without_grants;
        "fermyon:spin/sqlite@2.0.0": older::fermyon::spin::sqlite, Capabilities, HostState::without_grants;
        "fermyon:spin/variables@2.0.0": older::fermyon::spin::variables, Capabilities, HostState::without_grants;
        "fermyon:spin/redis@2.0.0": older::fermyon::spin::redis, Capabilities, HostState::without_grants;
        "fermyon:spin/postgres@2.0.0": older::fermyon::spin::postgres, Capabilities, HostState::without_grants;
        "fermyon:spin/mqtt@2.0.0": older::fermyon::spin::mqtt, Capabilities, HostState::without_grants;
        "fermyon:spin/mysql@2.0.0": older::fermyon::spin::mysql, Capabilities, HostState::without_grants;
        "fermyon:spin/llm@2.0.0": older::fermyon::spin::llm, Capabilities, HostState::without_grants;
        "spin:mysql/mysql@3.0.0": spin::mysql::mysql, Capabilities, HostState::without_grants;
        "spin:postgres/postgres@3.0.0": older::spin::postgres::postgres, Capabilities, HostState::without_grants;
        "wasi:config/store@0.2.0-draft-2024-09-27": older::wasi::config::store, Capabilities, HostState::without_grants;
        "wasi:cli/environment@0.2.0": wasmtime_wasi::p2::bindings::cli::environment, WasiCli, cli;
        "wasi:cli/environment@0.3.0": wasmtime_wasi::p3::bindings::cli::environment, WasiCli, cli;
        "wasi:filesystem/preopens@0.2.0": wasmtime_wasi::p2::bindings::filesystem::preopens, WasiFilesystem, filesystem;
        "wasi:filesystem/preopens@0.3.0": wasmtime_wasi::p3::bindings::filesystem::preopens, WasiFilesystem, filesystem;
        "wasi:sockets/tcp-create-socket@0.2.0": wasmtime_wasi::p2::bindings::sockets::tcp_create_socket, WasiSockets, sockets;
        "wasi:sockets/udp-create-socket@0.2.0": wasmtime_wasi::p2::bindings::sockets::udp_create_socket, WasiSockets, sockets;
        "wasi:sockets/ip-name-lookup@0.2.0": wasmtime_wasi::p2::bindings::sockets::ip_name_lookup, WasiSockets, sockets;
        "wasi:sockets/ip-name-lookup@0.3.0": wasmtime_wasi::p3::bindings::sockets::ip_name_lookup, WasiSockets, sockets;
        "wasi:sockets/types@0.3.0": wasmtime_wasi::p3::bindings::sockets::types, WasiSockets, sockets;
        "wasi:http/outgoing-handler@0.2.0": wasmtime_wasi_http::p2::bindings::http::outgoing_handler, WasiHttp, http;
        "wasi:http/client@0.3.0": wasmtime_wasi_http::p3::bindings::http::client, WasiHttp, http;
    }
    Ok(())
}

// Handles made here live in the instance's table; only the permissions differ.

fn cli(state: &mut HostState) -> WasiCliCtxView<'_> {
    let (wasi, table) = state.wasi_without_grants();
    WasiCliCtxView {
        ctx: wasi.cli(),
        table,
    }
}

fn filesystem(state: &mut HostState) -> WasiFilesystemCtxView<'_> {
    let (wasi, table) = state.wasi_without_grants();
    WasiFilesystemCtxView {
        ctx: wasi.filesystem(),
        table,
    }
}

fn sockets(state: &mut HostState) -> WasiSocketsCtxView<'_> {
    let (wasi, table) = state.wasi_without_grants();
    WasiSocketsCtxView {
        ctx: wasi.sockets(),
        table,
    }
}

fn http(state: &mut HostState) -> WasiHttpCtxView<'_> {
    state.http_without_grants()
}
