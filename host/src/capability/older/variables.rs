//! `fermyon:spin/variables@2.0.0` and `wasi:config/store@0.2.0-draft-2024-09-27`.

use super::bindings::fermyon::spin::variables as wit;
use super::bindings::wasi::config::store as config;
use crate::capability::state::HostState;
use crate::variables::is_name;

impl wit::Host for HostState {
    async fn get(&mut self, name: String) -> wasmtime::Result<Result<String, wit::Error>> {
        if !is_name(&name) {
            return Ok(Err(wit::Error::InvalidName(name)));
        }
        let known = self.component.spec.variables.get(&name).cloned();
        let unknown = || wit::Error::Undefined(format!("no variable `{name}` for this component"));
        Ok(known.ok_or_else(unknown))
    }
}

impl config::Host for HostState {
    async fn get(
        &mut self,
        key: String,
    ) -> wasmtime::Result<Result<Option<String>, config::Error>> {
        Ok(Ok(self.component.spec.variables.get(&key).cloned()))
    }

    async fn get_all(&mut self) -> wasmtime::Result<Result<Vec<(String, String)>, config::Error>> {
        let all = self.component.spec.variables.iter();
        Ok(Ok(all
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect()))
    }
}
