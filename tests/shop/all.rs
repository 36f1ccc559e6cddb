//! Every black-box test of the shop, for the binaries that run them on their stores.

#[path = "carts.rs"]
mod carts;
#[path = "cases.rs"]
mod cases;
#[path = "checkout.rs"]
mod checkout;
#[path = "clock.rs"]
mod clock;
#[path = "crashes.rs"]
mod crashes;
#[path = "events.rs"]
mod events;
#[path = "http.rs"]
mod http;
#[path = "mine.rs"]
mod mine;
#[path = "outages.rs"]
mod outages;
#[path = "products.rs"]
mod products;
#[path = "replay.rs"]
mod replay;
#[path = "returns.rs"]
mod returns;
#[path = "stores.rs"]
mod stores;
#[path = "traces.rs"]
mod traces;
#[path = "users.rs"]
mod users;
#[path = "webhooks.rs"]
mod webhooks;
