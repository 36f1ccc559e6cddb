//! How an instance is ended from outside: first it takes no more calls, then, if it must, it is dropped mid-call.

use std::sync::atomic::{AtomicBool, Ordering};

/// The fate of one instance, seen by its store's epoch callback too.
#[derive(Debug, Default)]
pub struct Termination {
    requested: AtomicBool,
}

impl Termination {
    /// The instance must end now.
    pub fn request(&self) {
        self.requested.store(true, Ordering::Relaxed);
    }

    /// Whether the instance must end now.
    pub fn is_requested(&self) -> bool {
        self.requested.load(Ordering::Relaxed)
    }
}
