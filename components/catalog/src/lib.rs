//! Products and categories. In reading order: [`domain`] (what a product is), [`service`] (what can be asked for),
//! [`store`] (its SQL), [`http`] (its REST door), [`contract`] (its WIT door), [`picture`] (drawn images).

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

#[cfg(target_arch = "wasm32")]
localmart_guest::door!(http::CatalogDoor<localmart_guest::sql::ServiceDatabase>);
