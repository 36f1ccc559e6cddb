//! One instance: it takes calls from its inbox, several at once if allowed, until it is retired, idle or trapped. It
//! stays on one core. [`Termination`] can end it even in a busy loop.

use super::instance_task::InstanceTask;
use super::response_body::{AnsweredBy, Failed};
use crate::capability::redis::bindings::spin::redis::redis::Error as RedisError;
use crate::capability::state::{HostState, HttpIndices, InboundIndex, LoadedComponent};
use crate::guest_error::GuestError;
use crate::limits;
use crate::link::not_answered::{Answered, INJECTED, NotAnswered};
use crate::termination::Termination;
use futures::channel::oneshot;
use futures::stream::{FuturesUnordered, StreamExt as _};
use http::HeaderValue;
use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;
use wasmtime::component::{Accessor, ComponentType, Func, Instance, Lift, TypedFunc, Val};
use wasmtime::{AsContextMut, Store};
use wasmtime_wasi_http::handler::{Prepared, Proxy};
use wasmtime_wasi_http::{WasiBody, WasiHttpView as _};

/// The result of an HTTP request.
pub type HttpResult = Result<http::Response<WasiBody>, wasmtime::Error>;

/// A call on its way to an instance.
pub struct Call {
    /// What to call.
    pub kind: CallKind,
    /// The `traceparent` of outgoing requests made during this call.
    pub trace: Option<HeaderValue>,
}

/// What to call, and the sender for the answer. If the instance ends first, the sender is dropped.
pub enum CallKind {
    /// An HTTP request whose body has not been read yet.
    Http(
        Box<http::Request<WasiBody>>,
        oneshot::Sender<HttpResult>,
        AnsweredBy,
    ),
    /// A message from a Redis channel.
    Message(Vec<u8>, oneshot::Sender<MessageResult>),
    /// A call over a link.
    Linked(LinkedCall, oneshot::Sender<LinkResult>),
    /// An injected trap.
    Trap(oneshot::Sender<LinkResult>),
}

/// A call over a link.
pub struct LinkedCall {
    /// The function; see [`crate::link::function::key`].
    pub key: Arc<str>,
    /// The arguments.
    pub params: Vec<Val>,
}

/// The result of a call over a link.
pub type LinkResult = Result<Vec<Val>, wasmtime::Error>;

/// The result of a message.
pub type MessageResult = Result<(), wasmtime::Error>;

impl Call {
    /// Whether the caller has stopped waiting.
    pub fn is_canceled(&self) -> bool {
        match &self.kind {
            CallKind::Http(_, answer, _) => answer.is_canceled(),
            CallKind::Message(_, done) => done.is_canceled(),
            CallKind::Linked(_, answer) | CallKind::Trap(answer) => answer.is_canceled(),
        }
    }

    /// Answers the call with an error.
    fn refuse(self, error: wasmtime::Error) {
        // Sending fails only if the caller has stopped waiting.
        match self.kind {
            CallKind::Http(_, answer, _) => drop(answer.send(Err(error))),
            CallKind::Message(_, done) => drop(done.send(Err(error))),
            CallKind::Linked(_, answer) | CallKind::Trap(answer) => drop(answer.send(Err(error))),
        }
    }
}

/// An instance and its callable exports.
struct Guest {
    instance: Instance,
    http: Option<Proxy>,
    inbound: Option<MessageHandler>,
    /// The linked functions called so far, each with its number of results.
    linked: RefCell<HashMap<Arc<str>, (Func, usize)>>,
}

/// The `handle-message` export.
enum MessageHandler {
    V1(TypedFunc<(Vec<u8>,), (Result<(), OlderRedisError>,)>),
    V3(TypedFunc<(Vec<u8>,), (Result<(), RedisError>,)>),
}

/// The error of `fermyon:spin/inbound-redis`, which carries no message.
#[derive(Clone, Copy, Debug, ComponentType, Lift)]
#[component(enum)]
#[repr(u8)]
#[expect(dead_code, reason = "wasmtime constructs the variants")]
enum OlderRedisError {
    #[component(name = "success")]
    Success,
    #[component(name = "error")]
    Error,
}

