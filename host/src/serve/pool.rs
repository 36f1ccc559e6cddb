//! The instances of one generation of a component on one core: which of them gets a call, and when another one is
//! created.

use super::deployment::Generation;
use super::health::Outcome;
use super::instance::{Call, CallKind, InstanceEnd, LinkedCall, NoInstance, Slot, run};
use super::response_body::AnsweredBy;
use crate::capability::state::{Code, HttpIndices, LoadedComponent};
use crate::guest_error::GuestError;
use crate::limits;
use crate::link::binding::Binding;
use crate::link::breaker::Breaker;
use crate::link::not_answered::{Answered, NotAnswered};
use crate::metrics::LinkMetrics;
use crate::policy::PolicyInstance;
use crate::trace::Trace;
use futures::channel::oneshot;
use http::HeaderValue;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use wasmtime::component::Val;
use wasmtime_wasi_http::WasiBody;

/// The instances of one generation of a component on one core.
pub struct Pool {
    /// The generation.
    pub generation: Arc<Generation>,
    component: Arc<LoadedComponent>,
    /// Whether the pool takes no new calls and only finishes the ones it has.
    draining: Cell<bool>,
    /// Idle instances of a policy.
    policy_instances: RefCell<Vec<PolicyInstance>>,
    /// The links over which the generation is called.
    links: RefCell<Vec<Rc<LinkState>>>,
    /// Oldest first. The newest instance with room gets the call, so that the older ones become idle when load falls.
    slots: RefCell<Vec<Rc<Slot>>>,
    waiting: RefCell<VecDeque<Call>>,
    max_concurrent_calls: usize,
    calls_per_life: usize,
    max_instances: usize,
}

/// A link on one core: its circuit breaker and its metrics.
pub struct LinkState {
    id: Arc<str>,
    binding: Binding,
    /// Rejects calls while the callee keeps failing.
    pub breaker: Breaker,
    /// The metrics of the link.
    pub metrics: LinkMetrics,
}

impl LinkState {
    /// A link with a closed circuit breaker.
    pub fn new(id: Arc<str>, binding: Binding, metrics: LinkMetrics) -> Self {
        Self {
            id,
            binding,
            breaker: Breaker::default(),
            metrics,
        }
    }

    /// Whether a call may be made now. Rejected calls are counted.
    pub fn allows(&self, now: Instant) -> bool {
        let allowed = self.breaker.allows(now);
        if !allowed {
            self.metrics.breaker_open.inc();
        }
        allowed
    }

    /// Counts a finished call. A callee that answers `unavailable` is alive and quick, so the circuit breaker counts it
    /// as success.
    pub fn record(&self, begun: Instant, outcome: LinkOutcome) {
        let (now, metrics) = (Instant::now(), &self.metrics);
        metrics.duration.observe((now - begun).as_secs_f64());
        let counter = match outcome {
            LinkOutcome::Answered => &metrics.answered,
            LinkOutcome::Refused => &metrics.unavailable,
            LinkOutcome::Full => &metrics.full,
            LinkOutcome::TimedOut => &metrics.timed_out,
            LinkOutcome::Broken => &metrics.broken,
        };
        counter.inc();
        let fine = matches!(outcome, LinkOutcome::Answered | LinkOutcome::Refused);
        self.breaker.record(fine, now);
    }
}

/// The outcome of a call over a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkOutcome {
    /// The callee answered.
    Answered,
    /// The callee answered `unavailable`.
    Refused,
    /// The callee had no capacity left.
    Full,
    /// The callee did not answer in time.
    TimedOut,
    /// The callee trapped or failed.
    Broken,
}

impl From<&NotAnswered> for LinkOutcome {
    fn from(reason: &NotAnswered) -> Self {
        match reason {
            NotAnswered::Full => Self::Full,
            NotAnswered::TimedOut(_) => Self::TimedOut,
            NotAnswered::Unknown
            | NotAnswered::DeadlinePassed
            | NotAnswered::TooManyBytes
            | NotAnswered::BreakerOpen
            | NotAnswered::Trapped
            | NotAnswered::Failed(_)
            | NotAnswered::Unavailable(_)
            | NotAnswered::Lost { .. }
            | NotAnswered::Mismatch(_)
            | NotAnswered::Injected => Self::Broken,
        }
    }
}

