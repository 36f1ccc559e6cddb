//! Wraps core modules, the output of older compilers, into components. A custom section of the module names its world.
//! Its calls to WASI preview 1 go through wasmtime's adapter.

use anyhow::Context as _;
use std::borrow::Cow;
use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER,
};
use wasmparser::{Encoding, Parser, Payload};
use wit_component::ComponentEncoder;

/// The bytes of a component. Bytes that already are a component are returned unchanged.
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
    let component = encode().context("wrapping a core module into a component")?;
    Ok(Cow::Owned(component))
}
