//! The tests whose result depends on the stores. They run on the embedded stores and on servers, with isolated links.

#[path = "carts.rs"]
mod carts;
#[path = "cases.rs"]
mod cases;
#[path = "clock.rs"]
mod clock;
#[path = "crashes.rs"]
mod crashes;
#[path = "input.rs"]
mod input;
#[path = "outages.rs"]
mod outages;
#[path = "products.rs"]
mod products;
#[path = "stores.rs"]
mod stores;
#[path = "texts.rs"]
mod texts;
#[path = "users.rs"]
mod users;
#[path = "webhooks.rs"]
mod webhooks;
