//! Applications in OCI registries, in the layout that Spin pushes and pulls, so that each host runs what the other one pushed.
//!
//! In reading order: [`locked`] (spin.toml and Spin's locked application), [`artifact`] (an application as layers),
//! [`registry`] (push and pull), [`unpack`] (an artifact as a folder with spin.toml). Beyond Spin's layout an artifact has the
//! components without their links, which this host links itself; other hosts ignore these layers.

pub mod artifact;
pub mod locked;
pub mod registry;
pub mod unpack;

use sha2::{Digest as _, Sha256};

/// Spin's locked application.
pub const APPLICATION: &str = "application/vnd.fermyon.spin.application.v1+config";
/// A component, composed with its dependencies and fused with its links.
pub const WASM: &str = "application/vnd.wasm.content.layer.v1+wasm";
/// A component without its links. Only this host uses it.
pub const SINGLE: &str = "application/vnd.localmart.component.v1+wasm";
/// A file of a component.
pub const DATA: &str = "application/vnd.wasm.content.layer.v1+data";
/// The files of a component as an archive.
pub const ARCHIVE: &str = "application/vnd.wasm.content.bundle.v1.tar+gzip";
/// A component that was pushed alone, by other tools.
pub const ALONE: &str = "application/wasm";

/// The digest of some bytes as registries write it: `sha256:` and 64 hexadecimal digits.
pub fn digest(bytes: &[u8]) -> String {
    let digits: String = Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("sha256:{digits}")
}
