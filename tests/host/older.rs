//! Older interfaces of Spin, used by a WASI 0.2 guest with and without grants.

use crate::guests::guests;
use crate::harness::{Shop, raw, root, scratch};
use localmart_testkit::servers;

#[test]
fn what_is_granted_is_there() {
    let shop = guests(&[]);
    for (question, answer) in [
        ("key-value", r#"Some([49]) false ["a"]"#),
        (
            "sqlite",
            r#"QueryResult { columns: ["x"], rows: [RowResult { values: [Value::Integer(5)] }, RowResult { values: [Value::Text("two")] }, RowResult { values: [Value::Real(0.5)] }, RowResult { values: [Value::Null] }] }"#,
        ),
        (
            "variable",
            r#"Ok("hello") Err(Error::Undefined("no variable `none` for this component"))"#,
        ),
    ] {
        let reply = shop.get(&format!("/preview2/{question}")).expect(200);
        assert_eq!(reply.text, answer, "{question}");
    }
    let config = shop.get("/preview2/config").expect(200).text;
    assert!(
        config.starts_with(r#"Ok(Some("hello")) Ok(None) Ok(["#),
        "{config}"
    );
    assert!(config.contains(r#"("greeting", "hello")"#), "{config}");
}

#[test]
fn a_core_module_is_served_as_the_component_that_it_would_be() {
    let shop = guests(&[]);
    let answer = shop.get("/module/somewhere").expect(200).text;
    assert_eq!(answer, "/module/somewhere 1");
    let (key_value, variable) = (shop.get("/module/key-value"), shop.get("/module/variable"));
    assert_eq!(key_value.expect(200).text, r#"Some([49]) false ["a"]"#);
    assert!(variable.expect(200).text.starts_with(r#"Ok("hello")"#));
}

#[test]
fn an_application_of_somebody_else_has_its_default_stores() {
    drop(guests(&[]));
    let folder = scratch("default");
    let wasm = root().join("target/wasm32-wasip2/component/preview2.wasm");
    std::fs::copy(wasm, folder.join("guest.wasm")).unwrap();
    let manifest = folder.join("spin.toml");
    let text = "spin_manifest_version = 2\n[application]\nname = \"other\"\n[[trigger.http]]\nroute = \"/...\"\ncomponent = \"guest\"\n\
                [component.guest]\nsource = \"guest.wasm\"\nsqlite_databases = [\"default\"]\nkey_value_stores = [\"default\"]\n";
    std::fs::write(&manifest, text).unwrap();
    let shop = Shop::start_app(&manifest, &folder.join("state"), &[]);
    let rows = shop.get("/sqlite?default").expect(200).text;
    assert!(
        rows.starts_with(r#"QueryResult { columns: ["x"]"#),
        "{rows}"
    );
    assert_eq!(
        shop.get("/key-value").expect(200).text,
        r#"Some([49]) false ["a"]"#
    );
    let denied = shop.get("/sqlite?other").expect(200).text;
    assert!(denied.starts_with("Error::AccessDenied"), "{denied}");
}

#[test]
fn an_answer_can_be_in_the_manifest() {
    let shop = guests(&[]);
    let moved = raw(
        &shop.base,
        b"GET /moved HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
    );
    assert!(moved.starts_with("HTTP/1.1 301 "), "{moved}");
    for header in [
        "location: /headers\r\n",
        "x-a: b\r\n",
        "content-length: 0\r\n",
    ] {
        assert!(moved.contains(header), "{moved}");
    }
    let said = shop.get("/said/anything").expect(200);
    let names: Vec<&str> = said.headers.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        (said.text.as_str(), names),
        ("said", vec!["content-length", "date"])
    );
    let health = shop.get("/.well-known/spin/health").expect(200);
    assert_eq!(health.text, "OK");
    let info = shop.get("/.well-known/spin/info").expect(200).json();
    assert_eq!(info["name"], "guests");
}

#[test]
fn what_is_not_granted_is_refused() {
    drop(guests(&[]));
    let bare = root().join("tests/guests/bare.toml");
    let shop = Shop::start_app(&bare, &scratch("bare"), &[]);
    for (question, answer) in [
        ("key-value", "Error::AccessDenied"),
        ("sqlite", "Error::AccessDenied"),
        ("variable", "Err(Error::Undefined("),
        ("config", "Ok(None) Ok(None) Ok([])"),
    ] {
        let reply = shop.get(&format!("/preview2/{question}")).expect(200).text;
        assert!(reply.starts_with(answer), "{question}: {reply}");
    }
    let shop = guests(&[
        "--variable",
        "pg_address=postgres://a@127.0.0.1:2/b",
        "--variable",
        "redis_address=redis://127.0.0.1:2/0",
    ]);
    for (question, refused) in [
        ("pg2", "address postgres://127.0.0.1:2 is not permitted"),
        ("pg3", "address postgres://127.0.0.1:2 is not permitted"),
        ("redis", "Error::InvalidAddress"),
    ] {
        let reply = shop.get(&format!("/preview2/{question}")).expect(200).text;
        assert!(reply.contains(refused), "{question}: {reply}");
    }
    let log = shop.log();
    for address in ["postgres://127.0.0.1:2", "redis://127.0.0.1:2"] {
        let line = log.lines().find(|line| line.contains(address));
        let line = line.unwrap_or_else(|| panic!("{address} is not logged: {log}"));
        assert!(line.contains("\"component\":\"preview2\""), "{line}");
    }
}

#[test]
fn servers_are_reached_by_the_older_names_too() {
    let (Some(postgres), Some(redis)) = (servers::postgres_database(), servers::redis_database())
    else {
        return;
    };
    let port = |url: &str| {
        url.rsplit(':')
            .next()
            .unwrap()
            .split('/')
            .next()
            .unwrap()
            .to_owned()
    };
    let variables = [
        format!("pg_address={postgres}"),
        format!("pg_port={}", port(&postgres)),
        format!("redis_address={redis}"),
        format!("redis_port={}", port(&redis)),
    ];
    let flags: Vec<&str> = variables
        .iter()
        .flat_map(|one| ["--variable", one.as_str()])
        .collect();
    let shop = guests(&flags);
    let redis = shop.get("/preview2/redis").expect(200).text;
    assert_eq!(
        redis,
        r#"42 Some([52, 50]) ["a"] [RedisResult::Int64(0)] 2 true"#
    );
    let two = shop.get("/preview2/pg2").expect(200).text;
    for part in [
        "2 Err(Error::BadParameter(",
        r#"Column { name: "a", data-type: DbDataType::Int64 }"#,
        r#"Column { name: "e", data-type: DbDataType::Other }"#,
        r#"[[DbValue::Int64(5), DbValue::Str("x"), DbValue::DbNull, DbValue::Floating64(1.5), DbValue::Unsupported]]"#,
    ] {
        assert!(two.contains(part), "{part} is missing in {two}");
    }
    let three = shop.get("/preview2/pg3").expect(200).text;
    for part in [
        "Err(Error::QueryFailed(",
        r#"Column { name: "e", data-type: DbDataType::Date }"#,
        r#"[[DbValue::Int64(5), DbValue::Str("x"), DbValue::DbNull, DbValue::Floating64(1.5), DbValue::Date((2026, 1, 2))]]"#,
    ] {
        assert!(three.contains(part), "{part} is missing in {three}");
    }
}
