//! Stock and reservations. In reading order: [`domain`] (stock levels, lines, reservation states), [`service`]
//! (operations), [`store`] (SQL), [`http`] (HTTP API), [`contract`] (WIT exports), [`links`] (calls to the catalog).

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

localmart_guest::component!(service::Inventory<localmart_guest::sql::ServiceDatabase, links::Linked>);
