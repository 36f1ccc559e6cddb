//! What guests may and may not do. A guest that misbehaves is stopped, and the others continue.

use crate::harness::{Shop, at_once, built, localmart, root, scratch};
use localmart_testkit::servers;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// Serves the guests with their grants.
pub(crate) fn guests(flags: &[&str]) -> Shop {
    guests_built();
    let manifest = root().join("tests/guests/spin.toml");
    Shop::start_app(&manifest, &scratch("guests"), flags)
}

/// Builds the guests once per test binary.
pub(crate) fn guests_built() {
    static BUILT: OnceLock<()> = OnceLock::new();
    BUILT.get_or_init(|| {
        let manifest = root().join("tests/guests/spin.toml");
        // Only one cargo at a time.
        built();
        assert!(
            localmart()
                .arg("build")
                .arg("-f")
                .arg(&manifest)
                .status()
                .unwrap()
                .success()
        );
    });
}

#[test]
fn grants_are_granted() {
    let target = Shop::start();
    let port = target.base.rsplit(':').next().unwrap();
    let shop = guests(&[
        "--variable",
        &format!("port={port}"),
        "--env",
        "SHAPE=round",
    ]);
    for (path, answer) in [
        ("/variable?greeting", "hello, world"),
        (
            "/variable?nothing",
            "Error::Undefined(\"no variable `nothing` for this component\")",
        ),
        ("/environment?COLOUR", "blue"),
        ("/environment?SHAPE", "round"),
        ("/environment?HOME", "environment variable not found"),
        ("/file?/data/note.txt", "hello from a file\n"),
        ("/file?/data/../../etc/passwd", "permission denied"),
        ("/write?/data/note.txt", "Err(PermissionDenied)"),
        ("/key-value?default", "Some([49]) false"),
        ("/key-value?other", "Error::AccessDenied"),
        ("/sqlite?other", "Error::AccessDenied"),
    ] {
        let reply = shop.get(path).expect(200);
        let refused = path.contains("passwd") && !reply.text.is_empty();
        assert!(
            reply.text == answer || (refused && !reply.text.contains("root:")),
            "{path}: {}",
            reply.text
        );
    }
    let rows = shop.get("/sqlite?probe").expect(200).text;
    assert!(
        rows.contains("Integer(1)") && rows.contains("Text(\"two\")") && rows.ends_with(" 3"),
        "{rows}"
    );
    let fetched = shop
        .get(&format!("/fetch?http://127.0.0.1:{port}/api/categories"))
        .expect(200)
        .text;
    assert_eq!(fetched, "200 {\"items\":[],\"next_cursor\":null}");
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let url = format!("/fetch?http://127.0.0.1:{port}/api/products/none");
    let traced = shop
        .send("GET", &url, &[("traceparent", parent)], &[])
        .expect(200)
        .text;
    assert!(
        traced.contains("0af7651916cd43dd8448eb211c80319c"),
        "the trace goes out: {traced}"
    );
    let elsewhere = shop.get("/fetch?http://127.0.0.1:9/").expect(200).text;
    assert!(elsewhere.starts_with("refused"), "{elsewhere}");
}

#[test]
fn without_a_grant_everything_is_refused() {
    drop(guests(&[]));
    let shop = Shop::start_app(
        &root().join("tests/guests/bare.toml"),
        &scratch("bare"),
        &[],
    );
    for (path, answer) in [
        ("/key-value?default", "Error::AccessDenied"),
        ("/sqlite?default", "Error::AccessDenied"),
        ("/variable?greeting", "Error::Undefined"),
        ("/fetch?http://127.0.0.1:9/", "refused"),
        ("/file?/data/note.txt", "entity not found"),
    ] {
        let reply = shop.get(path).expect(200).text;
        assert!(reply.starts_with(answer), "{path}: {reply}");
    }
    let headers = shop
        .send(
            "GET",
            "/headers",
            &[("spin-client-addr", "6.6.6.6:1"), ("spin-x", "1")],
            &[],
        )
        .expect(200)
        .text;
    for header in [
        "\"spin-path-info\": \"/headers\"",
        "\"spin-component-route\": \"\"",
        "\"spin-matched-route\": \"/...\"",
        "\"spin-base-path\": \"/\"",
    ] {
        assert!(headers.contains(header), "{header} is missing in {headers}");
    }
    assert!(
        headers.contains("\"spin-client-addr\": \"127.0.0.1:") && !headers.contains("spin-x"),
        "{headers}"
    );
    let none = shop.send("GET", "/trap", &[], &[]).expect(500);
    assert_eq!(
        (none.text.as_str(), none.header("content-type")),
        ("", None)
    );
}