impl Pool {
    /// A pool without instances. `share` is the maximum number of instances.
    pub fn new(generation: Arc<Generation>, share: usize) -> Self {
        let component = generation.component.clone();
        // An instance of a WASI 0.2 component serves a single request, as its guests expect.
        let fresh = matches!(component.entry_points.http, Some(HttpIndices::P2(_)))
            || component.spec.calls_per_life == 1;
        Self {
            max_concurrent_calls: if fresh {
                1
            } else {
                component.spec.calls_per_instance
            },
            calls_per_life: if fresh {
                1
            } else if component.recipe.fused.is_empty() {
                component.spec.calls_per_life
            } else {
                let calls = component.spec.calls_per_life;
                calls.min(limits::FUSED_CALLS_PER_LIFE)
            },
            max_instances: share,
            generation,
            draining: Cell::new(false),
            policy_instances: RefCell::default(),
            links: RefCell::default(),
            component,
            slots: RefCell::default(),
            waiting: RefCell::default(),
        }
    }

    /// Sends an HTTP request to the component and waits for the response, up to the timeout of the manifest.
    pub async fn call(
        self: &Rc<Self>,
        request: http::Request<WasiBody>,
        trace: Trace,
    ) -> Answered<http::Response<WasiBody>> {
        let (answer, response) = oneshot::channel();
        let answered_by = AnsweredBy::default();
        let kind = CallKind::Http(Box::new(request), answer, answered_by.clone());
        let call = Call {
            kind,
            trace: Some(trace.header()),
        };
        let (begun, timeout) = (Instant::now(), self.component.spec.timeout);
        let answered = self.wait_for_answer(call, timeout, response).await;
        self.count(begun, &answered, |response| {
            response.status().is_server_error()
        });
        let response = answered?;
        if response.status().is_informational() {
            let status = response.status();
            return Err(NotAnswered::failed(format!(
                "the guest answered with the status {status}, which only a host may send"
            )));
        }
        Ok(answered_by.watch(&self.component.id, response))
    }

    /// Passes a message from a Redis channel to the component and waits until it is handled.
    pub async fn message(self: &Rc<Self>, payload: Vec<u8>, trace: Trace) -> Answered<()> {
        let (done, handled) = oneshot::channel();
        let call = Call {
            kind: CallKind::Message(payload, done),
            trace: Some(trace.header()),
        };
        let (begun, timeout) = (Instant::now(), self.component.spec.timeout);
        let answered = self.wait_for_answer(call, timeout, handled).await;
        self.count(begun, &answered, |()| false);
        answered
    }

    /// Calls a function of an exported interface. `failed` decides whether an answer counts as a failure.
    pub async fn call_function(
        self: &Rc<Self>,
        call: LinkedCall,
        trace: Option<HeaderValue>,
        timeout: Duration,
        failed: impl FnOnce(&[Val]) -> bool,
    ) -> Answered<Vec<Val>> {
        let (answer, returned) = oneshot::channel();
        let call = Call {
            kind: CallKind::Linked(call, answer),
            trace,
        };
        let begun = Instant::now();
        let answered = self.wait_for_answer(call, timeout, returned).await;
        self.count(begun, &answered, |values| failed(values));
        answered
    }

    /// Traps the instance that would get the next call.
    pub async fn inject_trap(self: &Rc<Self>, timeout: Duration) -> Answered<Vec<Val>> {
        let (answer, returned) = oneshot::channel();
        let kind = CallKind::Trap(answer);
        let call = Call { kind, trace: None };
        self.wait_for_answer(call, timeout, returned).await
    }

    /// Calls a policy synchronously. `failed` decides whether an answer counts as a failure.
    pub fn decide(
        &self,
        key: &str,
        params: &[Val],
        failed: impl FnOnce(&[Val]) -> bool,
    ) -> Answered<Vec<Val>> {
        let begun = Instant::now();
        let decided = self.decided(key, params);
        let outcome = match &decided {
            Ok(values) if failed(values) => Outcome::Failed,
            Ok(_) => Outcome::Answered,
            Err(GuestError { reason, stack }) => {
                self.component.metrics.trapped.inc();
                let (component, generation) = (&self.component.id, self.component.generation);
                tracing::error!(%component, generation, error = reason, stack, "a policy made no decision");
                Outcome::Broken
            }
        };
        self.generation.health.record(outcome, begun.elapsed());
        decided.map_err(NotAnswered::Failed)
    }

    fn decided(&self, key: &str, params: &[Val]) -> Result<Vec<Val>, GuestError> {
        let linked = self.component.entry_points.functions.get(key);
        let linked = linked.ok_or_else(|| GuestError {
            reason: format!("it does not export `{key}`"),
            stack: None,
        })?;
        let idle = self.policy_instances.borrow_mut().pop();
        let mut instance = match idle {
            Some(instance) => instance,
            None => self.new_policy_instance()?,
        };
        let mut results = vec![Val::Bool(false); linked.results];
        instance.decide(linked.index, params, &mut results)?;
        let mut idle = self.policy_instances.borrow_mut();
        if idle.len() < limits::POLICY_IDLE_INSTANCES && !self.draining.get() {
            idle.push(instance);
        }
        Ok(results)
    }

