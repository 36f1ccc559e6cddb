//! `spin:variables@3`: the component's own variables, resolved when the application was loaded.

use super::Capabilities;
use super::bindings::spin::variables::variables as wit;
use crate::capability::state::HostState;
use crate::variables::is_name;
use wasmtime::component::Accessor;

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
