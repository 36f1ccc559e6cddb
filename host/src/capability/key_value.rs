//! `spin:key-value@3` and `wasi:keyvalue@0.2.0-draft2` on SQLite files ([`store_file`]) and Redis servers
//! ([`store_redis`]).

mod store_file;
mod store_redis;

use super::redis::Redis;
use super::sqlite::Synchronous;
use super::{Capabilities, Interface, interfaces};
use crate::capability::state::HostState;
use crate::fault::{Capability, InstanceFaults};
use crate::limits;
use crate::runtime_config::KeyValueStore;
use bindings::spin::key_value::key_value as spin_wit;
use bindings::wasi::keyvalue::{atomics, batch, store as wasi_wit};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use store_file::FileStore;
use store_redis::RedisStore;
use wasmtime::component::{Accessor, FutureReader, Resource, StreamReader};

/// Bindings generated from the vendored WIT.
#[allow(missing_docs, clippy::all, reason = "generated from vendored WIT")]
pub(crate) mod bindings {
    wasmtime::component::bindgen!({
        inline: "
            package localmart:host;
            world capability {
                import spin:key-value/key-value@3.0.0;
                import wasi:keyvalue/store@0.2.0-draft2;
                import wasi:keyvalue/atomics@0.2.0-draft2;
                import wasi:keyvalue/batch@0.2.0-draft2;
            }
        ",
        path: ["../wit/deps/spin-key-value@3.0.0", "../wit/deps/wasi-keyvalue@0.2.0-draft2"],
        imports: { default: async | trappable },
        with: {
            "spin:key-value/key-value.store": super::OpenStore,
            "wasi:keyvalue/store.bucket": super::OpenStore,
            "wasi:keyvalue/atomics.cas": super::Cas,
        },
        require_store_data_send: true,
    });
}

interfaces! {
    "spin:key-value/key-value@3.0.0": bindings::spin::key_value::key_value,
    "wasi:keyvalue/store@0.2.0-draft2": bindings::wasi::keyvalue::store,
    "wasi:keyvalue/atomics@0.2.0-draft2": bindings::wasi::keyvalue::atomics,
    "wasi:keyvalue/batch@0.2.0-draft2": bindings::wasi::keyvalue::batch,
}

/// All key-value stores of an application.
#[derive(Clone)]
pub struct KeyValue {
    /// The store for labels that the runtime configuration does not mention.
    default: FileStore,
    named: Arc<BTreeMap<String, Backend>>,
    /// The faults that apply to an instance.
    faults: Option<InstanceFaults>,
}

#[derive(Clone)]
enum Backend {
    File(FileStore),
    Redis(RedisStore),
}

/// An opened store.
pub struct OpenStore {
    label: String,
}

/// A value as a guest read it, for a later compare-and-swap.
pub struct Cas {
    label: String,
    key: String,
    seen: Option<Vec<u8>>,
}

type Sql<T> = Result<T, String>;

impl KeyValue {
    /// Opens the stores of a runtime configuration. All other labels share a file, which is created only if any label
    /// is `used`.
    pub async fn open(
        path: &Path,
        used: bool,
        named: &BTreeMap<String, KeyValueStore>,
        redis: &Arc<Redis>,
        synchronous: Synchronous,
    ) -> Sql<Self> {
        let default = FileStore::new(path, synchronous);
        if used {
            default.prepare().await?;
        }
        let mut stores = BTreeMap::new();
        for (label, store) in named {
            let backend = match store {
                KeyValueStore::Redis(url) => Backend::Redis(RedisStore::new(redis.clone(), url)),
                KeyValueStore::Spin(None) => Backend::File(default.clone()),
                KeyValueStore::Spin(Some(path)) => {
                    if let Some(folder) = path.parent() {
                        std::fs::create_dir_all(folder).map_err(|error| error.to_string())?;
                    }
                    let file = FileStore::new(path, synchronous);
                    file.prepare().await?;
                    Backend::File(file)
                }
            };
            stores.insert(label.clone(), backend);
        }
        Ok(Self {
            default,
            named: Arc::new(stores),
            faults: None,
        })
    }

    /// The same stores with the faults of an instance.
    fn with_faults(&self, faults: InstanceFaults) -> Self {
        Self {
            faults: Some(faults),
            ..self.clone()
        }
    }

