//! Orders. In reading order: [`domain`] (an order, its status graph, prices, returns), [`service`] (operations and the
//! checkout saga), [`store`] (SQL), [`http`] (HTTP API), [`events`] (consumed events), [`contract`] (WIT exports),
//! [`links`] (calls to the other services).

#![cfg_attr(
    not(target_arch = "wasm32"),
    allow(dead_code, reason = "only a component has callers")
)]

mod contract;
mod domain;
mod events;
mod http;
mod links;
mod service;
mod store;
#[cfg(test)]
mod tests;

localmart_guest::component!(service::Orders<localmart_guest::sql::ServiceDatabase, links::Linked>);
