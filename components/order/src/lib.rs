//! Orders. In reading order: [`domain`] (an order, its status graph, what it needs of others), [`service`] (what can be
//! asked for; the saga), [`store`] (SQL), [`http`] (REST door), [`events`]
//! (what it hears), [`contract`] (WIT door), [`links`] (the other services).

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

#[cfg(target_arch = "wasm32")]
localmart_guest::door!(http::OrderDoor<localmart_guest::sql::ServiceDatabase, links::Linked>);
localmart_guest::consumer!(http::OrderDoor<localmart_guest::sql::ServiceDatabase, links::Linked>);