impl MessageHandler {
    fn function(&self) -> Func {
        match self {
            Self::V1(function) => *function.func(),
            Self::V3(function) => *function.func(),
        }
    }

    /// Passes a message to the guest. The inner result is the guest's.
    async fn call(
        &self,
        accessor: &Accessor<HostState>,
        payload: Vec<u8>,
    ) -> wasmtime::Result<Result<(), String>> {
        match self {
            Self::V1(function) => {
                let (handled,) = function.call_concurrent(accessor, (payload,)).await?;
                // This error type has a variant that means success.
                Ok(handled.or_else(|error| match error {
                    OlderRedisError::Success => Ok(()),
                    OlderRedisError::Error => Err("the handler failed".to_owned()),
                }))
            }
            Self::V3(function) => {
                let (handled,) = function.call_concurrent(accessor, (payload,)).await?;
                Ok(handled.map_err(|error| error.to_string()))
            }
        }
    }
}

impl Guest {
    async fn instantiate(
        component: &LoadedComponent,
        store: &mut Store<HostState>,
    ) -> wasmtime::Result<Self> {
        let instance = component
            .code
            .component()?
            .instantiate_async(&mut *store)
            .await?;
        let http = match &component.entry_points.http {
            Some(HttpIndices::P3(indices)) => {
                Some(Proxy::P3(indices.load(&mut *store, &instance)?))
            }
            Some(HttpIndices::P2(indices)) => {
                Some(Proxy::P2(indices.load(&mut *store, &instance)?))
            }
            None => None,
        };
        let inbound = match &component.entry_points.inbound_redis {
            Some(InboundIndex::V1(index)) => Some(MessageHandler::V1(
                instance.get_typed_func(&mut *store, index)?,
            )),
            Some(InboundIndex::V3(index)) => Some(MessageHandler::V3(
                instance.get_typed_func(&mut *store, index)?,
            )),
            None => None,
        };
        Ok(Self {
            instance,
            http,
            inbound,
            linked: RefCell::default(),
        })
    }

    /// A function of an exported interface, and its number of results.
    fn function(
        &self,
        store: &mut impl AsContextMut<Data = HostState>,
        key: &Arc<str>,
    ) -> wasmtime::Result<(Func, usize)> {
        if let Some(known) = self.linked.borrow().get(key) {
            return Ok(*known);
        }
        let mut store = store.as_context_mut();
        let functions = store.data().component.entry_points.functions.clone();
        let linked = functions.get(&**key);
        let function = linked.and_then(|linked| self.instance.get_func(&mut store, linked.index));
        let (Some(function), Some(linked)) = (function, linked) else {
            return Err(wasmtime::Error::msg(format!(
                "the component does not export `{key}`"
            )));
        };
        let known = (function, linked.results);
        self.linked.borrow_mut().insert(key.clone(), known);
        Ok(known)
    }

    /// Any exported function, used to ask whether the instance accepts another call.
    fn any_function(
        &self,
        store: &mut impl AsContextMut<Data = HostState>,
    ) -> wasmtime::Result<Func> {
        match (&self.http, &self.inbound) {
            (Some(Proxy::P3(guest)), _) => Ok(*guest.wasi_http_handler().func_handle().func()),
            (Some(Proxy::P2(guest)), _) => {
                Ok(*guest.wasi_http_incoming_handler().func_handle().func())
            }
            (None, Some(inbound)) => Ok(inbound.function()),
            (None, None) => {
                let functions = store
                    .as_context_mut()
                    .data()
                    .component
                    .entry_points
                    .functions
                    .clone();
                let key = functions.keys().next().map(|key| Arc::from(key.as_str()));
                let key =
                    key.ok_or_else(|| wasmtime::Error::msg("the component has no export to call"))?;
                Ok(self.function(store, &key)?.0)
            }
        }
    }
}

