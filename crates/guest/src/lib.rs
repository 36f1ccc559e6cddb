//! The guest kit: what every component needs of the world, each in one way.
//!
//! In reading order: [`ports`] (time, chance, waiting), [`sql`] (one trait, one SQL text for all databases),
//! [`short_lived`] (values that expire, with compare-and-swap), [`redis`] (commands to a server), [`config`] (variables), [`door`] (HTTP: routes, order
//! of checks, strict bodies, problem+json, idempotency), [`token`] (who asks), [`events`] (outbox, bus, consumers), [`audit`] (who did what), [`log`] (JSON lines with a trace id), [`span`] (links and events in a
//! trace),
//! [`point`] (named points for tests), [`wit`] (the shared contract types).
//!
//! Everything but the WASI adapters builds natively, so that rules and statements are tested without a host. The kit
//! knows no noun of the shop.

#[cfg(feature = "component")]
pub mod audit;
pub mod config;
#[cfg(feature = "component")]
pub mod door;
pub mod events;
pub mod log;
pub mod migrations;
mod points;
pub mod ports;
pub mod redis;
pub mod short_lived;
#[cfg(feature = "component")]
pub mod span;
pub mod sql;
pub mod token;
#[cfg(feature = "component")]
pub mod wit;

pub use localmart_kernel as kernel;
pub use points::point;
#[cfg(feature = "component")]
pub use spin_sdk::{wasip3, wit_bindgen};
