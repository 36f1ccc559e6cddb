//! The life of an instance as a future that two may poll: its own task, and whoever just gave it a call, on the caller's stack. A call
//! that need not wait for anything is then answered before its caller would have begun to wait, without a turn of the core.

use super::instance::End;
use futures::task::AtomicWaker;
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

/// The life of an instance; it stays on one core.
pub struct Life {
    future: RefCell<Option<Pin<Box<dyn Future<Output = End>>>>>,
    end: Cell<Option<End>>,
    bell: Arc<Bell>,
    waker: Waker,
}

/// Wakes the task of a life, unless a caller is polling it anyway.
#[derive(Default)]
struct Bell {
    task: AtomicWaker,
    /// Somebody rang since the last look.
    rung: AtomicBool,
    /// Whoever holds it looks at `rung` afterwards.
    held: AtomicBool,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // In this order, so that either this sees that nobody holds it any more, or the holder sees that it rang.
        self.rung.store(true, Ordering::SeqCst);
        if !self.held.load(Ordering::SeqCst) {
            self.task.wake();
        }
    }
}

impl Default for Life {
    fn default() -> Self {
        let bell = Arc::<Bell>::default();
        Self {
            future: RefCell::default(),
            end: Cell::default(),
            waker: bell.clone().into(),
            bell,
        }
    }
}

impl Life {
    /// Lives it to its end, as a task.
    pub async fn live(&self, life: impl Future<Output = End> + 'static) -> End {
        self.future.replace(Some(Box::pin(life)));
        let _gone = Gone(self);
        poll_fn(|cx| {
            self.bell.task.register(cx.waker());
            self.poll()
        })
        .await
    }

    /// Its task looks at it again.
    pub fn wake(&self) {
        self.bell.wake_by_ref();
    }

    /// Does something that it will notice, and lets it go on at once as far as it can; later, if it is in the midst of that already.
    pub fn nudge(&self, with: impl FnOnce()) {
        if self.bell.held.swap(true, Ordering::SeqCst) {
            // Who holds it looks afterwards.
            with();
            return;
        }
        let held = Held(&self.bell);
        with();
        let begun = self.future.try_borrow().is_ok_and(|life| life.is_some());
        if begun {
            self.bell.rung.store(false, Ordering::SeqCst);
            if let Poll::Ready(end) = self.poll() {
                // Its task has to know.
                self.end.set(Some(end));
                self.bell.rung.store(true, Ordering::SeqCst);
            }
        }
        drop(held);
    }

    fn poll(&self) -> Poll<End> {
        if let Some(end) = self.end.take() {
            return Poll::Ready(end);
        }
        let Ok(mut life) = self.future.try_borrow_mut() else {
            return Poll::Pending;
        };
        let Some(future) = life.as_mut() else {
            return Poll::Pending;
        };
        let polled = future.as_mut().poll(&mut Context::from_waker(&self.waker));
        if polled.is_ready() {
            life.take();
        }
        polled
    }
}

/// A bell that somebody holds, who looks afterwards, and if it is in a panic.
struct Held<'b>(&'b Bell);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.held.store(false, Ordering::SeqCst);
        if self.0.rung.swap(false, Ordering::SeqCst) {
            self.0.task.wake();
        }
    }
}

/// A life whose task is gone.
struct Gone<'l>(&'l Life);

impl Drop for Gone<'_> {
    fn drop(&mut self) {
        // It holds what holds it.
        if let Ok(mut life) = self.0.future.try_borrow_mut() {
            life.take();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::rc::Rc;
    use std::sync::atomic::AtomicUsize;

    /// Counts how often a task is woken.
    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A life that counts its turns and ends after so many, and what wakes its task.
    fn life(turns: usize) -> (Rc<Life>, Rc<Cell<usize>>, Arc<Count>, impl FnMut() -> bool) {
        let (life, seen, count) = (
            Rc::<Life>::default(),
            Rc::<Cell<usize>>::default(),
            Arc::<Count>::default(),
        );
        let (mine, counted) = (life.clone(), seen.clone());
        let waker = Waker::from(count.clone());
        let mut task = Box::pin(async move {
            let turn = poll_fn(move |_| {
                counted.set(counted.get() + 1);
                if counted.get() < turns {
                    Poll::Pending
                } else {
                    Poll::Ready(End::Done)
                }
            });
            mine.live(turn).await
        });
        let poll = move || {
            task.as_mut()
                .poll(&mut Context::from_waker(&waker))
                .is_ready()
        };
        (life, seen, count, poll)
    }

    #[test]
    fn a_call_is_seen_at_once_and_wakes_nobody() {
        let (life, seen, count, mut task) = life(9);
        assert!(!task());
        life.nudge(|| life.waker.wake_by_ref());
        assert_eq!((seen.get(), count.0.load(Ordering::Relaxed)), (2, 0));
    }

    #[test]
    fn what_has_not_begun_is_left_to_its_task() {
        let (life, seen, _, mut task) = life(9);
        life.nudge(|| life.waker.wake_by_ref());
        assert_eq!(seen.get(), 0);
        assert!(!task());
        assert_eq!(seen.get(), 1);
    }

    #[test]
    fn an_end_in_a_callers_hands_is_told_to_its_task() {
        let (life, _, count, mut task) = life(2);
        assert!(!task());
        life.nudge(|| ());
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
        assert!(task());
    }

    #[test]
    fn a_call_from_within_is_seen_afterwards() {
        let (life, seen, count, mut task) = life(9);
        assert!(!task());
        life.nudge(|| life.nudge(|| life.waker.wake_by_ref()));
        assert_eq!((seen.get(), count.0.load(Ordering::Relaxed)), (2, 0));
    }
}