#[test]
fn older_guests_get_a_fresh_instance_each() {
    let shop = guests(&[]);
    let replies = at_once(20, |number| {
        shop.get(&format!("/preview2/{number}")).expect(200).text
    });
    for (number, reply) in replies.iter().enumerate() {
        assert_eq!(*reply, format!("/preview2/{number} 1"));
    }
}

#[test]
fn a_guest_that_misbehaves_is_stopped_and_the_others_go_on() {
    let shop = guests(&["--threads", "1", "--max-instance-memory", "67108864"]);
    shop.get("/headers").expect(200);
    for (path, status, code) in [
        ("/loop", 504, "timeout"),
        ("/sleep", 504, "timeout"),
        ("/memory", 500, "internal"),
        ("/trap", 500, "internal"),
    ] {
        let stopped = AtomicBool::new(false);
        let replies = at_once(2, |number| {
            if number == 0 {
                let start = Instant::now();
                let reply = shop.get(path);
                stopped.store(true, Ordering::Relaxed);
                let reply = reply.expect_code(status, code);
                assert!(start.elapsed() < Duration::from_secs(10), "{path}");
                return vec![reply.status];
            }
            // On the same core, for as long as the other guest misbehaves.
            let mut seen = Vec::new();
            while !stopped.load(Ordering::Relaxed) || seen.len() < 10 {
                seen.push(shop.get("/preview2/x").status);
            }
            seen
        });
        assert!(replies[1].iter().all(|status| *status == 200), "{path}");
    }
    for _ in 0..100 {
        shop.get("/headers").expect(200);
    }
    // Instances that are terminated during a call release everything after the grace period. One is left, which has just
    // answered.
    let left = "localmart_instances{component=\"probe\",generation=\"1\"} 1\n";
    shop.eventually("the terminated instances are gone", || {
        shop.metrics().contains(left)
    });
    let metrics = shop.metrics();
    for line in [
        "localmart_failed_calls_total{component=\"probe\",generation=\"1\",reason=\"timeout\"} 2",
        "localmart_failed_calls_total{component=\"probe\",generation=\"1\",reason=\"trap\"} 2",
        "localmart_instances{component=\"probe\",generation=\"1\"} 1",
        "localmart_limited_total{component=\"probe\",generation=\"1\",resource=\"memory\"} 2",
    ] {
        assert!(metrics.contains(line), "{line} is missing in:\n{metrics}");
    }
    assert!(shop.log().contains("a guest exceeded its memory limit"));
}

#[test]
fn a_trap_inside_a_transaction_leaves_nothing_open() {
    let shop = guests(&[]);
    for _ in 0..10 {
        shop.get("/leak?probe").expect_code(500, "internal");
    }
    let rows = shop.get("/sqlite?probe").expect(200).text;
    assert!(!rows.contains("leaked") && rows.contains("two"), "{rows}");
}