    async fn inject_fault(&self) -> Sql<()> {
        match &self.faults {
            Some(faults) => {
                let injected = faults.inject(Capability::KeyValue).await;
                injected.map_err(|injected| injected.to_string())
            }
            None => Ok(()),
        }
    }

    fn of(&self, label: &str) -> Backend {
        let named = self.named.get(label).cloned();
        named.unwrap_or_else(|| Backend::File(self.default.clone()))
    }

    pub(super) async fn get(&self, label: &str, key: &str) -> Sql<Option<Vec<u8>>> {
        self.inject_fault().await?;
        match self.of(label) {
            Backend::File(file) => file.get(label, key).await,
            Backend::Redis(server) => server.get(key).await,
        }
    }

    pub(super) async fn set(&self, label: &str, key: &str, value: Vec<u8>) -> Sql<()> {
        check(key, &value)?;
        self.inject_fault().await?;
        match self.of(label) {
            Backend::File(file) => file.set(label, key, value).await,
            Backend::Redis(server) => server.set(key, value).await,
        }
    }

    pub(super) async fn delete(&self, label: &str, key: &str) -> Sql<()> {
        self.inject_fault().await?;
        match self.of(label) {
            Backend::File(file) => file.delete(label, key).await,
            Backend::Redis(server) => server.delete(key).await,
        }
    }

    pub(super) async fn keys_after(&self, label: &str, after: &str) -> Sql<Vec<String>> {
        self.inject_fault().await?;
        match self.of(label) {
            Backend::File(file) => file.keys_after(label, after).await,
            Backend::Redis(server) => server.keys_after(after).await,
        }
    }

    /// All keys in order.
    pub(super) async fn all_keys(&self, label: &str) -> Sql<Vec<String>> {
        let mut keys = Vec::<String>::new();
        loop {
            let after = keys.last().cloned().unwrap_or_default();
            let page = self.keys_after(label, &after).await?;
            if page.is_empty() {
                return Ok(keys);
            }
            keys.extend(page);
        }
    }

    /// Compare-and-swap in one atomic step.
    async fn swap(
        &self,
        label: &str,
        key: &str,
        seen: Option<Vec<u8>>,
        value: Vec<u8>,
    ) -> Sql<bool> {
        check(key, &value)?;
        self.inject_fault().await?;
        match self.of(label) {
            Backend::File(file) => file.swap(label, key, seen, value).await,
            Backend::Redis(server) => server.swap(key, seen, value).await,
        }
    }

    async fn increment(&self, label: &str, key: &str, delta: i64) -> Sql<i64> {
        self.inject_fault().await?;
        match self.of(label) {
            Backend::File(file) => file.increment(label, key, delta).await,
            Backend::Redis(server) => server.increment(key, delta).await,
        }
    }
}

fn check(key: &str, value: &[u8]) -> Sql<()> {
    if key.len() > limits::KEY_BYTES {
        return Err(format!(
            "the key is longer than {} bytes",
            limits::KEY_BYTES
        ));
    }
    if value.len() > limits::VALUE_BYTES {
        return Err(format!(
            "the value is larger than {} bytes",
            limits::VALUE_BYTES
        ));
    }
    Ok(())
}

impl HostState {
    fn granted(&self, label: &str) -> bool {
        self.component.spec.key_value_stores.contains(label)
    }

    /// Opens a store; `None` if the component has no grant for it.
    pub(super) fn open_key_value(
        &mut self,
        label: String,
    ) -> wasmtime::Result<Option<Resource<OpenStore>>> {
        if !self.granted(&label) {
            return Ok(None);
        }
        Ok(Some(self.table.push(OpenStore { label })?))
    }

    pub(super) fn label(
        &self,
        store: &Resource<OpenStore>,
    ) -> wasmtime::Result<(KeyValue, String)> {
        Ok((
            self.component.key_value.with_faults(self.faults.clone()),
            self.table.get(store)?.label.clone(),
        ))
    }
}

// --- spin:key-value@3

type Spin<T> = wasmtime::Result<Result<T, spin_wit::Error>>;

impl spin_wit::Host for HostState {}

impl spin_wit::HostStore for HostState {
    async fn drop(&mut self, store: Resource<OpenStore>) -> wasmtime::Result<()> {
        self.table.delete(store)?;
        Ok(())
    }
}

