//! The interfaces that require a grant, answered as for a component without grants. They serve components inside
//! another one that do not inherit its grants; their imports were renamed by [`crate::compose::deny`].

use super::CAPABILITIES;
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
    for interface in CAPABILITIES.iter().copied().flatten() {
        let mut instance = linker.instance(&denied_name(interface.name))?;
        (interface.deny)(&mut instance)?;
    }
    deny! {
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
