//! Links: how an import of one component is bound to an export of another.
//!
//! Modules in reading order:
//!
//! - [`binding`]: the ways to bind a link
//! - [`fit`]: which export matches an import
//! - [`fuse`]: joins several components into one
//! - [`function`]: functions that are called in another instance; [`breaker`]: the circuit breaker for them
//! - [`not_answered`]: why a call has no answer
//! - [`promise`]: which functions can be called again safely

pub mod binding;
pub mod breaker;
pub mod fit;
pub mod function;
pub mod fuse;
pub mod not_answered;
pub mod promise;
