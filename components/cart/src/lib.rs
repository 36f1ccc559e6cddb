//! Carts. In reading order: [`domain`] (a cart and its rules), [`service`] (what can be asked for), [`store`] (guests' in the
//! short-lived store, users' in SQL), [`http`] (REST door), [`contract`] (WIT door and links).

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

#[cfg(target_arch = "wasm32")]
localmart_guest::door!(
    http::CartDoor<localmart_guest::sql::ServiceDatabase, localmart_guest::short_lived::ServiceStore, links::Linked>
);