#[test]
fn more_than_fits_is_told_to_come_back_and_the_others_are_not_hurt() {
    use std::io::{Read as _, Write as _};
    let shop = guests(&["--threads", "1"]);
    shop.get("/narrow/headers").expect(200);
    let connect = || std::net::TcpStream::connect(shop.base.trim_start_matches("http://")).unwrap();
    // 64 instances with one call each and 512 queued calls; further calls are rejected.
    let mut clients: Vec<_> = (0..640).map(|_| connect()).collect();
    for client in &mut clients {
        client
            .write_all(b"GET /narrow/sleep HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            .unwrap();
    }
    shop.get("/headers").expect(200);
    let mut answers = clients.iter_mut().map(|client| {
        let mut answer = String::new();
        client
            .read_to_string(&mut answer)
            .map(|_| answer)
            .unwrap_or_default()
    });
    let (mut full, mut late) = (0, 0);
    for answer in answers.by_ref() {
        if answer.starts_with("HTTP/1.1 503") {
            assert!(
                answer.contains("retry-after: 1") && answer.contains("\"unavailable\""),
                "{answer}"
            );
            full += 1;
        } else {
            assert!(answer.starts_with("HTTP/1.1 504"), "{answer}");
            late += 1;
        }
    }
    assert_eq!((full, late), (64, 576));
    let give_up = Instant::now() + Duration::from_secs(20);
    while shop.get("/narrow/headers").status != 200 {
        assert!(Instant::now() < give_up, "it does not recover");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// The options that let guests reach a server.
fn reaching(name: &str, url: &str) -> [String; 4] {
    let port = url.rsplit(':').next().unwrap().split('/').next().unwrap();
    [
        "--variable".into(),
        format!("{name}_address={url}"),
        "--variable".into(),
        format!("{name}_port={port}"),
    ]
}

#[test]
fn values_of_every_type_come_from_postgres() {
    let Some(url) = servers::postgres_database() else {
        return;
    };
    let flags = reaching("pg", &url);
    let shop = guests(&flags.each_ref().map(String::as_str));
    for (sql, shown) in [
        (
            "SELECT true, 1::int2, 2::int4, 3::int8, NULL::text",
            "Boolean(true), DbValue::Int16(1), DbValue::Int32(2), DbValue::Int64(3), DbValue::DbNull",
        ),
        (
            "SELECT 'x'::varchar, 1.5::float4, 2.5::float8",
            "Str(\"x\"), DbValue::Floating32(1.5), DbValue::Floating64(2.5)",
        ),
        (
            "SELECT DATE'2026-11-21', TIME'01:02:03', TIMESTAMP'2026-11-21T01:02:03'",
            "Date((2026, 11, 21)), DbValue::Time((1, 2, 3, 0)), DbValue::Datetime((2026, 11, 21, 1, 2, 3, 0))",
        ),
        (
            "SELECT 12345.6789::numeric, to_jsonb(1)",
            "Decimal(\"12345.6789\"), DbValue::Jsonb([49])",
        ),
        (
            "SELECT 'f47ac10b-58cc-4372-a567-0e02b2c3d479'::uuid",
            "Uuid(\"f47ac10b-58cc-4372-a567-0e02b2c3d479\")",
        ),
        (
            "SELECT ARRAY[1,NULL,3]::int4[], ARRAY['a']::text[]",
            "ArrayInt32([Some(1), None, Some(3)]), DbValue::ArrayStr([Some(\"a\")])",
        ),
        (
            "SELECT int4range(1,5)",
            "RangeInt32((Some((1, RangeBoundKind::Inclusive)), Some((5, RangeBoundKind::Exclusive))))",
        ),
        ("SELECT INTERVAL'1month'", "months: 1"),
        (
            "SELECT TIMESTAMPTZ'2026-11-21T01:02:03-01', 'infinity'::timestamp",
            "Datetime((2026, 11, 21, 2, 2, 3, 0)), DbValue::Unsupported(",
        ),
        (
            "SELECT 'NaN'::float8, '-infinity'::float4, 'NaN'::numeric",
            "Floating64(NaN), DbValue::Floating32(-inf), DbValue::Decimal(\"NaN\")",
        ),
        (
            "SELECT 123456789012345678901234567890.12::numeric, ARRAY['NaN',1.5]::float8[]",
            "Decimal(\"123456789012345678901234567890.12\"), DbValue::ArrayDecimal([Some(\"NaN\"), Some(\"1.5\")])",
        ),
        (
            "SELECT '10.0.0.1'::inet, '10.0.0.0/8'::cidr, ARRAY['::1']::inet[]",
            "Str(\"10.0.0.1\"), DbValue::Str(\"10.0.0.0/8\"), DbValue::ArrayStr([Some(\"::1\")])",
        ),
        (
            "SELECT ARRAY[1,2]::int2[], ARRAY[true,NULL], ARRAY[DATE'2026-11-21']",
            "ArrayInt32([Some(1), Some(2)]), DbValue::ArrayStr([Some(\"true\"), None]), DbValue::ArrayStr([Some(\"2026-11-21\")])",
        ),
        ("CREATE TYPE mood AS ENUM ('sad','fine')", "[] "),
        (
            "SELECT 'sad'::mood, ARRAY['fine']::mood[]",
            "Str(\"sad\"), DbValue::ArrayStr([Some(\"fine\")])",
        ),
        ("SELECT ARRAY[[1],[2]]", "Unsupported("),
        ("SELECT 1/0", "22012"),
        ("SELEC", "42601"),
    ] {
        let said = as_it_is(&shop, "pg", sql);
        assert!(said.contains(shown), "{sql}: {said}");
    }
    for (sql, text) in [
        ("SELECT $1::mood", "sad"),
        ("SELECT $1::inet", "10.0.0.1"),
        ("SELECT $1::cidr", "10.0.0.0/8"),
        ("SELECT $1::varchar", "x"),
    ] {
        let said = as_it_is(&shop, "pg-text", &format!("{sql};{text}"));
        assert!(said.contains(&format!("Str(\"{text}\")")), "{sql}: {said}");
    }
    let said = as_it_is(&shop, "pg-text", "SELECT $1::inet;x");
    assert!(
        said.contains("HTTP/1.1 200") && said.contains("error"),
        "{said}"
    );
}

/// A server that answers each request with `ok`, and closes every third connection after its first answer. Returns its address and
/// the number of connections so far.
fn server_of_connections() -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let accepted = Arc::new(AtomicUsize::new(0));
    let count = accepted.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let number = count.fetch_add(1, Ordering::SeqCst) + 1;
            std::thread::spawn(move || {
                let mut received = Vec::new();
                let mut buffer = [0; 4096];
                while let Ok(read @ 1..) = stream.read(&mut buffer) {
                    received.extend_from_slice(&buffer[..read]);
                    if !received.ends_with(b"\r\n\r\n") {
                        continue;
                    }
                    received.clear();
                    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
                    stream.write_all(answer).unwrap();
                    if number.is_multiple_of(3) {
                        return;
                    }
                }
            });
        }
    });
    (address, accepted)
}

