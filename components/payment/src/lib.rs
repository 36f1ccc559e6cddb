//! Payments. In reading order: [`domain`] (a payment and its states), [`service`] (what can be asked for),
//! [`provider`] (the simulated card provider), [`store`] (SQL), [`http`] (REST door), [`contract`] (WIT door).

#![cfg_attr(
    not(target_arch = "wasm32"),
    allow(dead_code, reason = "only a component has callers")
)]

mod contract;
mod domain;
mod http;
mod provider;
mod service;
mod store;
#[cfg(test)]
mod tests;
mod webhook;

#[cfg(target_arch = "wasm32")]
localmart_guest::door!(http::PaymentDoor<localmart_guest::sql::ServiceDatabase>);
