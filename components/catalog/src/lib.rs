//! Products and categories. In reading order: [`domain`] (products and categories), [`service`] (operations), [`store`]
//! (SQL), [`http`] (HTTP API), [`contract`] (WIT exports), [`picture`] (generated images).

#![cfg_attr(
    not(target_arch = "wasm32"),
    allow(dead_code, reason = "only a component has callers")
)]

mod contract;
mod domain;
mod http;
mod picture;
mod service;
mod store;
#[cfg(test)]
mod tests;

localmart_guest::component!(service::Catalog<localmart_guest::sql::ServiceDatabase>);
