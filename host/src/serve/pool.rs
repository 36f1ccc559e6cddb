//! The instances of one component on one core: which of them takes a call, when another is made, when none may be.

use super::instance::{Call, End, NoInstance, Slot, Work, run};
use crate::limits;
use crate::state::{HttpIndices, LoadedComponent};
use crate::trace::Trace;
use futures::channel::oneshot;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;
use wasmtime_wasi_http::WasiBody;

/// The instances of one component on one core.
pub struct Pool {
    component: Arc<LoadedComponent>,
    /// Oldest first; the newest with room takes the call, so that the others can go when load falls.
    slots: RefCell<Vec<Rc<Slot>>>,
    waiting: RefCell<VecDeque<Call>>,
    calls_at_once: usize,
    calls_per_life: usize,
    most_instances: usize,
}

/// Why a call has no response.
#[derive(Debug)]
pub enum CallError {
    /// The component is full on this core, or the instance pool is.
    Full,
    /// No response in time; the instance was retired.
    TimedOut,
    /// The instance ended before it answered.
    Broken,
    /// The guest answered with an error instead of a response.
    Guest(wasmtime::Error),
}

impl Pool {
    /// No instances yet.
    /// `share` is how many instances it may have.
    pub fn new(component: Arc<LoadedComponent>, share: usize) -> Self {
        // A WASI 0.2 instance serves one request and is gone, as its guests expect.
        let fresh = matches!(component.entrances.http, Some(HttpIndices::P2(_)))
            || component.spec.calls_per_life == 1;
        Self {
            calls_at_once: if fresh {
                1
            } else {
                component.spec.calls_per_instance
            },
            calls_per_life: if fresh {
                1
            } else {
                component.spec.calls_per_life
            },
            most_instances: share,
            component,
            slots: RefCell::default(),
            waiting: RefCell::default(),
        }
    }

    /// Calls the component and waits for its response, no longer than the manifest allows.
    pub async fn call(
        self: &Rc<Self>,
        request: http::Request<WasiBody>,
        trace: Trace,
    ) -> Result<http::Response<WasiBody>, CallError> {
        let (answer, response) = oneshot::channel();
        let work = Work::Http(Box::new(request), answer);
        self.work(work, trace, response).await
    }

    /// Hands the component a message of a Redis channel and waits until it has handled it.
    pub async fn message(self: &Rc<Self>, payload: Vec<u8>, trace: Trace) -> Result<(), CallError> {
        let (done, handled) = oneshot::channel();
        self.work(Work::Message(payload, done), trace, handled)
            .await
    }

    async fn work<T>(
        self: &Rc<Self>,
        work: Work,
        trace: Trace,
        answer: oneshot::Receiver<Result<T, wasmtime::Error>>,
    ) -> Result<T, CallError> {
        let slot = self.dispatch(Call { work, trace })?;
        match tokio::time::timeout(self.component.spec.timeout, answer).await {
            Ok(Ok(Ok(answer))) => Ok(answer),
            Ok(Ok(Err(error))) if error.is::<NoInstance>() => Err(CallError::Full),
            Ok(Ok(Err(error))) => Err(CallError::Guest(error)),
            Ok(Err(oneshot::Canceled)) => Err(CallError::Broken),
            Err(_) => {
                self.component.metrics.timed_out.inc();
                if let Some(slot) = slot {
                    retire(slot);
                }
                Err(CallError::TimedOut)
            }
        }
    }

    /// The slot that took the call, if it did not have to wait for one.
    fn dispatch(self: &Rc<Self>, call: Call) -> Result<Option<Rc<Slot>>, CallError> {
        let room = |slot: &&Rc<Slot>| slot.has_room(self.calls_at_once, self.calls_per_life);
        if let Some(slot) = self.slots.borrow().iter().rev().find(room) {
            slot.push(call);
            return Ok(Some(slot.clone()));
        }
        if self.slots.borrow().len() < self.most_instances {
            return Ok(Some(self.make(call)));
        }
        let mut waiting = self.waiting.borrow_mut();
        if waiting.len() >= limits::QUEUED_CALLS {
            self.component.metrics.rejected.inc();
            return Err(CallError::Full);
        }
        waiting.push_back(call);
        Ok(None)
    }

    fn make(self: &Rc<Self>, call: Call) -> Rc<Slot> {
        let slot = Rc::new(Slot::new(call, self.calls_per_life));
        self.slots.borrow_mut().push(slot.clone());
        let (pool, running) = (self.clone(), slot.clone());
        tokio::task::spawn_local(async move {
            let end = run(&pool.component, &running, || pool.move_up(&running)).await;
            pool.slots
                .borrow_mut()
                .retain(|slot| !Rc::ptr_eq(slot, &running));
            pool.report(&end);
            // Calls that no guest has seen yet lose nothing by the end of this instance.
            let unseen: Vec<Call> = std::iter::from_fn(|| running.next()).collect();
            for call in unseen.into_iter().rev() {
                pool.waiting.borrow_mut().push_front(call);
            }
            pool.refill();
        });
        slot
    }

    /// The next waiting call whose caller still waits.
    fn next_waiting(&self) -> Option<Call> {
        let mut waiting = self.waiting.borrow_mut();
        while let Some(call) = waiting.pop_front() {
            if !call.is_canceled() {
                return Some(call);
            }
        }
        None
    }

    /// A call was answered: the next that waits may go to this instance.
    fn move_up(&self, slot: &Rc<Slot>) {
        if slot.has_room(self.calls_at_once, self.calls_per_life)
            && let Some(call) = self.next_waiting()
        {
            slot.push(call);
        } else if self.calls_per_life == 1 {
            slot.retire();
        }
    }

    /// An instance ended: those that wait go to the others, or need another.
    fn refill(self: &Rc<Self>) {
        let room = |slot: &&Rc<Slot>| slot.has_room(self.calls_at_once, self.calls_per_life);
        loop {
            let slot = self.slots.borrow().iter().rev().find(room).cloned();
            if slot.is_none() && self.slots.borrow().len() >= self.most_instances {
                return;
            }
            let Some(call) = self.next_waiting() else {
                return;
            };
            match slot {
                Some(slot) => slot.push(call),
                None => drop(self.make(call)),
            }
        }
    }

    fn report(&self, end: &End) {
        let component = &self.component.id;
        match end {
            End::Done => {}
            End::NotMade(error) => {
                self.component.metrics.rejected.inc();
                tracing::warn!(%component, error = format!("{error:#}"), "no instance could be made");
            }
            End::Trapped(error) => {
                self.component.metrics.trapped.inc();
                tracing::error!(%component, error = format!("{error:?}"), "an instance trapped");
            }
            End::Killed => {
                tracing::error!(%component, "an instance missed its deadline and was ended")
            }
        }
    }

    /// Lets idle instances go; one stays warm.
    pub fn tidy(&self, now: Instant) {
        let slots = self.slots.borrow();
        for slot in slots
            .iter()
            .take(slots.len().saturating_sub(1))
            .filter(|slot| slot.is_idle(now))
        {
            slot.retire();
        }
    }
}

/// A call missed its deadline: its instance takes no more, and is ended when its siblings had their time.
fn retire(slot: Rc<Slot>) {
    slot.retire();
    tokio::task::spawn_local(async move {
        tokio::time::sleep(limits::RETIRE_GRACE).await;
        if slot.in_flight.get() > 0 {
            slot.kill();
        }
    });
}
