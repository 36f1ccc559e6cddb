//! Removes grants from a component inside another one. Its imports that require a grant are renamed to interfaces that
//! the host answers as for a component without grants ([`crate::capability::denied`]). The outer component keeps its
//! own imports.

use std::borrow::Cow;
use std::collections::BTreeSet;
use wasmparser::{Parser, Payload};

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
    let (mut out, mut copied, mut depth) = (Vec::new(), 0, 0_usize);
    for payload in Parser::new(0).parse_all(wasm) {
        match payload.map_err(|error| format!("it is not a component: {error}"))? {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentImportSection(section) if depth == 0 => {
                let body = section.range();
                let (mut renamed, mut at) = (Vec::new(), body.start);
                for import in section {
                    let name = import.map_err(|error| error.to_string())?.name.name;
                    if Grant::for_interface(name).is_none_or(|grant| granted.contains(&grant)) {
                        continue;
                    }
                    // The name is preceded by its length, in the shortest encoding, as every encoder writes it.
                    let start = (name.as_ptr() as usize).saturating_sub(wasm.as_ptr() as usize);
                    let before = start.saturating_sub(leb(name.len()).len());
                    let new = denied_name(name);
                    renamed.extend_from_slice(wasm.get(at..before).unwrap_or_default());
                    renamed.extend(leb(new.len()));
                    renamed.extend_from_slice(new.as_bytes());
                    at = start + name.len();
                }
                if at == body.start {
                    continue;
                }
                renamed.extend_from_slice(wasm.get(at..body.end).unwrap_or_default());
                // A section consists of id, size and body.
                let head = body.start.saturating_sub(leb(body.len()).len());
                out.extend_from_slice(wasm.get(copied..head).unwrap_or_default());
                out.extend(leb(renamed.len()));
                out.extend(renamed);
                copied = body.end;
            }
            _ => {}
        }
    }
    if copied == 0 {
        return Ok(Cow::Borrowed(wasm));
    }
    out.extend_from_slice(wasm.get(copied..).unwrap_or_default());
    wasmparser::Validator::new_with_features(wasmparser::WasmFeatures::all())
        .validate_all(&out)
        .map_err(|error| format!("its imports cannot be renamed: {error}"))?;
    Ok(Cow::Owned(out))
}

/// Encodes an unsigned number as LEB128, the variable-length format of WebAssembly.
fn leb(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = u8::try_from(number & 0x7f).unwrap_or_default();
        number >>= 7;
        if number == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}