/// An instance as its pool sees it.
pub struct Slot {
    inbox: RefCell<VecDeque<Call>>,
    /// Calls that were assigned and are not answered yet.
    pub in_flight: Cell<usize>,
    served: Cell<usize>,
    calls_per_life: usize,
    retired: Cell<bool>,
    idle_since: Cell<Instant>,
    termination: Arc<Termination>,
    /// Tells the bodies of answers under way that they are cut off.
    failed: Failed,
    /// The future that runs the instance; see [`run`].
    pub task: InstanceTask,
    inner: RefCell<Option<Waker>>,
    /// Waits for the instance to be created.
    created: RefCell<Option<oneshot::Sender<Answered<()>>>>,
    /// The traces of the calls in the guest, by the number of the call.
    traces: RefCell<Vec<(usize, HeaderValue)>>,
}

/// Why an instance ended.
#[derive(Debug)]
pub enum InstanceEnd {
    /// It was retired or idle, and had no calls left.
    Done,
    /// It could not be created, for example because the pool was full.
    NotMade(wasmtime::Error),
    /// It trapped.
    Trapped(wasmtime::Error),
    /// It was terminated from outside.
    Killed,
}

/// No instance could be created for a call.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("no instance could be created")]
pub struct NoInstance;

impl Slot {
    /// An instance that will be created for this first call.
    pub fn new(call: Call, calls_per_life: usize) -> Self {
        let slot = Self::empty(calls_per_life);
        slot.push(call);
        slot
    }

    /// An instance that will be created before there are calls. The receiver reports the result.
    pub fn warm(calls_per_life: usize) -> (Self, oneshot::Receiver<Answered<()>>) {
        let (created, waiting) = oneshot::channel();
        let slot = Self::empty(calls_per_life);
        slot.created.replace(Some(created));
        (slot, waiting)
    }

    fn empty(calls_per_life: usize) -> Self {
        Self {
            inbox: RefCell::default(),
            in_flight: Cell::new(0),
            served: Cell::new(0),
            calls_per_life,
            retired: Cell::new(false),
            idle_since: Cell::new(Instant::now()),
            termination: Arc::default(),
            failed: Failed::default(),
            task: InstanceTask::default(),
            inner: RefCell::default(),
            created: RefCell::default(),
            traces: RefCell::default(),
        }
    }

    /// The ids of the traces whose calls are in the guest. After the end of an instance these calls are lost.
    pub fn trace_ids(&self) -> Vec<String> {
        let traces = self.traces.borrow();
        let ids = traces
            .iter()
            .filter_map(|(_, trace)| trace.to_str().ok()?.get(3..35));
        ids.map(str::to_owned).collect()
    }

    fn notify_created(&self, created: Answered<()>) {
        if let Some(waiting) = self.created.take() {
            // The receiver is gone if nobody waits any more.
            let _ = waiting.send(created);
        }
    }

    /// Whether the instance can take another call.
    pub fn has_room(&self, max_concurrent_calls: usize, calls_per_life: usize) -> bool {
        !self.retired.get()
            && self.in_flight.get() < max_concurrent_calls
            && self.served.get() < calls_per_life
    }

    /// Assigns a call and starts it at once if possible.
    pub fn push_and_poll(&self, call: Call) {
        self.task.poll_after(|| self.push(call));
    }

    /// Assigns a call that starts when the instance is polled next.
    pub fn push(&self, call: Call) {
        self.in_flight.set(self.in_flight.get() + 1);
        self.served.set(self.served.get() + 1);
        self.inbox.borrow_mut().push_back(call);
        wake(&self.inner);
    }

    /// Takes no more calls and ends once the assigned calls are answered.
    pub fn retire(&self) {
        self.retired.set(true);
        wake(&self.inner);
    }

    /// Ends the instance now.
    pub fn kill(&self) {
        self.retired.set(true);
        self.termination.request();
        self.task.wake();
    }

    /// Whether the instance has been without calls for longer than [`limits::INSTANCE_IDLE_TIMEOUT`].
    pub fn is_idle(&self, now: Instant) -> bool {
        self.in_flight.get() == 0
            && now.duration_since(self.idle_since.get()) > limits::INSTANCE_IDLE_TIMEOUT
    }

