//! Users of a shop under test.

use super::{Reply, Shop};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicU32, Ordering};

/// A registered user.
#[derive(Clone, Debug)]
pub struct User {
    pub id: String,
    pub email: String,
    pub password: String,
    pub token: String,
    pub refresh: String,
}

impl User {
    /// An e-mail address without an account.
    pub fn fresh_email() -> String {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        format!("user{number}-{}@example.com", std::process::id())
    }

    /// Registers a customer.
    pub fn register(shop: &Shop) -> Self {
        Self::register_as(shop, &Self::fresh_email())
    }

    /// Registers a customer with this address.
    pub fn register_as(shop: &Shop, email: &str) -> Self {
        let body = json!({ "email": email, "password": "correct horse" });
        Self::of(&shop.post("/api/auth/register", &body).expect(201).json())
    }

    /// The first administrator, who exists from the start.
    pub fn admin(shop: &Shop) -> Self {
        let secrets = std::fs::read_to_string(shop.state.join("secrets.toml")).unwrap();
        let password = secrets
            .lines()
            .find_map(|line| line.strip_prefix("admin_password = "))
            .unwrap();
        let body =
            json!({ "email": "admin@localmart.test", "password": password.trim_matches('"') });
        Self::of(&shop.post("/api/auth/login", &body).expect(200).json())
    }

    /// The user in the answer of a registration, a login or a refresh.
    pub fn of(answer: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        Self {
            id: text(&answer["user"]["id"]),
            email: text(&answer["user"]["email"]),
            password: "correct horse".into(),
            token: text(&answer["access_token"]),
            refresh: text(&answer["refresh_token"]),
        }
    }

    /// Sends a request with the user's token.
    pub fn send(&self, shop: &Shop, method: &str, path: &str, body: &Value) -> Reply {
        let bearer = format!("Bearer {}", self.token);
        if body.is_null() {
            return shop.send(method, path, &[("authorization", &bearer)], &[]);
        }
        shop.json(method, path, &[("authorization", &bearer)], body)
    }

    /// Places an order as this user.
    pub fn buy(&self, shop: &Shop, cart: &str, key: &str, token: &str) -> Reply {
        let bearer = format!("Bearer {}", self.token);
        let mut body = checkout(cart, token);
        body.as_object_mut().unwrap().remove("email");
        let headers = [("authorization", bearer.as_str()), ("idempotency-key", key)];
        shop.json("POST", "/api/orders", &headers, &body)
    }
}

/// The body of a checkout.
pub fn checkout(cart: &str, token: &str) -> Value {
    json!({
        "cart_id": cart,
        "email": "ada@example.com",
        "shipping_address": {
            "name": "Ada", "line1": "1 Analytical Way", "city": "London", "postal_code": "N1", "country": "GB",
        },
        "payment": { "token": token },
    })
}
