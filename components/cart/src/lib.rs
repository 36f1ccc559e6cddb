//! Carts. In reading order: [`domain`] (a cart and its rules), [`service`] (operations), [`store`] (guests' carts in the
//! short-lived store, users' carts in SQL), [`http`] (HTTP API), [`contract`] (WIT exports), [`links`] (calls to other
//! services).

#![cfg_attr(
    not(target_arch = "wasm32"),
    allow(dead_code, reason = "only a component has callers")
)]

mod contract;
mod domain;
mod http;
mod links;
mod service;
mod store;
#[cfg(test)]
mod tests;

localmart_guest::component!(service::Carts<localmart_guest::sql::ServiceDatabase, localmart_guest::short_lived::ServiceStore, links::Linked>);
