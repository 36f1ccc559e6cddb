//! Core modules as components: what compilers wrote before they wrote components. A module says in a custom section which world
//! it is for; its calls of WASI preview 1 go through wasmtime's adapter.

use anyhow::Context as _;
use std::borrow::Cow;
use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER,
};
use wasmparser::{Encoding, Parser, Payload};
use wit_component::ComponentEncoder;

/// The bytes as a component: as they are if they are one.
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
        return Ok(Cow::Borrowed(bytes));
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
    let component = encode().context("making a component of a core module")?;
    Ok(Cow::Owned(component))
}
