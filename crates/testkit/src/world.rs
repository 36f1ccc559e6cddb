//! A world that stands still: time moves when a test says so, chance counts up, waiting is instantaneous.

use localmart_guest::kernel::Timestamp;
use localmart_guest::ports::{LocalFuture, Ports, World};
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

/// The test's hold on its world.
#[derive(Clone, Default)]
pub struct TestWorld {
    ms: Rc<Cell<i64>>,
    dice: Rc<Cell<u64>>,
}

impl TestWorld {
    /// A world at a fixed moment of 2026.
    pub fn new() -> Self {
        let world = Self::default();
        world.ms.set(1_790_000_000_000);
        world
    }

    /// What a service gets.
    pub fn ports(&self) -> Ports {
        Ports::new(self.clone())
    }

    /// Lets time pass.
    pub fn advance_ms(&self, ms: i64) {
        self.ms.set(self.ms.get() + ms);
    }

    /// What time it is.
    pub fn now(&self) -> Timestamp {
        Timestamp::from_ms(self.ms.get())
    }
}

impl World for TestWorld {
    fn now(&self) -> Timestamp {
        Self::now(self)
    }

    fn random_bytes(&self) -> [u8; 10] {
        self.dice.set(self.dice.get() + 1);
        let mut bytes = [0; 10];
        bytes[2..].copy_from_slice(&self.dice.get().to_be_bytes());
        bytes
    }

    fn sleep(&self, time: Duration) -> LocalFuture<'_, ()> {
        self.advance_ms(i64::try_from(time.as_millis()).unwrap());
        Box::pin(std::future::ready(()))
    }
}
