//! Links: how an import of one component is bound to an export of another.
//!
//! Modules in reading order:
//!
//! - [`binding`]: the ways to bind a link; [`plan`]: which components run in their own instances under these bindings
//! - [`fit`]: which export matches an import; [`check`]: the same for compiled components
//! - [`fuse`]: joins several components into one
//! - [`stub`]: calls from one instance to another; [`breaker`]: the circuit breaker for them
//! - [`promise`]: which functions can be called again safely
//! - [`graph`]: all links of an application, for reports

pub mod binding;
pub mod breaker;
pub mod check;
pub mod fit;
pub mod fuse;
pub mod graph;
pub mod plan;
pub mod promise;
pub mod stub;
