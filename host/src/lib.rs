//! The component host: reads a Spin manifest, links its components and serves them. It knows nothing about the shop.
//!
//! The modules stand on floors: a module uses only modules of the floors below. From the ground up:
//!
//! 1. [`limits`] (every limit and timeout), [`manifest`] (the syntax of spin.toml, with source spans for error messages),
//!    [`variables`], [`allowed_hosts`], [`clock`] (the wall clock that guests see), [`sections`] (custom sections), [`rename`],
//!    [`termination`], [`telemetry`], [`guest_error`]
//! 2. [`link`] (how imports of one component are bound to exports of another), [`policy`] (components that only compute a
//!    decision), [`engine`], [`fetch`] (components from URLs), [`componentize`] (core modules, older versions of WASI),
//!    [`runtime_config`] (where stores and variables come from), [`tls`], [`connect`] (connections to
//!    servers), [`log`], [`trace`]
//! 3. [`compose`] (dependencies and middleware), [`record`] (recording of link calls), [`fault`] (fault injection), [`metrics`]
//! 4. [`app`] (the resolved application: components, grants, routes), [`recipe`] (the inputs of a compilation), [`remote`]
//!    (components on other hosts)
//! 5. [`capability`] (the interfaces that a guest may import, and what one instance owns), [`wiring`] (which components run in
//!    their own instances, and all their links), [`aot`] (the cache of compiled code)
//! 6. [`serve`]: threads, connections, instances, timers, swaps, the observe address
//! 7. `control`: the control socket

pub mod allowed_hosts;
pub mod aot;
pub mod app;
pub mod capability;
pub mod clock;
pub mod componentize;
pub mod compose;
pub mod connect;
#[cfg(unix)]
pub mod control;
pub mod engine;
pub mod fault;
pub mod fetch;
pub mod guest_error;
pub mod limits;
pub mod link;
pub mod log;
pub mod manifest;
pub mod metrics;
pub mod policy;
pub mod recipe;
pub mod record;
pub mod remote;
pub mod rename;
pub mod runtime_config;
pub mod sections;
pub mod serve;
pub mod telemetry;
pub mod termination;
pub mod tls;
pub mod trace;
pub mod variables;
pub mod wiring;
