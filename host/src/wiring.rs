//! How the components of an application are wired: [`plan`] says which run in their own instances under given bindings, and
//! [`graph`] has all links, for reports and checks.

pub mod graph;
pub mod plan;
