//! The future that runs an instance. Two parties can poll it: its own task, and a caller that has just assigned a call,
//! on the caller's stack. A call that does not have to wait is then answered before its caller would have suspended,
//! without a trip through the scheduler.

use super::instance::InstanceEnd;
use futures::task::AtomicWaker;
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

/// The future that runs an instance. It stays on one core.
pub struct InstanceTask {
    future: RefCell<Option<Pin<Box<dyn Future<Output = InstanceEnd>>>>>,
    end: Cell<Option<InstanceEnd>>,
    task_waker: Arc<TaskWaker>,
    waker: Waker,
}

/// Wakes the task of an instance, unless a caller is polling the instance and will notice by itself.
#[derive(Default)]
struct TaskWaker {
    task: AtomicWaker,
    /// Set by each wake-up, cleared when the future is polled by a caller.
    woken: AtomicBool,
    /// Set while a caller polls the future. The caller checks `woken` afterwards.
    polled_by_caller: AtomicBool,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // The order matters: either this thread sees that no caller is polling any more, or the caller sees `woken`.
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
    /// Runs the future to its end, as a task.
    pub async fn drive(&self, future: impl Future<Output = InstanceEnd> + 'static) -> InstanceEnd {
        self.future.replace(Some(Box::pin(future)));
        let _drop_future = DropFuture(self);
        poll_fn(|cx| {
            self.task_waker.task.register(cx.waker());
            self.poll()
        })
        .await
    }

    /// Makes the task poll the future again.
    pub fn wake(&self) {
        self.task_waker.wake_by_ref();
    }

    /// Runs `with`, then polls the future on the caller's stack. If the future is already being polled, it is polled
    /// again later.
    pub fn poll_after(&self, with: impl FnOnce()) {
        if self
            .task_waker
            .polled_by_caller
            .swap(true, Ordering::SeqCst)
        {
            // The outer caller checks `woken` afterwards.
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
                // The task has to return the result.
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

/// Guard of a caller that polls the future. Its drop wakes the task if necessary, also during a panic.
struct CallerPoll<'w>(&'w TaskWaker);

impl Drop for CallerPoll<'_> {
    fn drop(&mut self) {
        self.0.polled_by_caller.store(false, Ordering::SeqCst);
        if self.0.woken.swap(false, Ordering::SeqCst) {
            self.0.task.wake();
        }
    }
}

/// Drops the future when its task ends.
struct DropFuture<'t>(&'t InstanceTask);

impl Drop for DropFuture<'_> {
    fn drop(&mut self) {
        // The future owns the slot that owns this future: without this the cycle would leak.
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

    /// An instance task whose future ends after `turns` polls, its number of polls, its number of wake-ups, and a
    /// function that polls the task.
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
    fn a_call_is_polled_at_once_without_waking_the_task() {
        let (task, seen, count, mut poll) = task(9);
        assert!(!poll());
        task.poll_after(|| task.waker.wake_by_ref());
        assert_eq!((seen.get(), count.0.load(Ordering::Relaxed)), (2, 0));
    }

    #[test]
    fn a_future_that_has_not_started_is_left_to_its_task() {
        let (task, seen, _, mut poll) = task(9);
        task.poll_after(|| task.waker.wake_by_ref());
        assert_eq!(seen.get(), 0);
        assert!(!poll());
        assert_eq!(seen.get(), 1);
    }

    #[test]
    fn a_future_that_ends_in_a_callers_poll_wakes_its_task() {
        let (task, _, count, mut poll) = task(2);
        assert!(!poll());
        task.poll_after(|| ());
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
        assert!(poll());
    }

    #[test]
    fn a_nested_call_is_polled_afterwards() {
        let (task, seen, count, mut poll) = task(9);
        assert!(!poll());
        task.poll_after(|| task.poll_after(|| task.waker.wake_by_ref()));
        assert_eq!((seen.get(), count.0.load(Ordering::Relaxed)), (2, 0));
    }
}
