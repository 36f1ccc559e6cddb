//! The life of an instance as a future that two may poll: its own task, and whoever just gave it a call, on the caller's stack. A call
//! that need not wait for anything is then answered before its caller would have begun to wait, without a turn of the core.

use super::instance::InstanceEnd;
use futures::task::AtomicWaker;
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

/// The life of an instance; it stays on one core.
pub struct InstanceTask {
    future: RefCell<Option<Pin<Box<dyn Future<Output = InstanceEnd>>>>>,
    end: Cell<Option<InstanceEnd>>,
    task_waker: Arc<TaskWaker>,
    waker: Waker,
}

/// Wakes the task of a life, unless a caller is polling it anyway.
#[derive(Default)]
struct TaskWaker {
    task: AtomicWaker,
    /// Somebody rang since the last look.
    woken: AtomicBool,
    /// Whoever holds it looks at `woken` afterwards.
    polled_by_caller: AtomicBool,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // In this order, so that either this sees that nobody holds it any more, or the holder sees that it rang.
        self.woken.store(true, Ordering::SeqCst);
        if !self.polled_by_caller.load(Ordering::SeqCst) {
            self.task.wake();
        }
    }
}

impl Default for InstanceTask {
    fn default() -> Self {
        let task_waker = Arc::<TaskWaker>::default();
        Self {
            future: RefCell::default(),
            end: Cell::default(),
            waker: task_waker.clone().into(),
            task_waker,
        }
    }
}

impl InstanceTask {
    /// Lives it to its end, as a task.
    pub async fn drive(&self, future: impl Future<Output = InstanceEnd> + 'static) -> InstanceEnd {
        self.future.replace(Some(Box::pin(future)));
        let _drop_future = DropFuture(self);
        poll_fn(|cx| {
            self.task_waker.task.register(cx.waker());
            self.poll()
        })
        .await
    }

    /// Its task looks at it again.
    pub fn wake(&self) {
        self.task_waker.wake_by_ref();
    }

    /// Does something that it will notice, and lets it go on at once as far as it can; later, if it is in the midst of that already.
    pub fn poll_after(&self, with: impl FnOnce()) {
        if self
            .task_waker
            .polled_by_caller
            .swap(true, Ordering::SeqCst)
        {
            // Who holds it looks afterwards.
            with();
            return;
        }
        let poll_guard = CallerPoll(&self.task_waker);
        with();
        let begun = self
            .future
            .try_borrow()
            .is_ok_and(|future| future.is_some());
        if begun {
            self.task_waker.woken.store(false, Ordering::SeqCst);
            if let Poll::Ready(end) = self.poll() {
                // Its task has to know.
                self.end.set(Some(end));
                self.task_waker.woken.store(true, Ordering::SeqCst);
            }
        }
        drop(poll_guard);
    }

    fn poll(&self) -> Poll<InstanceEnd> {
        if let Some(end) = self.end.take() {
            return Poll::Ready(end);
        }
        let Ok(mut slot) = self.future.try_borrow_mut() else {
            return Poll::Pending;
        };
        let Some(future) = slot.as_mut() else {
            return Poll::Pending;
        };
        let polled = future.as_mut().poll(&mut Context::from_waker(&self.waker));
        if polled.is_ready() {
            slot.take();
        }
        polled
    }
}

/// A waker that somebody holds, who looks afterwards, and if it is in a panic.
struct CallerPoll<'w>(&'w TaskWaker);

impl Drop for CallerPoll<'_> {
    fn drop(&mut self) {
        self.0.polled_by_caller.store(false, Ordering::SeqCst);
        if self.0.woken.swap(false, Ordering::SeqCst) {
            self.0.task.wake();
        }
    }
}

/// A life whose task is gone.
struct DropFuture<'t>(&'t InstanceTask);

impl Drop for DropFuture<'_> {
    fn drop(&mut self) {
        // It holds what holds it.
        if let Ok(mut slot) = self.0.future.try_borrow_mut() {
            slot.take();
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
    fn task(
        turns: usize,
    ) -> (
        Rc<InstanceTask>,
        Rc<Cell<usize>>,
        Arc<Count>,
        impl FnMut() -> bool,
    ) {
        let (task, seen, count) = (
            Rc::<InstanceTask>::default(),
            Rc::<Cell<usize>>::default(),
            Arc::<Count>::default(),
        );
        let (mine, counted) = (task.clone(), seen.clone());
        let waker = Waker::from(count.clone());
        let mut driving = Box::pin(async move {
            let turn = poll_fn(move |_| {
                counted.set(counted.get() + 1);
                if counted.get() < turns {
                    Poll::Pending
                } else {
                    Poll::Ready(InstanceEnd::Done)
                }
            });
            mine.drive(turn).await
        });
        let poll = move || {
            driving
                .as_mut()
                .poll(&mut Context::from_waker(&waker))
                .is_ready()
        };
        (task, seen, count, poll)
    }

    #[test]
    fn a_call_is_seen_at_once_and_wakes_nobody() {
        let (task, seen, count, mut poll) = task(9);
        assert!(!poll());
        task.poll_after(|| task.waker.wake_by_ref());
        assert_eq!((seen.get(), count.0.load(Ordering::Relaxed)), (2, 0));
    }

    #[test]
    fn what_has_not_begun_is_left_to_its_task() {
        let (task, seen, _, mut poll) = task(9);
        task.poll_after(|| task.waker.wake_by_ref());
        assert_eq!(seen.get(), 0);
        assert!(!poll());
        assert_eq!(seen.get(), 1);
    }

    #[test]
    fn an_end_in_a_callers_hands_is_told_to_its_task() {
        let (task, _, count, mut poll) = task(2);
        assert!(!poll());
        task.poll_after(|| ());
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
        assert!(poll());
    }

    #[test]
    fn a_call_from_within_is_seen_afterwards() {
        let (task, seen, count, mut poll) = task(9);
        assert!(!poll());
        task.poll_after(|| task.poll_after(|| task.waker.wake_by_ref()));
        assert_eq!((seen.get(), count.0.load(Ordering::Relaxed)), (2, 0));
    }
}
