//! The journeys of customers and staff. They run on every set of stores and with every binding of links.

#[path = "checkout.rs"]
mod checkout;
#[path = "events.rs"]
mod events;
#[path = "ownership.rs"]
mod ownership;
#[path = "returns.rs"]
mod returns;