    fn new_policy_instance(&self) -> Result<PolicyInstance, GuestError> {
        let Code::Policy(pre, limits) = &self.component.code else {
            return Err(GuestError {
                reason: "it is not a policy".to_owned(),
                stack: None,
            });
        };
        let begun = Instant::now();
        let made = PolicyInstance::new(&self.component.engine, pre, *limits);
        let cold_start = begun.elapsed().as_secs_f64();
        self.component.metrics.cold_starts.observe(cold_start);
        Ok(made?)
    }

    /// The state of the link from a caller to this generation.
    pub fn link(&self, id: &Arc<str>, binding: Binding) -> Rc<LinkState> {
        let mut links = self.links.borrow_mut();
        let same = |link: &&Rc<LinkState>| link.id == *id && link.binding == binding;
        if let Some(known) = links.iter().find(same) {
            return known.clone();
        }
        let metrics = self.component.metrics.link(id, binding);
        let link = Rc::new(LinkState::new(id.clone(), binding, metrics));
        links.push(link.clone());
        link
    }

    fn count<T>(&self, begun: Instant, answered: &Answered<T>, failed: impl FnOnce(&T) -> bool) {
        let outcome = match answered {
            // A call without capacity says nothing about the component.
            Err(NotAnswered::Full) => return,
            Err(NotAnswered::TimedOut(_) | NotAnswered::Trapped) => Outcome::Broken,
            Err(_) => Outcome::Failed,
            Ok(answer) if failed(answer) => Outcome::Failed,
            Ok(_) => Outcome::Answered,
        };
        self.generation.health.record(outcome, begun.elapsed());
    }

    async fn wait_for_answer<T>(
        self: &Rc<Self>,
        call: Call,
        timeout: Duration,
        answer: oneshot::Receiver<Result<T, wasmtime::Error>>,
    ) -> Answered<T> {
        let slot = self.dispatch(call)?;
        match tokio::time::timeout(timeout, answer).await {
            Ok(Ok(Ok(answer))) => Ok(answer),
            Ok(Ok(Err(error))) if error.is::<NoInstance>() => Err(NotAnswered::Full),
            Ok(Ok(Err(error))) => Err(NotAnswered::Failed(GuestError::from(&error))),
            Ok(Err(oneshot::Canceled)) => Err(NotAnswered::Trapped),
            Err(_) => {
                self.component.metrics.timed_out.inc();
                if let Some(slot) = slot {
                    retire(slot);
                }
                Err(NotAnswered::TimedOut(timeout))
            }
        }
    }

    /// Assigns a call and returns its slot, or `None` if the call waits for an instance.
    fn dispatch(self: &Rc<Self>, call: Call) -> Answered<Option<Rc<Slot>>> {
        let room = |slot: &&Rc<Slot>| slot.has_room(self.max_concurrent_calls, self.calls_per_life);
        let slot = self.slots.borrow().iter().rev().find(room).cloned();
        if let Some(slot) = slot {
            match call.kind {
                // Requests arrive in batches; polling the instance for each one costs more than it saves.
                CallKind::Http(..) => slot.push(call),
                _ => slot.push_and_poll(call),
            }
            return Ok(Some(slot));
        }
        if self.slots.borrow().len() < self.max_instances {
            return Ok(Some(self.make(Slot::new(call, self.calls_per_life))));
        }
        let mut waiting = self.waiting.borrow_mut();
        if waiting.len() >= limits::QUEUED_CALLS {
            self.component.metrics.rejected.inc();
            return Err(NotAnswered::Full);
        }
        waiting.push_back(call);
        Ok(None)
    }

    /// Creates an instance before there are calls. The error says why it cannot be created.
    pub async fn warm(self: &Rc<Self>) -> Answered<()> {
        if let Code::Policy(..) = self.component.code {
            let made = self.new_policy_instance().map_err(NotAnswered::Failed)?;
            self.policy_instances.borrow_mut().push(made);
            return Ok(());
        }
        if self.calls_per_life == 1 || !self.slots.borrow().is_empty() {
            return Ok(());
        }
        let (slot, made) = Slot::warm(self.calls_per_life);
        self.make(slot);
        made.await
            .unwrap_or_else(|_| Err(NotAnswered::failed("the instance ended immediately")))
    }

