//! The smallest component: answers every request with a line. It measures the host, not a shop.

use spin_sdk::http::{IntoResponse, Request};
use spin_sdk::http_service;

#[http_service]
async fn hello(_: Request) -> impl IntoResponse {
    "Hello, world!"
}
