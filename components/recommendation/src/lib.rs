//! Recommendations. In reading order: [`domain`] (signals and reasons), [`service`] (what can be asked for), [`events`] (what it
//! learns from), [`store`] (SQL), [`http`] (REST door), [`contract`] (WIT door, and the links to catalog and inventory).

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
localmart_guest::door!(
    http::RecommendationDoor<localmart_guest::sql::ServiceDatabase, links::Linked>
);
localmart_guest::consumer!(
    http::RecommendationDoor<localmart_guest::sql::ServiceDatabase, links::Linked>
);
