//! The clock, random numbers and sleep of a service. Tests replace them, so that a test controls the time and ids are
//! reproducible.

use localmart_kernel::{Id, Timestamp};
use std::pin::Pin;
use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A future that is not `Send`: a component has one thread.
pub type LocalFuture<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// The clock, the random numbers and the sleep of a service.
pub trait Environment {
    /// The current time of the wall clock.
    fn now(&self) -> Timestamp;
    /// Ten unpredictable bytes.
    fn random_bytes(&self) -> [u8; 10];
    /// Waits for this long.
    fn sleep(&self, time: Duration) -> LocalFuture<'_, ()>;
}

/// A shared [`Environment`].
#[derive(Clone)]
pub struct Ports(Rc<dyn Environment>);

impl Ports {
    /// Wraps an environment.
    pub fn new(environment: impl Environment + 'static) -> Self {
        Self(Rc::new(environment))
    }

    /// The clock and the random numbers of the system.
    pub fn real() -> Self {
        Self::new(SystemEnvironment)
    }

    /// The current time of the wall clock.
    pub fn now(&self) -> Timestamp {
        self.0.now()
    }

    /// A new id.
    pub fn new_id(&self) -> Id {
        Id::from_parts(self.0.now().unsigned_ms(), &self.0.random_bytes())
    }

    /// A number from 0 to 255.
    pub fn random_byte(&self) -> u8 {
        self.0.random_bytes()[9]
    }

    /// 32 unpredictable bytes.
    pub fn secret(&self) -> [u8; 32] {
        let mut secret = [0; 32];
        for part in secret.chunks_exact_mut(8) {
            let [_, _, eight @ ..] = self.0.random_bytes();
            part.copy_from_slice(&eight);
        }
        secret
    }

    /// Waits for this long.
    pub async fn sleep(&self, time: Duration) {
        self.0.sleep(time).await;
    }
}

struct SystemEnvironment;

impl Environment for SystemEnvironment {
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let ms = since.unwrap_or_default().as_millis();
        Timestamp::from_ms(i64::try_from(ms).unwrap_or(i64::MAX))
    }

    fn random_bytes(&self) -> [u8; 10] {
        let mut bytes = [0; 10];
        if getrandom::fill(&mut bytes).is_err() {
            // Without randomness ids would collide silently; stopping is the only safe answer.
            std::process::abort();
        }
        bytes
    }

    fn sleep(&self, time: Duration) -> LocalFuture<'_, ()> {
        #[cfg(target_arch = "wasm32")]
        return Box::pin(spin_sdk::time::sleep(time));
        #[cfg(not(target_arch = "wasm32"))]
        Box::pin(async move { std::thread::sleep(time) })
    }
}
