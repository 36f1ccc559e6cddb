//! Users: registration, login and lockout, tokens and their expiry, profile, roles, export, erasure.

use crate::harness::{Reply, Shop, User, at_once};
use serde_json::{Value, json};

#[test]
fn registering_gives_tokens_and_a_profile() {
    let shop = Shop::shared();
    let email = User::fresh_email();
    let body = json!({ "email": email, "password": "correct horse", "name": "Ada" });
    let reply = shop.post("/api/auth/register", &body).expect(201);
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    let made = reply.json();
    assert_eq!(
        (
            &made["token_type"],
            &made["expires_in"],
            &made["user"]["roles"]
        ),
        (&json!("Bearer"), &json!(900), &json!(["customer"]))
    );
    let user = User::of(&made);
    let me = user
        .send(shop, "GET", "/api/users/me", &Value::Null)
        .expect(200);
    assert_eq!(
        (&me.json()["email"], &me.json()["name"]),
        (&json!(email), &json!("Ada"))
    );
    assert_eq!(me.header("etag"), Some("\"1\""));
    shop.post("/api/auth/register", &body)
        .expect_code(409, "email_taken");
    shop.post(
        "/api/auth/register",
        &json!({ "email": email.to_uppercase(), "password": "correct horse" }),
    )
    .expect_code(409, "email_taken");
    shop.post(
        "/api/auth/register",
        &json!({ "email": "admin@localmart.test", "password": "correct horse" }),
    )
    .expect_code(409, "email_taken");
}

#[test]
fn an_invalid_registration_is_refused_field_by_field() {
    let shop = Shop::shared();
    for (body, fields) in [
        (json!({}), vec!["email:required", "password:required"]),
        (
            json!({ "email": "nobody", "password": "123456789" }),
            vec!["email:invalid", "password:invalid"],
        ),
        (
            json!({ "email": "a@b.c", "password": "x".repeat(129) }),
            vec!["password:invalid"],
        ),
        (
            json!({ "email": "a@b.c", "password": "1234567890", "roles": ["admin"] }),
            vec!["roles:unknown_field"],
        ),
        (
            json!({ "email": ["a@b.c"], "password": 1234567890 }),
            vec!["email:invalid", "password:invalid"],
        ),
    ] {
        assert_eq!(
            shop.post("/api/auth/register", &body)
                .expect_code(422, "invalid")
                .fields(),
            fields,
            "{body}"
        );
    }
}

#[test]
fn concurrent_registrations_of_one_address_make_one_user() {
    let shop = Shop::shared();
    let body = json!({ "email": User::fresh_email(), "password": "correct horse" });
    let replies = at_once(8, |_| shop.post("/api/auth/register", &body).status);
    assert_eq!(
        replies.iter().filter(|status| **status == 201).count(),
        1,
        "{replies:?}"
    );
    assert!(
        replies.iter().all(|status| [201, 409].contains(status)),
        "{replies:?}"
    );
}

fn log_in(shop: &Shop, email: &str, password: &str) -> Reply {
    shop.post(
        "/api/auth/login",
        &json!({ "email": email, "password": password }),
    )
}

#[test]
fn wrong_passwords_are_refused_alike_and_then_locked_out() {
    let shop = Shop::shared();
    let user = User::register(shop);
    for email in [user.email.clone(), User::fresh_email()] {
        for _ in 0..5 {
            let refused =
                log_in(shop, &email, "wrong password").expect_code(401, "invalid_credentials");
            assert_eq!(
                refused.json()["detail"],
                "The e-mail address or the password is wrong."
            );
        }
        let locked = log_in(shop, &email, &user.password).expect_code(429, "too_many_attempts");
        let seconds: u64 = locked.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=61).contains(&seconds), "{seconds}");
    }
}

#[test]
fn concurrent_guesses_are_all_counted() {
    let shop = Shop::shared();
    let user = User::register(shop);
    let replies = at_once(12, |_| log_in(shop, &user.email, "wrong password").status);
    assert_eq!(
        replies.iter().filter(|status| **status == 401).count(),
        5,
        "{replies:?}"
    );
}