fn opened<T: Send>(
    accessor: &Accessor<T, Capabilities>,
    store: &Resource<OpenStore>,
) -> wasmtime::Result<(KeyValue, String)> {
    accessor.with(|mut access| access.get().label(store))
}

impl<T: Send + 'static> spin_wit::HostStoreWithStore<T> for Capabilities {
    async fn open(accessor: &Accessor<T, Self>, label: String) -> Spin<Resource<OpenStore>> {
        accessor.with(|mut access| {
            let opened = access.get().open_key_value(label)?;
            Ok(opened.ok_or(spin_wit::Error::AccessDenied))
        })
    }

    async fn get(
        accessor: &Accessor<T, Self>,
        store: Resource<OpenStore>,
        key: String,
    ) -> Spin<Option<Vec<u8>>> {
        let (stores, label) = opened(accessor, &store)?;
        Ok(stores
            .get(&label, &key)
            .await
            .map_err(spin_wit::Error::Other))
    }

    async fn set(
        accessor: &Accessor<T, Self>,
        store: Resource<OpenStore>,
        key: String,
        value: Vec<u8>,
    ) -> Spin<()> {
        let (stores, label) = opened(accessor, &store)?;
        Ok(stores
            .set(&label, &key, value)
            .await
            .map_err(spin_wit::Error::Other))
    }

    async fn delete(
        accessor: &Accessor<T, Self>,
        store: Resource<OpenStore>,
        key: String,
    ) -> Spin<()> {
        let (stores, label) = opened(accessor, &store)?;
        Ok(stores
            .delete(&label, &key)
            .await
            .map_err(spin_wit::Error::Other))
    }

    async fn exists(
        accessor: &Accessor<T, Self>,
        store: Resource<OpenStore>,
        key: String,
    ) -> Spin<bool> {
        let (stores, label) = opened(accessor, &store)?;
        let value = stores.get(&label, &key).await;
        Ok(value
            .map(|value| value.is_some())
            .map_err(spin_wit::Error::Other))
    }

    async fn get_keys(
        accessor: &Accessor<T, Self>,
        store: Resource<OpenStore>,
    ) -> wasmtime::Result<(
        StreamReader<String>,
        FutureReader<Result<(), spin_wit::Error>>,
    )> {
        let (stores, label) = opened(accessor, &store)?;
        let (keys, outcome) = match stores.all_keys(&label).await {
            Ok(keys) => (keys, Ok(())),
            Err(reason) => (Vec::new(), Err(spin_wit::Error::Other(reason))),
        };
        accessor.with(|mut access| {
            let stream = StreamReader::new(&mut access, keys)?;
            let end = FutureReader::new(&mut access, async { wasmtime::error::Ok(outcome) })?;
            Ok((stream, end))
        })
    }
}

// --- wasi:keyvalue@0.2.0-draft2

type Wasi<T> = wasmtime::Result<Result<T, wasi_wit::Error>>;

impl wasi_wit::Host for HostState {
    async fn open(&mut self, identifier: String) -> Wasi<Resource<OpenStore>> {
        let opened = self.open_key_value(identifier)?;
        Ok(opened.ok_or(wasi_wit::Error::AccessDenied))
    }
}

impl wasi_wit::HostBucket for HostState {
    async fn get(&mut self, bucket: Resource<OpenStore>, key: String) -> Wasi<Option<Vec<u8>>> {
        let (stores, label) = self.label(&bucket)?;
        Ok(stores
            .get(&label, &key)
            .await
            .map_err(wasi_wit::Error::Other))
    }

    async fn set(&mut self, bucket: Resource<OpenStore>, key: String, value: Vec<u8>) -> Wasi<()> {
        let (stores, label) = self.label(&bucket)?;
        Ok(stores
            .set(&label, &key, value)
            .await
            .map_err(wasi_wit::Error::Other))
    }

    async fn delete(&mut self, bucket: Resource<OpenStore>, key: String) -> Wasi<()> {
        let (stores, label) = self.label(&bucket)?;
        Ok(stores
            .delete(&label, &key)
            .await
            .map_err(wasi_wit::Error::Other))
    }

    async fn exists(&mut self, bucket: Resource<OpenStore>, key: String) -> Wasi<bool> {
        let (stores, label) = self.label(&bucket)?;
        let value = stores.get(&label, &key).await;
        Ok(value
            .map(|value| value.is_some())
            .map_err(wasi_wit::Error::Other))
    }

