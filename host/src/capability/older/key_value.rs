//! `fermyon:spin/key-value@2.0.0`.

use super::bindings::fermyon::spin::key_value as wit;
use crate::capability::key_value::OpenStore;
use crate::capability::state::HostState;
use wasmtime::component::Resource;

type Answer<T> = wasmtime::Result<Result<T, wit::Error>>;

impl wit::Host for HostState {}

impl wit::HostStore for HostState {
    async fn open(&mut self, label: String) -> Answer<Resource<OpenStore>> {
        match self.open_key_value(label)? {
            Some(store) => Ok(Ok(store)),
            None => Ok(Err(wit::Error::AccessDenied)),
        }
    }

    async fn get(&mut self, store: Resource<OpenStore>, key: String) -> Answer<Option<Vec<u8>>> {
        let (stores, label) = self.label(&store)?;
        Ok(stores.get(&label, &key).await.map_err(wit::Error::Other))
    }

    async fn set(&mut self, store: Resource<OpenStore>, key: String, value: Vec<u8>) -> Answer<()> {
        let (stores, label) = self.label(&store)?;
        let set = stores.set(&label, &key, value).await;
        Ok(set.map_err(wit::Error::Other))
    }

    async fn delete(&mut self, store: Resource<OpenStore>, key: String) -> Answer<()> {
        let (stores, label) = self.label(&store)?;
        Ok(stores.delete(&label, &key).await.map_err(wit::Error::Other))
    }

    async fn exists(&mut self, store: Resource<OpenStore>, key: String) -> Answer<bool> {
        let (stores, label) = self.label(&store)?;
        let found = stores.get(&label, &key).await;
        Ok(found
            .map(|found| found.is_some())
            .map_err(wit::Error::Other))
    }

    async fn get_keys(&mut self, store: Resource<OpenStore>) -> Answer<Vec<String>> {
        let (stores, label) = self.label(&store)?;
        Ok(stores.all_keys(&label).await.map_err(wit::Error::Other))
    }

    async fn drop(&mut self, store: Resource<OpenStore>) -> wasmtime::Result<()> {
        self.table.delete(store)?;
        Ok(())
    }
}