#[test]
fn a_session_is_refreshed_until_a_used_token_is_presented_again() {
    let shop = Shop::shared();
    let user = User::register(shop);
    let first = log_in(shop, &user.email, &user.password).expect(200).json();
    let refresh = |pair: &Value| {
        shop.post(
            "/api/auth/refresh",
            &json!({ "refresh_token": pair["refresh_token"] }),
        )
    };
    let second = refresh(&first).expect(200).json();
    assert_ne!(second["refresh_token"], first["refresh_token"]);
    let (first_user, second_user) = (User::of(&first), User::of(&second));
    second_user
        .send(shop, "GET", "/api/users/me", &Value::Null)
        .expect(200);
    refresh(&first).expect_code(401, "invalid_token");
    refresh(&second).expect_code(401, "invalid_token");
    for user in [first_user, second_user] {
        user.send(shop, "GET", "/api/users/me", &Value::Null)
            .expect_code(401, "unauthenticated");
    }
    // The registration began another session, which is not affected.
    user.send(shop, "GET", "/api/users/me", &Value::Null)
        .expect(200);
}

#[test]
fn concurrent_refreshes_with_one_token_give_at_most_one_pair() {
    let shop = Shop::shared();
    let user = User::register(shop);
    let body = json!({ "refresh_token": user.refresh });
    let replies = at_once(6, |_| shop.post("/api/auth/refresh", &body).status);
    assert!(
        replies.iter().filter(|status| **status == 200).count() <= 1,
        "{replies:?}"
    );
}

#[test]
fn after_logout_every_service_refuses_the_token() {
    let shop = Shop::shared();
    let (user, other) = (User::register(shop), User::register(shop));
    user.send(shop, "GET", "/api/carts/mine", &Value::Null)
        .expect(200);
    let body = json!({ "refresh_token": user.refresh });
    shop.post("/api/auth/logout", &body)
        .expect_code(401, "unauthenticated");
    other
        .send(shop, "POST", "/api/auth/logout", &body)
        .expect_code(401, "invalid_token");
    user.send(shop, "POST", "/api/auth/logout", &body)
        .expect(204);
    for path in [
        "/api/users/me",
        "/api/carts/mine",
        "/api/orders",
        "/api/products",
        "/api/recommendations",
    ] {
        user.send(shop, "GET", path, &Value::Null)
            .expect_code(401, "unauthenticated");
    }
    shop.post("/api/auth/refresh", &body)
        .expect_code(401, "invalid_token");
    other
        .send(shop, "GET", "/api/users/me", &Value::Null)
        .expect(200);
}

#[test]
fn forged_and_foreign_tokens_are_refused() {
    let shop = Shop::shared();
    let user = User::register(shop);
    let parts: Vec<&str> = user.token.split('.').collect();
    let none = "eyJhbGciOiJub25lIn0";
    for token in [
        format!("{}.{}.", none, parts[1]),
        format!("{}.{}.{}", none, parts[1], parts[2]),
        format!(
            "{}.{}.{}",
            parts[0],
            parts[1],
            parts[2].chars().rev().collect::<String>()
        ),
        format!("{}x", user.token),
        String::new(),
        "null".into(),
    ] {
        let bearer = format!("Bearer {token}");
        shop.send("GET", "/api/users/me", &[("authorization", &bearer)], &[])
            .expect_code(401, "unauthenticated");
    }
    for header in ["Basic YTpi", "bearer", user.token.as_str()] {
        shop.send("GET", "/api/users/me", &[("authorization", header)], &[])
            .expect_code(401, "unauthenticated");
    }
}

#[test]
fn a_profile_is_changed_field_by_field() {
    let shop = Shop::shared();
    let user = User::register(shop);
    let address = json!({ "name": "Ada", "line1": "1 Way", "city": "London", "postal_code": "N1", "country": "GB" });
    let patch = json!({ "name": "Ada Lovelace", "phone": "+44 20 7946 0000", "addresses": [address], "preferences": { "newsletter": true } });
    let changed = user
        .send(shop, "PATCH", "/api/users/me", &patch)
        .expect(200)
        .json();
    for (name, value) in patch.as_object().unwrap() {
        assert_eq!(changed[name], *value);
    }
    let changed = user
        .send(shop, "PATCH", "/api/users/me", &json!({ "phone": null }))
        .expect(200)
        .json();
    assert_eq!(
        (&changed["phone"], &changed["name"], &changed["version"]),
        (&Value::Null, &json!("Ada Lovelace"), &json!(3))
    );
    for (body, field) in [
        (
            json!({ "email": "other@example.com" }),
            "email:unknown_field",
        ),
        (json!({ "roles": ["admin"] }), "roles:unknown_field"),
        (json!({ "phone": "call me" }), "phone:invalid"),
        (
            json!({ "addresses": [{ "name": "Ada" }] }),
            "addresses:invalid",
        ),
        (
            json!({ "preferences": { "a": { "b": 1 } } }),
            "preferences:invalid",
        ),
    ] {
        assert_eq!(
            user.send(shop, "PATCH", "/api/users/me", &body)
                .expect_code(422, "invalid")
                .fields(),
            [field]
        );
    }
    let bearer = format!("Bearer {}", user.token);
    let stale = [("authorization", bearer.as_str()), ("if-match", "\"1\"")];
    shop.json("PATCH", "/api/users/me", &stale, &json!({ "name": "B" }))
        .expect_code(412, "version_conflict");
}