    async fn list_keys(
        &mut self,
        bucket: Resource<OpenStore>,
        cursor: Option<String>,
    ) -> Wasi<wasi_wit::KeyResponse> {
        let (stores, label) = self.label(&bucket)?;
        let page = stores
            .keys_after(&label, cursor.as_deref().unwrap_or_default())
            .await;
        Ok(page.map_err(wasi_wit::Error::Other).map(|keys| {
            let full = keys.len() == limits::KEYS_PER_PAGE;
            let cursor = keys.last().filter(|_| full).cloned();
            wasi_wit::KeyResponse { keys, cursor }
        }))
    }

    async fn drop(&mut self, bucket: Resource<OpenStore>) -> wasmtime::Result<()> {
        self.table.delete(bucket)?;
        Ok(())
    }
}

impl atomics::Host for HostState {
    async fn increment(
        &mut self,
        bucket: Resource<OpenStore>,
        key: String,
        delta: i64,
    ) -> Wasi<i64> {
        let (stores, label) = self.label(&bucket)?;
        Ok(stores
            .increment(&label, &key, delta)
            .await
            .map_err(wasi_wit::Error::Other))
    }

    async fn swap(
        &mut self,
        cas: Resource<Cas>,
        value: Vec<u8>,
    ) -> wasmtime::Result<Result<(), atomics::CasError>> {
        let stores = self.component.key_value.clone();
        let Cas { label, key, seen } = self.table.delete(cas)?;
        match stores.swap(&label, &key, seen, value).await {
            Ok(true) => Ok(Ok(())),
            Ok(false) => match stores.get(&label, &key).await {
                Ok(seen) => {
                    let fresh = self.table.push(Cas { label, key, seen })?;
                    Ok(Err(atomics::CasError::CasFailed(fresh)))
                }
                Err(reason) => Ok(Err(atomics::CasError::StoreError(wasi_wit::Error::Other(
                    reason,
                )))),
            },
            Err(reason) => Ok(Err(atomics::CasError::StoreError(wasi_wit::Error::Other(
                reason,
            )))),
        }
    }
}

impl atomics::HostCas for HostState {
    async fn new(&mut self, bucket: Resource<OpenStore>, key: String) -> Wasi<Resource<Cas>> {
        let (stores, label) = self.label(&bucket)?;
        match stores.get(&label, &key).await {
            Ok(seen) => Ok(Ok(self.table.push(Cas { label, key, seen })?)),
            Err(reason) => Ok(Err(wasi_wit::Error::Other(reason))),
        }
    }

    async fn current(&mut self, cas: Resource<Cas>) -> Wasi<Option<Vec<u8>>> {
        Ok(Ok(self.table.get(&cas)?.seen.clone()))
    }

    async fn drop(&mut self, cas: Resource<Cas>) -> wasmtime::Result<()> {
        self.table.delete(cas)?;
        Ok(())
    }
}

impl batch::Host for HostState {
    async fn get_many(
        &mut self,
        bucket: Resource<OpenStore>,
        keys: Vec<String>,
    ) -> Wasi<Vec<(String, Option<Vec<u8>>)>> {
        let (stores, label) = self.label(&bucket)?;
        let mut found = Vec::with_capacity(keys.len());
        for key in keys {
            match stores.get(&label, &key).await {
                Ok(value) => found.push((key, value)),
                Err(reason) => return Ok(Err(wasi_wit::Error::Other(reason))),
            }
        }
        Ok(Ok(found))
    }

    async fn set_many(
        &mut self,
        bucket: Resource<OpenStore>,
        pairs: Vec<(String, Vec<u8>)>,
    ) -> Wasi<()> {
        let (stores, label) = self.label(&bucket)?;
        for (key, value) in pairs {
            if let Err(reason) = stores.set(&label, &key, value).await {
                return Ok(Err(wasi_wit::Error::Other(reason)));
            }
        }
        Ok(Ok(()))
    }

    async fn delete_many(&mut self, bucket: Resource<OpenStore>, keys: Vec<String>) -> Wasi<()> {
        let (stores, label) = self.label(&bucket)?;
        for key in keys {
            if let Err(reason) = stores.delete(&label, &key).await {
                return Ok(Err(wasi_wit::Error::Other(reason)));
            }
        }
        Ok(Ok(()))
    }
}
