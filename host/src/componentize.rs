//! Makes components of what compilers produce. Core modules, the output of older compilers, are wrapped: a custom section of
//! the module names its world, and its calls to WASI preview 1 go through wasmtime's adapter. The release candidate of
//! WASI 0.3 is replaced by WASI 0.3.

use crate::rename::{Place, rename};
use anyhow::Context as _;
use std::borrow::Cow;
use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER,
};
use wasmparser::{Encoding, Parser, Payload};
use wit_component::ComponentEncoder;

/// The release candidate of WASI 0.3 that compilers used. Its interfaces have the same types as those of 0.3.0.
const CANDIDATE: &str = "@0.3.0-rc-2026-03-15";
/// The version that an import of the candidate gets. It differs from 0.3.0 because SDKs import both, and the linker answers
/// every 0.3.x with its own version.
const CANDIDATE_IMPORT: &str = "@0.3.1";
/// The version that an export of the candidate gets.
const CANDIDATE_EXPORT: &str = "@0.3.0";

/// The bytes of a component. Bytes that already are a component are returned unchanged, except for their versions of WASI.
pub fn component(bytes: &[u8]) -> anyhow::Result<Cow<'_, [u8]>> {
    let first = Parser::new(0).parse_all(bytes).next();
    let is_module = matches!(
        first,
        Some(Ok(Payload::Version {
            encoding: Encoding::Module,
            ..
        }))
    );
    if !is_module {
        return Ok(released(bytes));
    }
    let encode = || {
        ComponentEncoder::default()
            .validate(true)
            .module(bytes)?
            .adapter(
                WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME,
                WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER,
            )?
            .encode()
    };
    let component = encode().context("wrapping a core module into a component")?;
    Ok(Cow::Owned(component))
}

/// Replaces the release candidate of WASI 0.3. What cannot be read stays as it is; its reader gives the reason.
fn released(bytes: &[u8]) -> Cow<'_, [u8]> {
    let renamed = rename(bytes, |place, name| {
        let interface = name.strip_suffix(CANDIDATE)?;
        let version = match place {
            Place::Import => CANDIDATE_IMPORT,
            Place::Export => CANDIDATE_EXPORT,
        };
        let of_wasi = interface.starts_with("wasi:");
        of_wasi.then(|| format!("{interface}{version}"))
    });
    renamed.unwrap_or(Cow::Borrowed(bytes))
}