#[test]
fn outgoing_connections_stay_open_for_the_next_request() {
    let (address, accepted) = server_of_connections();
    let port = address.rsplit(':').next().unwrap();
    let shop = guests(&["--threads", "1", "--variable", &format!("port={port}")]);
    let fetch = || {
        let path = format!("/fetch?http://{address}/");
        shop.get(&path).expect(200).text
    };
    for _ in 0..10 {
        assert_eq!(fetch(), "200 ok");
    }
    assert_eq!(accepted.load(Ordering::SeqCst), 1);
    // Requests at the same time have connections of their own, one of which the server closes.
    let answers = at_once(8, |_| fetch());
    assert_eq!(answers, ["200 ok"; 8]);
    for _ in 0..10 {
        assert_eq!(fetch(), "200 ok");
    }
    let all = accepted.load(Ordering::SeqCst);
    assert!(all <= 12, "{all} connections");
}

/// The result of a statement that is sent without decoding.
fn as_it_is(shop: &Shop, question: &str, sql: &str) -> String {
    let path = format!("/{question}?{}", sql.replace(' ', "+"));
    let head = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    crate::harness::raw(&shop.base, head.as_bytes())
}

#[test]
fn a_server_transaction_that_a_guest_leaves_open_is_rolled_back() {
    let Some(url) = servers::postgres_database() else {
        return;
    };
    let flags = reaching("pg", &url);
    let shop = guests(&flags.each_ref().map(String::as_str));
    let show = |sql: &str| {
        shop.get(&format!("/pg?{}", sql.replace(' ', "+")))
            .expect(200)
            .text
    };
    show("CREATE TABLE t (x TEXT)");
    for _ in 0..3 {
        shop.get("/pg-leak").expect(500);
        // Its lock blocks nobody, and its writes are rolled back.
        assert!(show("SELECT COUNT(*) FROM t").contains("Int64(0)"));
    }
    show("SET application_name = altered");
    assert!(
        !show("SELECT current_setting($$application_name$$)").contains("altered"),
        "a session starts as new"
    );
}

#[test]
fn connections_are_capped_and_come_back() {
    let Some(url) = servers::postgres_database() else {
        return;
    };
    let folder = scratch("cap");
    let config = folder.join("runtime-config.toml");
    std::fs::write(&config, "[outbound_pg]\nmax_connections = 3\n").unwrap();
    let reach = reaching("pg", &url);
    let mut flags: Vec<&str> = reach.iter().map(String::as_str).collect();
    flags.extend([
        "--runtime-config-file",
        config.to_str().unwrap(),
        "--env",
        "X=1",
    ]);
    let shop = guests(&flags);
    let hold = |count: u32| shop.get(&format!("/narrow/pg-hold?{count}")).text;
    assert!(hold(3).contains("not permitted"), "narrow reaches nothing");
    let hold = |count: u32| shop.get(&format!("/pg-hold?{count}")).text;
    for _ in 0..3 {
        assert_eq!(hold(3), "3 held");
    }
    let replies = at_once(9, |_| shop.get("/pg?SELECT+1").expect(200).text);
    assert!(
        replies.iter().all(|text| text.contains("Int32(1)")),
        "{replies:?}"
    );
}