    /// Answers all assigned calls with an error because the instance could not be created.
    fn refuse_all(&self) {
        self.retired.set(true);
        while let Some(call) = self.next() {
            call.refuse(NoInstance.into());
        }
    }

    /// The next assigned call that no guest has seen and whose caller still waits. After the end of an instance, its
    /// remaining calls go to another one.
    pub fn next(&self) -> Option<Call> {
        loop {
            let call = self.inbox.borrow_mut().pop_front()?;
            if !call.is_canceled() {
                return Some(call);
            }
            self.answered();
        }
    }

    /// Removes a call that no guest has seen, to assign it to another instance.
    pub fn take(&self) -> Option<Call> {
        let call = self.next()?;
        self.answered();
        Some(call)
    }

    fn answered(&self) {
        self.in_flight.set(self.in_flight.get().saturating_sub(1));
        self.idle_since.set(Instant::now());
    }

    fn is_used_up(&self) -> bool {
        self.retired.get()
            || (self.in_flight.get() == 0 && self.served.get() >= self.calls_per_life)
    }
}

fn wake(waker: &RefCell<Option<Waker>>) {
    if let Some(waker) = waker.borrow_mut().take() {
        waker.wake();
    }
}

/// Stores a waker, unless the stored one would wake the same task.
fn store_waker(place: &RefCell<Option<Waker>>, waker: &Waker) {
    let mut kept = place.borrow_mut();
    if !kept.as_ref().is_some_and(|kept| kept.will_wake(waker)) {
        *kept = Some(waker.clone());
    }
}

/// Creates the instance and runs it until it ends. `freed` is called after each answer, so that a waiting call can be
/// assigned.
pub async fn run(component: Arc<LoadedComponent>, slot: Rc<Slot>, freed: impl Fn()) -> InstanceEnd {
    let (start, slot) = (Instant::now(), &*slot);
    let mut store = match HostState::store(&component, &slot.termination) {
        Ok(store) => store,
        Err(error) => {
            slot.refuse_all();
            return InstanceEnd::NotMade(error);
        }
    };
    let guest = match Guest::instantiate(&component, &mut store).await {
        Ok(guest) => guest,
        Err(error) => {
            slot.notify_created(Err(NotAnswered::Failed(GuestError::from(&error))));
            slot.refuse_all();
            return InstanceEnd::NotMade(error);
        }
    };
    slot.notify_created(Ok(()));
    component
        .metrics
        .cold_starts
        .observe(start.elapsed().as_secs_f64());
    component.metrics.instances.inc();
    let end = {
        let calls =
            store.run_concurrent(async |accessor| drive(accessor, &guest, slot, &freed).await);
        let mut calls = pin!(calls);
        poll_fn(|cx| {
            // Bodies end when the store is dropped, so they must know before.
            if slot.termination.is_requested() {
                slot.failed.set();
                return Poll::Ready(InstanceEnd::Killed);
            }
            match calls.as_mut().poll(cx) {
                Poll::Ready(Ok(Ok(()))) => Poll::Ready(InstanceEnd::Done),
                Poll::Ready(Ok(Err(error)) | Err(error)) => {
                    slot.failed.set();
                    Poll::Ready(InstanceEnd::Trapped(error))
                }
                Poll::Pending => Poll::Pending,
            }
        })
        .await
    };
    component.metrics.instances.dec();
    end
}

