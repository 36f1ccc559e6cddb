//! An environment that tests control: the clock moves only when told to, random numbers count up, and sleep returns at once
//! and moves the clock.

use localmart_guest::kernel::Timestamp;
use localmart_guest::ports::{Environment, LocalFuture, Ports};
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

/// The environment of a test. Clones share clock and random numbers.
#[derive(Clone, Default)]
pub struct TestEnvironment {
    ms: Rc<Cell<i64>>,
    random: Rc<Cell<u64>>,
}

impl TestEnvironment {
    /// An environment whose clock stands at a fixed time in 2026.
    pub fn new() -> Self {
        let environment = Self::default();
        environment.ms.set(1_790_000_000_000);
        environment
    }

    /// The ports of a service in this environment.
    pub fn ports(&self) -> Ports {
        Ports::new(self.clone())
    }

    /// Moves the clock forward.
    pub fn advance_ms(&self, ms: i64) {
        self.ms.set(self.ms.get() + ms);
    }

    /// The time of the clock.
    pub fn now(&self) -> Timestamp {
        Timestamp::from_ms(self.ms.get())
    }
}

impl Environment for TestEnvironment {
    fn now(&self) -> Timestamp {
        Self::now(self)
    }

    fn random_bytes(&self) -> [u8; 10] {
        self.random.set(self.random.get() + 1);
        let mut bytes = [0; 10];
        bytes[2..].copy_from_slice(&self.random.get().to_be_bytes());
        bytes
    }

    fn sleep(&self, time: Duration) -> LocalFuture<'_, ()> {
        self.advance_ms(i64::try_from(time.as_millis()).unwrap());
        Box::pin(std::future::ready(()))
    }
}
