//! Limits of single requests, such as logins: how often an address and all addresses together may send them, and how many
//! run at once. They protect what a request costs before anybody is trusted.

use super::clients::{ClientAddress, counted};
use crate::app::request_limit::RequestLimit;
use http::Method;
use std::cell::Cell;
use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Addresses that are remembered before those without recent requests are forgotten.
const REMEMBERED_ADDRESSES: usize = 10_000;

/// The counts of an application's limits.
#[derive(Debug)]
pub struct RequestLimits {
    limits: Vec<(RequestLimit, Mutex<Counted>)>,
}

#[derive(Debug, Default)]
struct Counted {
    addresses: HashMap<IpAddr, Instant>,
    all: Option<Instant>,
}

impl RequestLimits {
    /// Nothing counted yet.
    pub fn new(limits: Vec<RequestLimit>) -> Self {
        Self {
            limits: limits
                .into_iter()
                .filter(RequestLimit::is_on)
                .map(|limit| (limit, Mutex::default()))
                .collect(),
        }
    }

    /// Counts a request of a client. `by_address` is whether its address counts. The error is the time after which the
    /// client may try again.
    pub fn count(
        &self,
        (method, path): (&Method, &str),
        client: &ClientAddress,
        by_address: bool,
    ) -> Result<(), Duration> {
        let now = Instant::now();
        for (limit, counted) in self
            .limits
            .iter()
            .filter(|(limit, _)| limit.covers(method, path))
        {
            let Ok(mut counts) = counted.lock() else {
                continue;
            };
            let local = limit.loopback && client.address.ip().is_loopback();
            if let Some(rate) = limit.per_address.filter(|_| by_address || local) {
                if counts.addresses.len() >= REMEMBERED_ADDRESSES {
                    counts.addresses.retain(|_, next| *next > now);
                }
                let address = self::counted(client.address.ip());
                rate.count(counts.addresses.entry(address).or_insert(now), now)?;
            }
            if let Some(rate) = limit.in_all {
                rate.count(counts.all.get_or_insert(now), now)?;
            }
        }
        Ok(())
    }

    /// The gates of one core.
    pub fn gates(&self) -> Gates {
        let gate = |(limit, _): &(RequestLimit, _)| {
            let (most, waiting) = limit.at_once?;
            Some(Gate {
                limit: limit.clone(),
                running: Arc::new(Semaphore::new(most)),
                waiting: Rc::default(),
                most_waiting: waiting,
            })
        };
        Gates(self.limits.iter().filter_map(gate).collect())
    }
}

/// How many limited requests run on one core.
pub struct Gates(Vec<Gate>);

struct Gate {
    limit: RequestLimit,
    running: Arc<Semaphore>,
    waiting: Rc<Cell<usize>>,
    most_waiting: usize,
}

/// A request that may run. The next one may when this is dropped.
#[derive(Debug, Default)]
pub struct Turn {
    _permit: Option<OwnedSemaphorePermit>,
}

impl Gates {
    /// Waits until a request may run; `None` if too many wait already.
    pub async fn turn(&self, method: &Method, path: &str) -> Option<Turn> {
        let Some(gate) = self.0.iter().find(|gate| gate.limit.covers(method, path)) else {
            return Some(Turn::default());
        };
        if let Ok(permit) = gate.running.clone().try_acquire_owned() {
            return Some(Turn {
                _permit: Some(permit),
            });
        }
        if gate.waiting.get() >= gate.most_waiting {
            return None;
        }
        let _waiting = Waiting::new(&gate.waiting);
        let permit = gate.running.clone().acquire_owned().await.ok()?;
        Some(Turn {
            _permit: Some(permit),
        })
    }
}

/// Counts a waiting request.
struct Waiting(Rc<Cell<usize>>);

