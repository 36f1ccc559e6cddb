//! The guest kit: the library that every service uses for storage, HTTP, events, configuration and logs.
//!
//! In reading order: [`ports`] (clock, random numbers, sleep), [`sql`] (one trait and one SQL text for all databases),
//! [`short_lived`] (values that expire, with compare-and-swap), [`redis`] (commands to a Redis server), [`config`]
//! (variables), [`service`] (one wired service behind three doors), [`http`] (routes, order of checks, strict bodies, problem+json, idempotency keys), [`token`]
//! (authentication), [`events`] (outbox, bus, consumers), [`audit`] (audit log), [`log`] (JSON lines with a trace id),
//! [`span`] (spans of links and events), [`point`] (named points for tests), [`wit`] (the shared contract types).
//!
//! Everything except the WASI adapters builds natively, so that rules and SQL statements are tested without a host. The
//! kit knows no noun of the shop.

#[cfg(feature = "component")]
pub mod audit;
pub mod config;
pub mod events;
#[cfg(feature = "component")]
pub mod http;
pub mod log;
pub mod migrations;
mod points;
pub mod ports;
pub mod redis;
#[cfg(feature = "component")]
pub mod service;
pub mod short_lived;
#[cfg(feature = "component")]
pub mod span;
pub mod sql;
pub mod token;
#[cfg(feature = "component")]
pub mod wit;

#[cfg(feature = "component")]
pub use localmart_component::component;
pub use localmart_kernel as kernel;
pub use points::point;
#[cfg(feature = "component")]
pub use spin_sdk::{wasip3, wit_bindgen};
