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
use wasmtime::component::{HasData, Linker, LinkerInstance};

/// The marker type for wasmtime's linker. The data of all capabilities is in the instance's [`HostState`].
pub struct Capabilities;

impl HasData for Capabilities {
    type Data<'a> = &'a mut HostState;
}

/// An interface that a guest may import. [`interfaces!`] makes them.
pub(crate) struct Interface {
    name: &'static str,
    add: fn(&mut Linker<HostState>) -> wasmtime::Result<()>,
    /// Adds it under another name, answered as for a component without grants.
    deny: fn(&mut LinkerInstance<'_, HostState>) -> wasmtime::Result<()>,
}

/// Lists the interfaces of a capability, each with its bindings, as `INTERFACES`.
macro_rules! interfaces {
    ($($name:literal: $bindings:path),* $(,)?) => {
        /// The interfaces of this capability.
        pub(crate) const INTERFACES: &[Interface] = &[$({
            use $bindings as interface;
            Interface {
                name: $name,
                add: |linker| interface::add_to_linker::<_, Capabilities>(linker, |state| state),
                deny: |instance| {
                    interface::add_to_linker_instance::<_, Capabilities>(
                        instance,
                        crate::capability::state::HostState::without_grants,
                    )
                },
            }
        }),*];
    };
}
use interfaces;

/// All capabilities. A new one is a file with its bindings, its `interfaces!` and their implementation, and a line here.
const CAPABILITIES: &[&[Interface]] = &[
    sqlite::INTERFACES,
    postgres::INTERFACES,
    redis::INTERFACES,
    key_value::INTERFACES,
    variables::INTERFACES,
    mqtt::INTERFACES,
    unsupported::INTERFACES,
    older::INTERFACES,
];

/// Adds every interface that a guest may import. Test points are added only on request.
pub fn add_to_linker(linker: &mut Linker<HostState>, with_points: bool) -> wasmtime::Result<()> {
    wasmtime_wasi::p2::add_to_linker_async(linker)?;
    wasmtime_wasi::p3::add_to_linker(linker)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(linker)?;
    wasmtime_wasi_http::p3::add_to_linker(linker)?;
    for interface in CAPABILITIES.iter().copied().flatten() {
        (interface.add)(linker)?;
    }
    if with_points {
        for interface in points::INTERFACES {
            (interface.add)(linker)?;
        }
    }
    denied::add_to_linker(linker)
}
