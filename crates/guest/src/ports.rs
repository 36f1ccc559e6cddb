//! Time, chance and waiting come in through here, so that rules can be tested at any hour with any dice.

use localmart_kernel::{Id, Timestamp};
use std::pin::Pin;
use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A future of one thread, as components have them.
pub type LocalFuture<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// What a service may know of the world outside its databases.
pub trait World {
    /// The wall clock.
    fn now(&self) -> Timestamp;
    /// Ten unpredictable bytes.
    fn random_bytes(&self) -> [u8; 10];
    /// Waits.
    fn sleep(&self, time: Duration) -> LocalFuture<'_, ()>;
}

/// A shared [`World`].
#[derive(Clone)]
pub struct Ports(Rc<dyn World>);

impl Ports {
    /// Wraps a world.
    pub fn new(world: impl World + 'static) -> Self {
        Self(Rc::new(world))
    }

    /// The real world: WASI clocks and random numbers.
    pub fn real() -> Self {
        Self::new(RealWorld)
    }

    /// The wall clock.
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

    /// Waits.
    pub async fn sleep(&self, time: Duration) {
        self.0.sleep(time).await;
    }
}

struct RealWorld;

impl World for RealWorld {
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
