//! Clients that hold connections and say little: bodies that never arrive, silent connections, half HTTP/2 prefaces. A
//! connection that the host closes is opened again.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::io::{ErrorKind, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// Connections that announce a body of 1000 bytes and send one.
const SLOW_BODIES: usize = 200;
/// Connections that send nothing.
const SILENT: usize = 1500;
/// Connections that send half an HTTP/2 preface.
const HALF_PREFACES: usize = 500;
/// How often closed connections are opened again.
const INTERVAL: Duration = Duration::from_millis(200);

const SLOW_BODY: &[u8] =
    b"POST /api/orders HTTP/1.1\r\nhost: shop\r\ncontent-type: application/json\r\n\
    idempotency-key: hostile\r\ncontent-length: 1000\r\n\r\n{";
const HALF_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n";

/// How often the hostile clients connected, and were disconnected or refused.
#[derive(Default)]
pub(crate) struct Count {
    pub(crate) opened: AtomicU64,
    pub(crate) closed: AtomicU64,
}

/// Holds the connections until `stop`.
pub(crate) fn hold(address: SocketAddr, stop: &AtomicBool, count: &Count) {
    allow_many_files();
    let kinds = [
        (SLOW_BODIES, SLOW_BODY),
        (SILENT, &b""[..]),
        (HALF_PREFACES, HALF_PREFACE),
    ];
    let mut held: Vec<(usize, TcpStream)> = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let before = held.len();
        held.retain(|(_, stream)| is_open(stream));
        let closed = before - held.len();
        count.closed.fetch_add(closed as u64, Ordering::Relaxed);
        for (kind, (wanted, bytes)) in kinds.iter().enumerate() {
            let open = held.iter().filter(|(of, _)| *of == kind).count();
            for _ in open..*wanted {
                let Ok(mut stream) = TcpStream::connect(address) else {
                    break;
                };
                count.opened.fetch_add(1, Ordering::Relaxed);
                if stream.write_all(bytes).is_ok() && stream.set_nonblocking(true).is_ok() {
                    held.push((kind, stream));
                }
            }
        }
        std::thread::sleep(INTERVAL);
    }
}

fn is_open(stream: &TcpStream) -> bool {
    match stream.peek(&mut [0]) {
        // An answer, such as 408, comes before the end.
        Ok(_) => false,
        Err(error) => error.kind() == ErrorKind::WouldBlock,
    }
}

/// Raises the limit of open files as far as the system allows.
fn allow_many_files() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    // If the limit stays, fewer hostile clients connect, and the report says how many.
    let _ = setrlimit(Resource::Nofile, raised);
}
