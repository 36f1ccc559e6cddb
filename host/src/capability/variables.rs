//! `spin:variables@3`: the component's own variables, resolved when the application was loaded.

use super::{Capabilities, Interface, interfaces};
use crate::capability::state::HostState;
use crate::variables::is_name;
use bindings::spin::variables::variables as wit;
use wasmtime::component::Accessor;

/// Bindings generated from the vendored WIT.
#[allow(missing_docs, clippy::all, reason = "generated from vendored WIT")]
pub(crate) mod bindings {
    wasmtime::component::bindgen!({
        inline: "
            package localmart:host;
            world capability {
                import spin:variables/variables@3.0.0;
            }
        ",
        path: ["../wit/deps/spin-variables@3.0.0"],
        imports: { default: async | trappable },
        require_store_data_send: true,
    });
}

interfaces! {
    "spin:variables/variables@3.0.0": bindings::spin::variables::variables,
}

impl wit::Host for HostState {}

impl<T: Send + 'static> wit::HostWithStore<T> for Capabilities {
    async fn get(
        accessor: &Accessor<T, Self>,
        name: String,
    ) -> wasmtime::Result<Result<String, wit::Error>> {
        accessor.with(|mut access| {
            if !is_name(&name) {
                return Ok(Err(wit::Error::InvalidName(name)));
            }
            let known = access.get().component.spec.variables.get(&name).cloned();
            Ok(known.ok_or_else(|| {
                wit::Error::Undefined(format!("no variable `{name}` for this component"))
            }))
        })
    }
}
