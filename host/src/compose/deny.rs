//! Removes grants from a component inside another one. Its imports that require a grant are renamed to interfaces that
//! the host answers as for a component without grants (`capability::denied`). The outer component keeps its
//! own imports.

use crate::rename::{Place, rename};
use std::borrow::Cow;
use std::collections::BTreeSet;

/// A grant of a component, named after its key in the manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grant {
    /// `ai_models`.
    AiModels,
    /// `allowed_outbound_hosts`.
    OutboundHosts,
    /// `environment`.
    Environment,
    /// `files`.
    Files,
    /// `key_value_stores`.
    KeyValueStores,
    /// `sqlite_databases`.
    SqliteDatabases,
    /// `variables`.
    Variables,
}

impl Grant {
    /// All grants.
    pub const ALL: [Self; 7] = [
        Self::AiModels,
        Self::OutboundHosts,
        Self::Environment,
        Self::Files,
        Self::KeyValueStores,
        Self::SqliteDatabases,
        Self::Variables,
    ];

    /// The key in the manifest.
    pub fn key(self) -> &'static str {
        match self {
            Self::AiModels => "ai_models",
            Self::OutboundHosts => "allowed_outbound_hosts",
            Self::Environment => "environment",
            Self::Files => "files",
            Self::KeyValueStores => "key_value_stores",
            Self::SqliteDatabases => "sqlite_databases",
            Self::Variables => "variables",
        }
    }

    /// The grant that an imported interface requires, if any.
    fn for_interface(import: &str) -> Option<Self> {
        let (name, _) = import.split_once('@').unwrap_or((import, ""));
        Some(match name {
            "fermyon:spin/llm" => Self::AiModels,
            "fermyon:spin/mqtt"
            | "fermyon:spin/mysql"
            | "fermyon:spin/postgres"
            | "fermyon:spin/redis" => Self::OutboundHosts,
            "spin:mqtt/mqtt"
            | "spin:mysql/mysql"
            | "spin:postgres/postgres"
            | "spin:redis/redis" => Self::OutboundHosts,
            "wasi:http/outgoing-handler" | "wasi:http/client" => Self::OutboundHosts,
            "wasi:sockets/tcp-create-socket"
            | "wasi:sockets/udp-create-socket"
            | "wasi:sockets/ip-name-lookup" => Self::OutboundHosts,
            // In WASI 0.3 sockets are created with this interface.
            "wasi:sockets/types" => Self::OutboundHosts,
            "wasi:cli/environment" => Self::Environment,
            "wasi:filesystem/preopens" => Self::Files,
            "fermyon:spin/key-value" | "spin:key-value/key-value" => Self::KeyValueStores,
            "wasi:keyvalue/store" | "wasi:keyvalue/atomics" | "wasi:keyvalue/batch" => {
                Self::KeyValueStores
            }
            "fermyon:spin/sqlite" | "spin:sqlite/sqlite" => Self::SqliteDatabases,
            "fermyon:spin/variables" | "spin:variables/variables" | "wasi:config/store" => {
                Self::Variables
            }
            _ => return None,
        })
    }
}

/// The name of the interface that the host answers without grants.
pub fn denied_name(import: &str) -> String {
    let (package, interface) = import.split_once('/').unwrap_or((import, ""));
    format!("denied:{}/{interface}", package.replace(':', "-"))
}

/// Renames every import that requires a grant which the component does not have.
pub fn deny<'a>(wasm: &'a [u8], granted: &BTreeSet<Grant>) -> Result<Cow<'a, [u8]>, String> {
    rename(wasm, |place, name| {
        let grant = Grant::for_interface(name).filter(|_| place == Place::Import);
        let denied = grant.is_some_and(|grant| !granted.contains(&grant));
        denied.then(|| denied_name(name))
    })
}
