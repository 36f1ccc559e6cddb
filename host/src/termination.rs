//! Ending an instance from outside, even in the middle of a call.

use std::sync::atomic::{AtomicBool, Ordering};

/// A request to end one instance. The instance's future and the epoch callback of its store check it.
#[derive(Debug, Default)]
pub struct Termination {
    requested: AtomicBool,
}

impl Termination {
    /// Asks the instance to end now.
    pub fn request(&self) {
        self.requested.store(true, Ordering::Relaxed);
    }

    /// Whether the instance must end now.
    pub fn is_requested(&self) -> bool {
        self.requested.load(Ordering::Relaxed)
    }
}