#[test]
fn only_administrators_change_roles() {
    let shop = Shop::shared();
    let (user, admin) = (User::register(shop), User::admin(shop));
    let path = format!("/api/users/{}", user.id);
    let staff = json!({ "roles": ["customer", "staff"] });
    user.send(shop, "PATCH", &path, &staff)
        .expect_code(403, "forbidden");
    shop.staff("PATCH", &path, &staff)
        .expect_code(403, "forbidden");
    shop.staff("GET", "/api/users", &Value::Null)
        .expect_code(403, "forbidden");
    for bad in [
        json!({ "roles": [] }),
        json!({ "roles": ["king"] }),
        json!({ "roles": "staff" }),
        json!({}),
    ] {
        admin
            .send(shop, "PATCH", &path, &bad)
            .expect_code(422, "invalid");
    }
    let changed = admin.send(shop, "PATCH", &path, &staff).expect(200).json();
    assert_eq!(changed["roles"], json!(["customer", "staff"]));
    // The old token contains the old role.
    user.send(shop, "GET", "/api/users/me", &Value::Null)
        .expect_code(401, "unauthenticated");
    let again = User::of(&log_in(shop, &user.email, &user.password).expect(200).json());
    again
        .send(shop, "GET", "/api/orders?all=true", &Value::Null)
        .expect(200);
    let nobody = "/api/users/01939d5c-0000-7000-8000-000000000000";
    admin
        .send(shop, "PATCH", nobody, &staff)
        .expect_code(404, "not_found");
    let page = admin
        .send(shop, "GET", "/api/users?limit=1", &Value::Null)
        .expect(200)
        .json();
    assert_eq!(page["items"].as_array().unwrap().len(), 1);
    let cursor = page["next_cursor"].as_str().unwrap();
    let next = admin
        .send(
            shop,
            "GET",
            &format!("/api/users?limit=1&cursor={cursor}"),
            &Value::Null,
        )
        .expect(200)
        .json();
    assert_ne!(next["items"][0]["id"], page["items"][0]["id"]);
    assert!(!page.to_string().contains("argon2"), "{page}");
}

#[test]
fn a_user_can_export_and_erase_all_data() {
    let shop = Shop::shared();
    let user = User::register(shop);
    let export = user
        .send(shop, "GET", "/api/users/me/export", &Value::Null)
        .expect(200);
    assert_eq!(export.json()["user"]["email"], json!(user.email));
    assert_eq!(export.json()["sessions"].as_array().unwrap().len(), 1);
    user.send(shop, "DELETE", "/api/users/me", &Value::Null)
        .expect(204);
    user.send(shop, "GET", "/api/users/me", &Value::Null)
        .expect_code(401, "unauthenticated");
    log_in(shop, &user.email, &user.password).expect_code(401, "invalid_credentials");
    User::register_as(shop, &user.email);
}

#[test]
fn no_secret_is_ever_logged() {
    let shop = Shop::start();
    let user = User::register(&shop);
    log_in(&shop, &user.email, "a wrong secret");
    user.send(
        &shop,
        "POST",
        "/api/auth/logout",
        &json!({ "refresh_token": user.refresh }),
    )
    .expect(204);
    let log = shop.log();
    for secret in [
        &user.password,
        &user.token,
        &user.refresh,
        &user.email,
        &"a wrong secret".to_owned(),
    ] {
        assert!(!log.contains(secret.as_str()), "{log}");
    }
}
