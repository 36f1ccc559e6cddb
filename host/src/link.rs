//! Links: how an import of one component meets an export of another.
//!
//! In reading order: [`binding`] (which way was chosen), [`plan`] (what that makes of an application: what runs by itself,
//! with what inside), [`fit`] (which export answers an import, and whether it is what is asked for), [`check`] (the same of what is compiled),
//! [`fuse`] (into one component),
//! [`stub`] (a call that leaves its component), [`breaker`] (when it had better not), [`promise`] (what an interface says of
//! asking again), [`graph`] (a look at it all, without running any of it).

pub mod binding;
pub mod breaker;
pub mod check;
pub mod fit;
pub mod fuse;
pub mod graph;
pub mod plan;
pub mod promise;
pub mod stub;
