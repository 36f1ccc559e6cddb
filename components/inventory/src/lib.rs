//! Stock and reservations. In reading order: [`domain`] (levels, lines, needs), [`service`] (what can be asked for),
//! [`store`] (its SQL), [`http`] (its REST door), [`contract`] (its WIT door and its links).

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
localmart_guest::door!(http::InventoryDoor<localmart_guest::sql::ServiceDatabase, links::Linked>);
