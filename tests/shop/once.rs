//! The tests whose result depends neither on the stores nor on the binding of links, and the mixed sets of stores. They run
//! once, on the embedded stores with isolated links.

#[path = "http.rs"]
mod http;
#[path = "mixed_stores.rs"]
mod mixed_stores;
#[path = "replay.rs"]
mod replay;
#[path = "traces.rs"]
mod traces;
