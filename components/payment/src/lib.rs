//! Payments. In reading order: [`domain`] (a payment and its status), [`service`] (operations), [`provider`] (the simulated
//! card provider), [`store`] (SQL), [`http`] (HTTP API), [`webhook`] (notices from the provider), [`contract`] (WIT
//! exports).

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

localmart_guest::component!(service::Payments<localmart_guest::sql::ServiceDatabase>);