    /// Takes no more calls and finishes the ones it has. The instances end when they have no calls left.
    pub fn drain(&self) {
        self.draining.set(true);
        self.policy_instances.borrow_mut().clear();
        if self.waiting.borrow().is_empty() {
            for slot in self.slots.borrow().iter() {
                slot.retire();
            }
        }
    }

    /// Moves the calls that no guest has seen yet to the pool of another generation.
    pub fn hand_over(&self, to: &Rc<Self>) {
        let slots: Vec<Rc<Slot>> = self.slots.borrow().clone();
        let unseen = slots
            .iter()
            .flat_map(|slot| std::iter::from_fn(|| slot.take()));
        let mut calls: Vec<Call> = unseen.collect();
        calls.extend(self.waiting.borrow_mut().drain(..));
        for call in calls {
            // Dispatching drops a call without capacity, which tells its caller.
            let _ = to.dispatch(call);
        }
    }

    fn make(self: &Rc<Self>, slot: Slot) -> Rc<Slot> {
        let slot = Rc::new(slot);
        self.slots.borrow_mut().push(slot.clone());
        let (pool, running) = (self.clone(), slot.clone());
        tokio::task::spawn_local(async move {
            let (moving, freed) = (pool.clone(), running.clone());
            let future = run(pool.component.clone(), running.clone(), move || {
                moving.assign_next(&freed);
            });
            let end = running.task.drive(future).await;
            pool.slots
                .borrow_mut()
                .retain(|slot| !Rc::ptr_eq(slot, &running));
            pool.report(&end, &running.trace_ids());
            // Calls that no guest has seen yet go back to the front of the queue.
            let unseen: Vec<Call> = std::iter::from_fn(|| running.next()).collect();
            for call in unseen.into_iter().rev() {
                pool.waiting.borrow_mut().push_front(call);
            }
            pool.refill();
        });
        slot
    }

    /// The next queued call whose caller still waits.
    fn next_waiting(&self) -> Option<Call> {
        let mut waiting = self.waiting.borrow_mut();
        while let Some(call) = waiting.pop_front() {
            if !call.is_canceled() {
                return Some(call);
            }
        }
        None
    }

    /// After an answer: assigns the next queued call to this instance.
    fn assign_next(&self, slot: &Rc<Slot>) {
        if slot.has_room(self.max_concurrent_calls, self.calls_per_life)
            && let Some(call) = self.next_waiting()
        {
            slot.push(call);
        } else if self.calls_per_life == 1 || self.draining.get() {
            slot.retire();
        }
    }

    /// After the end of an instance: assigns queued calls to the others, or creates another one.
    fn refill(self: &Rc<Self>) {
        let room = |slot: &&Rc<Slot>| slot.has_room(self.max_concurrent_calls, self.calls_per_life);
        loop {
            let slot = self.slots.borrow().iter().rev().find(room).cloned();
            if slot.is_none() && self.slots.borrow().len() >= self.max_instances {
                return;
            }
            let Some(call) = self.next_waiting() else {
                return;
            };
            match slot {
                Some(slot) => slot.push(call),
                None => drop(self.make(Slot::new(call, self.calls_per_life))),
            }
        }
    }

    /// Logs why an instance ended. `traces` are the ids of the calls that it did not answer.
    fn report(&self, end: &InstanceEnd, traces: &[String]) {
        let (component, generation) = (&self.component.id, self.component.generation);
        let (trace_id, trace_ids) = match traces {
            [] => (None, None),
            [only] => (Some(only.as_str()), None),
            several => (None, Some(several.join(","))),
        };
        match end {
            InstanceEnd::Done => {}
            InstanceEnd::NotMade(error) => {
                self.component.metrics.rejected.inc();
                tracing::warn!(%component, generation, error = format!("{error:#}"), "no instance could be created");
            }
            InstanceEnd::Trapped(error) => {
                self.component.metrics.trapped.inc();
                let GuestError { reason, stack } = GuestError::from(error);
                tracing::error!(%component, generation, trace_id, trace_ids, error = reason, stack, "an instance trapped");
            }
            InstanceEnd::Killed => {
                tracing::error!(%component, generation, trace_id, trace_ids, "an instance missed its deadline and was terminated")
            }
        }
    }

    /// Retires idle instances; one stays warm.
    pub fn retire_idle(&self, now: Instant) {
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

/// After a missed deadline: the instance takes no more calls, and is terminated when the other calls in it have had
/// [`limits::RETIRE_GRACE`] to finish.
fn retire(slot: Rc<Slot>) {
    slot.retire();
    tokio::task::spawn_local(async move {
        tokio::time::sleep(limits::RETIRE_GRACE).await;
        if slot.in_flight.get() > 0 {
            slot.kill();
        }
    });
}