impl Waiting {
    fn new(count: &Rc<Cell<usize>>) -> Self {
        count.set(count.get() + 1);
        Self(count.clone())
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::request_limit::Rate;
    use crate::manifest::schema::RequestLimitTable;
    use std::task::Poll;

    fn limit(change: impl FnOnce(&mut RequestLimitTable)) -> Result<RequestLimit, String> {
        let mut table = RequestLimitTable {
            requests: vec!["POST /api/things".to_owned()],
            ..RequestLimitTable::default()
        };
        change(&mut table);
        RequestLimit::parse(&table)
    }

    fn client(address: &str) -> ClientAddress {
        ClientAddress {
            address: format!("{address}:1").parse().unwrap(),
            forwarded: false,
        }
    }

    #[test]
    fn an_address_has_a_rate_of_its_own() {
        let limit = limit(|table| table.per_address = Some("2/1h".to_owned())).unwrap();
        let limits = RequestLimits::new(vec![limit]);
        let send = |method: Method, path: &str, from: &str| {
            limits.count((&method, path), &client(from), from != "127.0.0.1")
        };
        for _ in 0..2 {
            send(Method::POST, "/api/things", "192.0.2.1").unwrap();
        }
        let wait = send(Method::POST, "/api/things", "192.0.2.1").unwrap_err();
        assert!(wait > Duration::from_secs(1700), "{wait:?}");
        send(Method::POST, "/api/things", "192.0.2.2").unwrap();
        send(Method::GET, "/api/things", "192.0.2.1").unwrap();
        send(Method::POST, "/api/others", "192.0.2.1").unwrap();
        for _ in 0..5 {
            send(Method::POST, "/api/things", "127.0.0.1").unwrap();
        }
    }

    #[test]
    fn a_limit_can_be_for_all_requests_below_a_path() {
        let limit = limit(|table| {
            table.requests = vec!["* /api/...".to_owned()];
            table.per_address = Some("2/1h".to_owned());
            table.count_loopback = true;
        });
        let limits = RequestLimits::new(vec![limit.unwrap()]);
        let send =
            |method: Method, path: &str| limits.count((&method, path), &client("127.0.0.1"), false);
        send(Method::POST, "/api/things").unwrap();
        send(Method::GET, "/api").unwrap();
        send(Method::GET, "/api/others/1").unwrap_err();
        send(Method::GET, "/images/1").unwrap();
    }

    #[test]
    fn a_rate_of_zero_is_no_limit() {
        let limit = limit(|table| table.per_address = Some("0/1m".to_owned())).unwrap();
        assert!(RequestLimits::new(vec![limit]).limits.is_empty());
    }

    #[test]
    fn all_addresses_have_a_rate_together() {
        let limit = limit(|table| table.in_all = Some("3/1h".to_owned())).unwrap();
        let limits = RequestLimits::new(vec![limit]);
        let send = |from: &str| limits.count((&Method::POST, "/api/things"), &client(from), true);
        for from in ["192.0.2.1", "192.0.2.2", "192.0.2.3"] {
            send(from).unwrap();
        }
        assert!(send("192.0.2.4").is_err());
    }

    #[test]
    fn a_rate_recovers() {
        let rate = Rate::parse("60/1m").unwrap().unwrap();
        let start = Instant::now();
        let mut next = start;
        for _ in 0..60 {
            rate.count(&mut next, start).unwrap();
        }
        assert_eq!(rate.count(&mut next, start), Err(Duration::from_secs(1)));
        rate.count(&mut next, start + Duration::from_secs(1))
            .unwrap();
        assert!(
            rate.count(&mut next, start + Duration::from_secs(1))
                .is_err()
        );
    }

    #[test]
    fn some_run_some_wait_and_others_are_refused() {
        let limit = limit(|table| {
            table.at_once = Some("1".to_owned());
            table.waiting = Some("1".to_owned());
        });
        let gates = RequestLimits::new(vec![limit.unwrap()]).gates();
        let turn = || Box::pin(gates.turn(&Method::POST, "/api/things"));
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        let mut first = turn();
        let Poll::Ready(Some(running)) = first.as_mut().poll(&mut context) else {
            panic!("the first one runs")
        };
        let (mut second, mut third) = (turn(), turn());
        assert!(second.as_mut().poll(&mut context).is_pending());
        assert!(matches!(
            third.as_mut().poll(&mut context),
            Poll::Ready(None)
        ));
        drop(running);
        assert!(matches!(
            second.as_mut().poll(&mut context),
            Poll::Ready(Some(_))
        ));
    }

    #[test]
    fn invalid_values_are_named() {
        for (key, value) in [
            ("per_address", "fast"),
            ("in_all", "-1/1m"),
            ("at_once", "x"),
        ] {
            let refused = limit(|table| {
                let value = Some(value.to_owned());
                match key {
                    "per_address" => table.per_address = value,
                    "in_all" => table.in_all = value,
                    _ => table.at_once = value,
                }
            });
            assert!(refused.unwrap_err().contains(key));
        }
    }
}
