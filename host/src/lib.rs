//! The component host: reads a Spin manifest, links its components and serves them. It knows nothing about the shop.
//!
//! Modules in reading order:
//!
//! - [`manifest`]: the syntax of spin.toml, with source spans for error messages
//! - [`app`]: the resolved application: components, grants, routes; with [`variables`] and [`allowed_hosts`]
//! - [`clock`]: the wall clock that guests see
//! - [`link`]: how imports of one component are bound to exports of another
//! - [`engine`], [`fetch`] (components from URLs), [`componentize`] (core modules, older versions of WASI), [`rename`],
//!   [`compose`] (dependencies and middleware), [`recipe`] (the inputs of a compilation), [`aot`] (the cache of compiled code), [`sections`] (custom
//!   sections)
//! - [`capability`]: the interfaces that a guest may import; [`state`]: what one instance owns
//! - [`policy`]: components that only compute a decision
//! - [`serve`]: threads, connections, instances and timers; [`messages`]: delivery to Redis triggers
//! - [`remote`]: links to components on other hosts; [`record`]: recording of link calls; [`fault`]: fault injection
//! - [`observe`], [`metrics`], [`telemetry`], [`trace`], [`log`] with [`guest_error`]: what operators see; `control`: the control socket
//! - [`runtime_config`]: where stores and variables come from; [`limits`]: every limit and timeout

pub mod allowed_hosts;
pub mod aot;
pub mod app;
pub mod capability;
pub mod clock;
pub mod componentize;
pub mod compose;
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
pub mod messages;
pub mod metrics;
pub mod observe;
pub mod policy;
pub mod recipe;
pub mod record;
pub mod remote;
pub mod rename;
pub mod runtime_config;
pub mod sections;
pub mod serve;
pub mod state;
pub mod telemetry;
pub mod trace;
pub mod variables;
