//! The component host. It reads a Spin manifest, links components, and serves them; it knows no shop.
//!
//! In reading order: [`manifest`] (spin.toml, with places for errors), [`app`] (what it comes to, variables resolved),
//! [`variables`], [`allowed_hosts`], [`clock`] (the wall clock of guests), [`link`] (how components meet), [`engine`], [`fetch`] (components from elsewhere), [`componentize`] (core modules), [`compose`] (what a component brings along), [`recipe`] (what it is made of) and [`aot`]
//! (compiling once), [`capability`] (what a guest may import), [`state`] (what an instance owns), [`messages`] (for
//! triggers), [`serve`] (threads,
//! connections, instances, timers), [`observe`], [`metrics`] and [`telemetry`], [`runtime_config`] (where stores and
//! variables come from), [`sections`] (what a component carries), [`policy`] (components that only decide), [`remote`] (components of other hosts), [`record`] (what goes over a link), [`fault`] (trouble on purpose), [`limits`].

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
pub mod limits;
pub mod link;
pub mod manifest;
pub mod messages;
pub mod metrics;
pub mod observe;
pub mod policy;
pub mod recipe;
pub mod record;
pub mod remote;
pub mod runtime_config;
pub mod sections;
pub mod serve;
pub mod state;
pub mod telemetry;
pub mod trace;
pub mod variables;
