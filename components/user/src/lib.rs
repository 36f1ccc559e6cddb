//! Users. In reading order: [`domain`] (a user, passwords), [`service`] (operations), [`login`] (sessions, tokens, lockout),
//! [`store`] (SQL), [`http`] (HTTP API), [`contract`] (WIT exports).

#![cfg_attr(
    not(target_arch = "wasm32"),
    allow(dead_code, reason = "only a component has callers")
)]

mod contract;
mod domain;
mod http;
mod login;
mod service;
mod store;
#[cfg(test)]
mod tests;

localmart_guest::component!(service::Users<localmart_guest::sql::ServiceDatabase, localmart_guest::short_lived::ServiceStore>);
