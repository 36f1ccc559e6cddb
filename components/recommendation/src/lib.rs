//! Recommendations. In reading order: [`domain`] (signals and reasons), [`service`] (operations), [`events`] (consumed
//! events), [`store`] (SQL), [`http`] (HTTP API), [`contract`] (WIT exports), [`links`] (calls to other components).

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

localmart_guest::component!(service::Recommendations<localmart_guest::sql::ServiceDatabase, links::Linked>);