#[test]
fn one_that_opens_connections_for_ever_leaves_some_to_the_others() {
    let Some(url) = servers::postgres_database() else {
        return;
    };
    let reach = reaching("pg", &url);
    let shop = guests(&reach.each_ref().map(String::as_str));
    let limited = |component: &str| {
        let metrics = shop.metrics();
        let line = format!(
            "localmart_limited_total{{component=\"{component}\",generation=\"1\",resource=\"postgres\"}} "
        );
        let found = metrics.lines().find_map(|text| text.strip_prefix(&line));
        found
            .unwrap_or_else(|| panic!("{line} is missing in:\n{metrics}"))
            .parse::<u32>()
            .unwrap()
    };
    for round in 1..=2 {
        let replies = at_once(2, |number| {
            if number == 0 {
                return vec![shop.get("/pg-hoard").status];
            }
            // The other guest holds its whole share of connections by now.
            shop.eventually("the guest asks for more than its share", || {
                limited("probe") == round
            });
            let ask = || shop.get("/neighbour/pg?SELECT+1").status;
            (0..10).map(|_| ask()).collect()
        });
        assert_eq!(replies, [vec![504], vec![200; 10]]);
    }
    assert_eq!((limited("probe"), limited("neighbour")), (2, 0));
    // The connections are released when the instance is terminated.
    let none = "localmart_instances{component=\"probe\",generation=\"1\"} 0\n";
    shop.eventually("the guest is stopped", || shop.metrics().contains(none));
    shop.eventually("it may hold some again", || {
        shop.get("/pg-hold?20").text == "20 held"
    });
}

#[test]
fn redis_commands_are_carried_or_refused() {
    let Some(url) = servers::redis_database() else {
        return;
    };
    let flags = reaching("redis", &url);
    let shop = guests(&flags.each_ref().map(String::as_str));
    let send = |words: &str| shop.get(&format!("/redis?{words}")).expect(200).text;
    for (words, answer) in [
        ("SET+a+1", "Status(\"OK\")"),
        ("INCR+a", "Int64(2)"),
        ("GET+nothing", "Nil"),
        ("RPUSH+l+x+y", "Int64(2)"),
        ("LRANGE+l+0+-1", "Binary([120]), RedisResult::Binary([121])"),
        ("LPUSH+a+x", "TypeError"),
        ("WATCH+a", "refused"),
        ("multi", "refused"),
        ("BLPOP+l+0", "refused"),
        ("XREAD+BLOCK+0+STREAMS+s+0", "refused"),
        ("NOSUCH", "unknown command"),
    ] {
        let said = send(words);
        assert!(said.contains(answer), "{words}: {said}");
    }
    assert!(
        shop.get("/narrow/redis?GET+a")
            .text
            .contains("InvalidAddress")
    );
}

#[test]
fn websocket_connections_are_refused_in_words() {
    let shop = guests(&[]);
    let head = "GET /headers HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
        sec-websocket-version: 13\r\nsec-websocket-key: x3JJHMbDL1EzLkh9GBhXDw==\r\n\r\n";
    let client = crate::harness::Hostile::sends(&shop.base, head.as_bytes());
    assert_eq!(client.status(), Some(501));
}

#[test]
fn an_answer_that_a_trap_cuts_off_does_not_look_complete() {
    let shop = guests(&[]);
    let get = |path: &str| {
        let head = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        crate::harness::raw(&shop.base, head.as_bytes())
    };
    let whole = get("/whole");
    assert!(
        whole.contains("second\n") && whole.ends_with("0\r\n\r\n"),
        "{whole}"
    );
    // Both answers come from one instance; the one that is not complete yet is cut off with the other.
    let answers = at_once(2, |number| get(["/cut", "/whole"][number]));
    let cut = |answer: &str| !answer.ends_with("0\r\n\r\n");
    assert!(cut(&answers[0]), "{}", answers[0]);
    assert!(
        cut(&answers[1]) || answers[1].contains("second\n"),
        "{}",
        answers[1]
    );
    let older = get("/preview2/cut");
    assert!(cut(&older), "{older}");
    assert!(
        get("/whole").ends_with("0\r\n\r\n"),
        "the next one is whole"
    );
}
