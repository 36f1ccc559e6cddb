//! `spin:key-value@3` and `wasi:keyvalue@0.2.0-draft2` over one store: a table in an SQLite file of the state folder.

use super::Capabilities;
use super::bindings::spin::key_value::key_value as spin_wit;
use super::bindings::spin::sqlite::sqlite::{Error as SqlError, Value};
use super::bindings::wasi::keyvalue::{atomics, batch, store as wasi_wit};
use super::sqlite::{Connection, Database, Rows, Synchronous};
use crate::limits;
use crate::state::HostState;
use std::path::Path;
use std::sync::Arc;
use wasmtime::component::{Accessor, FutureReader, Resource, StreamReader};

const SCHEMA: &str = "CREATE TABLE IF NOT EXISTS entries (\
    store TEXT NOT NULL, key TEXT NOT NULL, value BLOB NOT NULL, PRIMARY KEY (store, key)) WITHOUT ROWID";

/// All key-value stores of an application.
#[derive(Clone)]
pub struct KeyValue(Arc<Database>);

/// A store that a guest opened.
pub struct OpenStore {
    label: String,
}

/// A value as a guest saw it, for a later swap.
pub struct Cas {
    label: String,
    key: String,
    seen: Option<Vec<u8>>,
}

type Sql<T> = Result<T, String>;

impl KeyValue {
    /// The stores in a file, made when first used.
    pub fn new(path: &Path, synchronous: Synchronous) -> Self {
        Self(Arc::new(Database::new(path, synchronous)))
    }

    /// Makes the table.
    pub async fn prepare(&self) -> Sql<()> {
        self.run(SCHEMA, &[]).await.map(drop)
    }

    async fn run(&self, sql: &str, params: &[Value]) -> Sql<(Rows, u64)> {
        let mut connection = self.0.open().map_err(|error| error.to_string())?;
        let rows = run(&mut connection, sql, params).await?;
        Ok((rows, connection.changes()))
    }

    async fn get(&self, label: &str, key: &str) -> Sql<Option<Vec<u8>>> {
        let (rows, _) = self
            .run(
                "SELECT value FROM entries WHERE store = ?1 AND key = ?2",
                &place(label, key),
            )
            .await?;
        Ok(first_blob(rows))
    }

    async fn set(&self, label: &str, key: &str, value: Vec<u8>) -> Sql<()> {
        check(key, &value)?;
        let [store, key] = place(label, key);
        let sql = "INSERT INTO entries (store, key, value) VALUES (?1, ?2, ?3) \
                   ON CONFLICT (store, key) DO UPDATE SET value = excluded.value";
        self.run(sql, &[store, key, Value::Blob(value)])
            .await
            .map(drop)
    }

    async fn delete(&self, label: &str, key: &str) -> Sql<()> {
        self.run(
            "DELETE FROM entries WHERE store = ?1 AND key = ?2",
            &place(label, key),
        )
        .await
        .map(drop)
    }

    async fn keys_after(&self, label: &str, after: &str) -> Sql<Vec<String>> {
        let sql = "SELECT key FROM entries WHERE store = ?1 AND key > ?2 ORDER BY key LIMIT ?3";
        let [store, after] = place(label, after);
        let page = i64::try_from(limits::KEYS_PER_PAGE).unwrap_or(i64::MAX);
        let (rows, _) = self.run(sql, &[store, after, Value::Integer(page)]).await?;
        let text = |row: Vec<Value>| match row.into_iter().next() {
            Some(Value::Text(key)) => Some(key),
            _ => None,
        };
        Ok(rows.rows.into_iter().filter_map(text).collect())
    }

    /// One statement decides, so no two swaps can both win.
    async fn swap(
        &self,
        label: &str,
        key: &str,
        seen: Option<Vec<u8>>,
        value: Vec<u8>,
    ) -> Sql<bool> {
        check(key, &value)?;
        let [store, key] = place(label, key);
        let (_, changed) = match seen {
            None => {
                let sql = "INSERT INTO entries (store, key, value) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING";
                self.run(sql, &[store, key, Value::Blob(value)]).await?
            }
            Some(seen) => {
                let sql =
                    "UPDATE entries SET value = ?3 WHERE store = ?1 AND key = ?2 AND value = ?4";
                self.run(sql, &[store, key, Value::Blob(value), Value::Blob(seen)])
                    .await?
            }
        };
        Ok(changed == 1)
    }

    async fn increment(&self, label: &str, key: &str, delta: i64) -> Sql<i64> {
        let mut connection = self.0.open().map_err(|error| error.to_string())?;
        run(&mut connection, "BEGIN IMMEDIATE", &[]).await?;
        let [store, key] = place(label, key);
        let found = "SELECT value FROM entries WHERE store = ?1 AND key = ?2";
        let current = first_blob(run(&mut connection, found, &[store.clone(), key.clone()]).await?);
        let number = match current {
            None => 0,
            Some(bytes) => String::from_utf8(bytes)
                .ok()
                .and_then(|text| text.parse::<i64>().ok())
                .ok_or("the value is no number")?,
        };
        let sum = number
            .checked_add(delta)
            .ok_or("the number would be too large")?;
        let sql = "INSERT INTO entries (store, key, value) VALUES (?1, ?2, ?3) \
                   ON CONFLICT (store, key) DO UPDATE SET value = excluded.value";
        run(
            &mut connection,
            sql,
            &[store, key, Value::Blob(sum.to_string().into_bytes())],
        )
        .await?;
        run(&mut connection, "COMMIT", &[]).await?;
        Ok(sum)
    }
}

async fn run(connection: &mut Connection, sql: &str, params: &[Value]) -> Sql<Rows> {
    connection
        .run(sql, params)
        .await
        .map_err(|error| match error {
            SqlError::Io(reason) => reason,
            other => format!("{other:?}"),
        })
}

fn place(label: &str, key: &str) -> [Value; 2] {
    [Value::Text(label.to_owned()), Value::Text(key.to_owned())]
}

fn first_blob(rows: Rows) -> Option<Vec<u8>> {
    match rows.rows.into_iter().next()?.into_iter().next()? {
        Value::Blob(bytes) => Some(bytes),
        _ => None,
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

    fn label(&self, store: &Resource<OpenStore>) -> wasmtime::Result<(KeyValue, String)> {
        Ok((
            self.component.key_value.clone(),
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
            let state = access.get();
            if !state.granted(&label) {
                return Ok(Err(spin_wit::Error::AccessDenied));
            }
            Ok(Ok(state.table.push(OpenStore { label })?))
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
        let (mut keys, mut outcome) = (Vec::<String>::new(), Ok(()));
        loop {
            let after = keys.last().cloned().unwrap_or_default();
            match stores.keys_after(&label, &after).await {
                Ok(page) if page.is_empty() => break,
                Ok(page) => keys.extend(page),
                Err(reason) => {
                    outcome = Err(spin_wit::Error::Other(reason));
                    break;
                }
            }
        }
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
        if !self.granted(&identifier) {
            return Ok(Err(wasi_wit::Error::AccessDenied));
        }
        Ok(Ok(self.table.push(OpenStore { label: identifier })?))
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
