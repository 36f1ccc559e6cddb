//! Users. In reading order: [`domain`] (a user, passwords), [`service`] (what can be asked for), [`login`] (sessions, tokens,
//! lockout), [`store`] (SQL), [`http`] (REST door), [`contract`] (WIT door).

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

#[cfg(target_arch = "wasm32")]
localmart_guest::door!(
    http::UserDoor<localmart_guest::sql::ServiceDatabase, localmart_guest::short_lived::ServiceStore>
);
