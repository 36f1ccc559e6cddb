//! One call to each of the older interfaces.

#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    reason = "generated from vendored WIT"
)]
mod bindings {
    wit_bindgen::generate!({
        inline: "
            package localmart:preview2;
            world guest {
                import fermyon:spin/key-value@2.0.0;
                import fermyon:spin/sqlite@2.0.0;
                import fermyon:spin/variables@2.0.0;
                import fermyon:spin/redis@2.0.0;
                import fermyon:spin/postgres@2.0.0;
                import fermyon:spin/mqtt@2.0.0;
                import fermyon:spin/mysql@2.0.0;
                import fermyon:spin/llm@2.0.0;
                import spin:postgres/postgres@3.0.0;
                import wasi:config/store@0.2.0-draft-2024-09-27;
            }
        ",
        path: [
            "../../../wit/deps/fermyon-spin@2.0.0",
            "../../../wit/deps/spin-postgres@3.0.0",
            "../../../wit/deps/wasi-config@0.2.0-draft-2024-09-27",
        ],
        world: "localmart:preview2/guest",
        generate_all,
    });
}

use bindings::fermyon::spin::{
    key_value, llm, mqtt, mysql, postgres as two, rdbms_types, redis, sqlite, variables,
};
use bindings::spin::postgres::postgres as three;
use bindings::wasi::config::store as config;

/// The result for a path that names an older interface.
pub(crate) fn ask(place: &str) -> Option<String> {
    let (question, label) = place.split_once('?').unwrap_or((place, "older"));
    Some(match question {
        "key-value" => key_values().unwrap_or_else(|error| format!("{error:?}")),
        "sqlite" => rows(label).unwrap_or_else(|error| format!("{error:?}")),
        "variable" => format!(
            "{:?} {:?}",
            variables::get("greeting"),
            variables::get("none")
        ),
        "config" => format!(
            "{:?} {:?} {:?}",
            config::get("greeting"),
            config::get("none"),
            config::get_all()
        ),
        "redis" => values().unwrap_or_else(|error| format!("{error:?}")),
        "pg2" => server_two().unwrap_or_else(|error| format!("{error:?}")),
        "pg3" => server_three().unwrap_or_else(|error| format!("{error:?}")),
        "mqtt" => message().map_or_else(|error| format!("{error:?}"), |()| "sent".to_owned()),
        "mysql" => format!(
            "{:?}",
            mysql::Connection::open("mysql://127.0.0.1:1/x").map(drop)
        ),
        "llm" => format!(
            "{:?}",
            llm::infer("llama2-chat", "hello", None).map(|answer| answer.text)
        ),
        _ => return None,
    })
}

fn key_values() -> Result<String, key_value::Error> {
    let store = key_value::Store::open("default")?;
    store.set("b", b"2")?;
    store.set("a", b"1")?;
    let found = store.get("a")?;
    store.delete("b")?;
    Ok(format!(
        "{found:?} {:?} {:?}",
        store.exists("b")?,
        store.get_keys()?
    ))
}

fn rows(label: &str) -> Result<String, sqlite::Error> {
    let database = sqlite::Connection::open(label)?;
    database.execute("CREATE TABLE IF NOT EXISTS t (x)", &[])?;
    database.execute("DELETE FROM t", &[])?;
    let some = [
        sqlite::Value::Integer(5),
        sqlite::Value::Text("two".into()),
        sqlite::Value::Real(0.5),
        sqlite::Value::Null,
    ];
    for value in some {
        database.execute("INSERT INTO t VALUES (?)", &[value])?;
    }
    let found = database.execute("SELECT x FROM t ORDER BY rowid", &[])?;
    Ok(format!("{found:?}"))
}

fn values() -> Result<String, redis::Error> {
    let address = variables::get("redis_address").unwrap_or_default();
    let server = redis::Connection::open(&address)?;
    server.set("n", b"41")?;
    let number = server.incr("n")?;
    let found = server.get("n")?;
    server.sadd("s", &["a".into(), "b".into()])?;
    server.srem("s", &["b".into()])?;
    let members = server.smembers("s")?;
    let heard = server.execute(
        "PUBLISH",
        &[
            redis::RedisParameter::Binary(b"c".to_vec()),
            redis::RedisParameter::Binary(b"p".to_vec()),
        ],
    )?;
    let gone = server.del(&["n".into(), "s".into(), "none".into()])?;
    let refused = server
        .execute("WATCH", &[redis::RedisParameter::Binary(b"n".to_vec())])
        .is_err();
    server.publish("c", b"p")?;
    Ok(format!(
        "{number} {found:?} {members:?} {heard:?} {gone} {refused}"
    ))
}

fn message() -> Result<(), mqtt::Error> {
    let address = variables::get("mqtt_address").unwrap_or_default();
    let server = mqtt::Connection::open(&address, "", "", 30)?;
    server.publish("conformance", b"older", mqtt::Qos::AtLeastOnce)
}

const QUESTION: &str = "SELECT $1::int8 AS a, $2::text AS b, NULL::text AS c, 1.5::float8 AS d, '2026-01-02'::date AS e";

fn server_two() -> Result<String, rdbms_types::Error> {
    use rdbms_types::ParameterValue::{Int64, Str, Uint8};
    let address = variables::get("pg_address").unwrap_or_default();
    let server = two::Connection::open(&address)?;
    let changed = server.execute("CREATE TEMP TABLE t (x int8)", &[])?
        + server.execute("INSERT INTO t VALUES ($1), (2)", &[Int64(1)])?;
    let unsigned = server.query("SELECT $1", &[Uint8(1)]);
    let found = server.query(QUESTION, &[Int64(5), Str("x".into())])?;
    Ok(format!("{changed} {unsigned:?} {found:?}"))
}

fn server_three() -> Result<String, three::Error> {
    use three::ParameterValue::{Int64, Str};
    let address = variables::get("pg_address").unwrap_or_default();
    let server = three::Connection::open(&address)?;
    let wrong = server.execute("SELECT nothing", &[]);
    let found = server.query(QUESTION, &[Int64(5), Str("x".into())])?;
    Ok(format!("{wrong:?} {found:?}"))
}