/// The loop inside the store: finishes running calls and starts new ones.
async fn drive(
    accessor: &Accessor<HostState>,
    guest: &Guest,
    slot: &Slot,
    freed: &impl Fn(),
) -> wasmtime::Result<()> {
    let function = accessor.with(|mut access| guest.any_function(&mut access))?;
    let (mut calls, mut number) = (FuturesUnordered::new(), 0_usize);
    poll_fn(move |cx: &mut Context<'_>| {
        store_waker(&slot.inner, cx.waker());
        loop {
            if let Poll::Ready(Some((number, answered))) = calls.poll_next_unpin(cx) {
                let answered: wasmtime::Result<()> = answered;
                slot.answered();
                if let Err(error) = answered {
                    return Poll::Ready(Err(error));
                }
                slot.traces
                    .borrow_mut()
                    .retain(|(known, _)| *known != number);
                if calls.is_empty() {
                    accessor.with(|mut access| access.get().end_lines());
                }
                freed();
                continue;
            }
            if accessor
                .poll_ready_for_concurrent_call(function, cx)
                .is_ready()
                && let Some(call) = slot.next()
            {
                number += 1;
                let number = number;
                if let Some(trace) = &call.trace {
                    slot.traces.borrow_mut().push((number, trace.clone()));
                }
                match start(accessor, guest, slot, call) {
                    Ok(started) => {
                        calls.push(async move { (number, started.run(accessor).await) });
                    }
                    Err(error) => return Poll::Ready(Err(error)),
                }
                continue;
            }
            let busy = !calls.is_empty() || accessor.poll_no_interesting_tasks(cx).is_pending();
            if !busy && slot.is_used_up() && slot.inbox.borrow().is_empty() {
                return Poll::Ready(Ok(()));
            }
            return Poll::Pending;
        }
    })
    .await
}

/// A call that is ready to run in the guest.
enum StartedCall<'g> {
    Http(Prepared<'g, HostState>),
    Message(&'g MessageHandler, Vec<u8>, oneshot::Sender<MessageResult>),
    Linked {
        function: Func,
        params: Vec<Val>,
        results: usize,
        answer: oneshot::Sender<LinkResult>,
    },
}

impl StartedCall<'_> {
    async fn run(self, accessor: &Accessor<HostState>) -> wasmtime::Result<()> {
        match self {
            Self::Http(prepared) => prepared
                .run(accessor, std::future::pending())
                .await
                .map(drop),
            Self::Message(inbound, payload, done) => {
                let handled = inbound.call(accessor, payload).await?;
                // The receiver is gone if the caller has stopped waiting.
                let _ = done.send(handled.map_err(|error| {
                    wasmtime::Error::msg(format!("the guest refused the message: {error}"))
                }));
                Ok(())
            }
            Self::Linked {
                function,
                params,
                results,
                answer,
            } => {
                let mut values = vec![Val::Bool(false); results];
                function
                    .call_concurrent(accessor, &params, &mut values)
                    .await?;
                // The receiver is gone if the caller has stopped waiting.
                let _ = answer.send(Ok(values));
                Ok(())
            }
        }
    }
}

/// Prepares a call for the guest.
fn start<'g>(
    accessor: &Accessor<HostState>,
    guest: &'g Guest,
    slot: &Slot,
    call: Call,
) -> wasmtime::Result<StartedCall<'g>> {
    let alone = slot.in_flight.get() == 1;
    // With several calls in one instance the host cannot tell which call makes an outgoing request. The guest then sets
    // the trace itself.
    let trace = call.trace.filter(|_| alone);
    accessor.with(|mut access| {
        let mut store = access.as_context_mut();
        store.data_mut().outgoing.trace = trace;
        let missing =
            || wasmtime::Error::msg("the component does not export what its trigger calls");
        match call.kind {
            CallKind::Http(request, answer, answered_by) => {
                answered_by.set(&slot.failed);
                let proxy = guest.http.as_ref().ok_or_else(missing)?;
                Prepared::new(store, proxy, *request, |state| state.http(), answer)
                    .map(StartedCall::Http)
            }
            CallKind::Message(payload, done) => {
                let inbound = guest.inbound.as_ref().ok_or_else(missing)?;
                Ok(StartedCall::Message(inbound, payload, done))
            }
            CallKind::Trap(_) => Err(wasmtime::Error::msg(INJECTED)),
            CallKind::Linked(LinkedCall { key, params }, answer) => {
                let (function, results) = guest.function(&mut store, &key)?;
                Ok(StartedCall::Linked {
                    function,
                    params,
                    results,
                    answer,
                })
            }
        }
    })
}
