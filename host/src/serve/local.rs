//! A component on one core: the instance pools of its generations, and how calls reach one of them.

use super::core::Core;
use super::deployment::{Deployment, Generation, RoutingKey};
use super::instance::LinkedCall;
use super::pool::{LinkOutcome, Pool};
use crate::clock::Clock;
use crate::fault::FaultEffect;
use crate::limits;
use crate::link::binding::Binding;
use crate::link::function::{self, LinkFunction};
use crate::link::not_answered::{Answered, NotAnswered};
use crate::link::promise::Promise;
use crate::telemetry::{self, Kind};
use crate::trace::Trace;
use http::HeaderValue;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use wasmtime::component::Val;

/// A component on one core.
pub struct LocalComponent {
    /// The component and its generations.
    pub deployment: Arc<Deployment>,
    /// The maximum number of instances of each generation.
    share: usize,
    pools: RefCell<Vec<Rc<Pool>>>,
}

impl LocalComponent {
    /// A component without instances.
    pub fn new(deployment: Arc<Deployment>, share: usize) -> Self {
        Self {
            deployment,
            share,
            pools: RefCell::default(),
        }
    }

    /// The pool of the generation that gets a call. Use it at once: it may be drained later.
    pub fn choose(&self, key: &RoutingKey<'_>) -> Rc<Pool> {
        self.pool(self.deployment.traffic().choose(key))
    }

    /// The pool of the generation that gets a copy of a call, if there is one.
    pub fn shadow(&self, key: &RoutingKey<'_>) -> Option<Rc<Pool>> {
        let traffic = self.deployment.traffic();
        traffic.shadow(key).map(|shadow| self.pool(shadow))
    }

    /// The pool of a generation.
    pub fn pool(&self, generation: &Arc<Generation>) -> Rc<Pool> {
        let mut pools = self.pools.borrow_mut();
        if let Some(known) = pools
            .iter()
            .find(|pool| Arc::ptr_eq(&pool.generation, generation))
        {
            return known.clone();
        }
        let pool = Rc::new(Pool::new(generation.clone(), self.share));
        pools.push(pool.clone());
        pool
    }

    /// Drains a generation that gets no more calls. Its calls that no guest has seen yet move to `instead`, if it is
    /// set.
    pub fn retire(&self, generation: &Arc<Generation>, instead: Option<&Arc<Generation>>) {
        let is_retired = |pool: &Rc<Pool>| Arc::ptr_eq(&pool.generation, generation);
        let found = self
            .pools
            .borrow()
            .iter()
            .find(|pool| is_retired(pool))
            .cloned();
        let Some(pool) = found else { return };
        if let Some(instead) = instead {
            pool.hand_over(&self.pool(instead));
        }
        pool.drain();
        self.pools.borrow_mut().retain(|pool| !is_retired(pool));
    }

    /// Retires idle instances.
    pub fn retire_idle(&self, now: Instant) {
        for pool in self.pools.borrow().iter() {
            pool.retire_idle(now);
        }
    }
}

impl Core {
    /// Calls a component of this application over a link, in an instance on this core. The error says why the call has
    /// no answer.
    pub fn link(
        self: Rc<Self>,
        function: Arc<LinkFunction>,
        mut params: Vec<Val>,
    ) -> impl Future<Output = Answered<Vec<Val>>> {
        let (timeout, trace, pool, shadow) = {
            let context = function::call_context(&params);
            let trace_id = context.trace_parent.get(3..35).unwrap_or_default();
            let trace = telemetry::is_on().then(|| {
                let header = HeaderValue::from_str(context.trace_parent);
                Trace::of(header.ok().as_ref())
            });
            let component = self.components.get(&*function.callee);
            let key = RoutingKey {
                trace_id,
                headers: None,
                header_selected: self.is_selected_by_header(trace_id, &function.callee),
            };
            let pool = component.map(|component| component.choose(&key));
            let shadow = component.and_then(|component| component.shadow(&key));
            let patience = patience(context.deadline, &self.loaded.clock);
            (patience, trace, pool, shadow)
        };
        if let Some(trace) = &trace {
            function::set_trace_parent(&mut params, trace.text());
        }
        async move {
            let pool = pool.ok_or(NotAnswered::Unknown)?;
            let timeout = timeout.ok_or(NotAnswered::DeadlinePassed)?;
            let promise = || pool.generation.component.promise(&function.key);
            let shadow = shadow.filter(|_| promise() == Some(Promise::Safe));
            let copy = shadow.map(|shadow| (shadow, params.clone()));
            let recorded = self.loaded.recorder.wants(&function, &params);
            let (begun, start) = (SystemTime::now(), Instant::now());
            let effect = self
                .loaded
                .faults
                .on_link(&function.caller, &function.callee)
                .await;
            let answered = call(&pool, &function, params, timeout, effect).await;
            if let Some(arguments) = recorded {
                let answer = answered.as_deref();
                let recorder = &self.loaded.recorder;
                recorder.ended(&function, arguments, answer, start.elapsed());
            }
            if let Some((shadow, params)) = copy {
                mirror(shadow, function.clone(), params, timeout, &pool, &answered);
            }
            if let Some(trace) = trace {
                export_span(&trace, begun, &function, &pool, answered.as_ref().err());
            }
            answered
        }
    }
}

impl Core {
    /// Calls a component on another host over a link. The error says why the call has no answer.
    pub fn remote(
        self: Rc<Self>,
        function: Arc<LinkFunction>,
        params: Vec<Val>,
    ) -> impl Future<Output = Answered<Vec<Val>>> {
        let timeout = patience(function::call_context(&params).deadline, &self.loaded.clock);
        async move {
            let remote = self.loaded.remotes.get(&*function.callee);
            let remote = remote.ok_or(NotAnswered::Unknown)?;
            let timeout = timeout.ok_or(NotAnswered::DeadlinePassed)?;
            let link = self.remote_link(&function.caller, &function.callee);
            let recorded = self.loaded.recorder.wants(&function, &params);
            let begun = Instant::now();
            if !link.allows(begun) {
                return Err(NotAnswered::BreakerOpen);
            }
            let effect = self
                .loaded
                .faults
                .on_link(&function.caller, &function.callee)
                .await;
            let answered = match effect {
                Some(FaultEffect::Error | FaultEffect::Trap) => Err(NotAnswered::Injected),
                _ => remote.call(&self.http, &function, &params, timeout).await,
            };
            let time = begun.elapsed();
            link.record(begun, function.outcome(&answered));
            if let Some(arguments) = recorded {
                let answer = answered.as_deref();
                let recorder = &self.loaded.recorder;
                recorder.ended(&function, arguments, answer, time);
            }
            answered
        }
    }

    /// Calls a policy over a link, synchronously. The error says why there is no decision.
    pub fn decide(&self, function: &LinkFunction, params: &[Val]) -> Answered<Vec<Val>> {
        let component = self.components.get(&*function.callee);
        let component = component.ok_or(NotAnswered::Unknown)?;
        let key = RoutingKey::default();
        let (pool, shadow) = (component.choose(&key), component.shadow(&key));
        let link = pool.link(&function.caller, Binding::Policy);
        let begun = Instant::now();
        if !link.allows(begun) {
            return Err(NotAnswered::BreakerOpen);
        }
        let failed = |values: &[Val]| function.is_unavailable_answer(values);
        let decided = match self
            .loaded
            .faults
            .on_decision(&function.caller, &function.callee)
        {
            None | Some(FaultEffect::Delay(_)) => pool.decide(&function.key, params, failed),
            Some(FaultEffect::Error | FaultEffect::Trap) => Err(NotAnswered::Injected),
        };
        link.record(begun, function.outcome(&decided));
        if let Some(shadow) = shadow
            && shadow.decide(&function.key, params, failed) != decided
        {
            shadow.generation.health.record_difference();
        }
        decided
    }
}

impl LinkFunction {
    /// How the result of a call is counted.
    fn outcome(&self, answered: &Answered<Vec<Val>>) -> LinkOutcome {
        match answered {
            Ok(values) if self.is_unavailable_answer(values) => LinkOutcome::Refused,
            Ok(_) => LinkOutcome::Answered,
            Err(reason) => LinkOutcome::from(reason),
        }
    }
}

/// How long a caller waits; `None` if its deadline has passed. `deadline` is in Unix milliseconds of the guests' clock;
/// 0 means no deadline.
pub(super) fn patience(deadline: u64, clock: &Clock) -> Option<Duration> {
    if deadline == 0 {
        return Some(limits::LINK_CALL_TIMEOUT);
    }
    let deadline = UNIX_EPOCH.checked_add(Duration::from_millis(deadline))?;
    let left = deadline.duration_since(clock.now()).ok()?;
    Some(left.min(limits::LINK_CALL_TIMEOUT))
}

async fn call(
    pool: &Rc<Pool>,
    function: &Arc<LinkFunction>,
    params: Vec<Val>,
    timeout: Duration,
    effect: Option<FaultEffect>,
) -> Answered<Vec<Val>> {
    let link = pool.link(&function.caller, Binding::Isolated);
    let begun = Instant::now();
    if !link.allows(begun) {
        return Err(NotAnswered::BreakerOpen);
    }
    let answered = match effect {
        Some(FaultEffect::Error) => Err(NotAnswered::Injected),
        Some(FaultEffect::Trap) => pool.inject_trap(timeout).await,
        _ => attempt(pool, function, params, timeout).await,
    };
    link.record(begun, function.outcome(&answered));
    answered
}

async fn attempt(
    pool: &Rc<Pool>,
    function: &Arc<LinkFunction>,
    params: Vec<Val>,
    timeout: Duration,
) -> Answered<Vec<Val>> {
    let trace = HeaderValue::from_str(function::call_context(&params).trace_parent);
    let trace = trace.ok().filter(|trace| !trace.is_empty());
    let call = LinkedCall {
        key: function.key.clone(),
        params,
    };
    let failed = |values: &[Val]| function.is_unavailable_answer(values);
    pool.call_function(call, trace, timeout, failed).await
}

/// Sends a copy of a call to a shadow generation and compares the answers.
fn mirror(
    shadow: Rc<Pool>,
    function: Arc<LinkFunction>,
    params: Vec<Val>,
    timeout: Duration,
    pool: &Rc<Pool>,
    answered: &Answered<Vec<Val>>,
) {
    let (expected, serving) = (answered.clone().ok(), pool.generation.number());
    tokio::task::spawn_local(async move {
        let copied = attempt(&shadow, &function, params, timeout).await;
        if expected.is_some() && copied.ok() != expected {
            shadow.generation.health.record_difference();
            tracing::debug!(key = %function.key, serving, shadow = shadow.generation.number(), "a shadow generation answered differently");
        }
    });
}

fn export_span(
    trace: &Trace,
    begun: SystemTime,
    function: &LinkFunction,
    pool: &Pool,
    failed: Option<&NotAnswered>,
) {
    let name = || function.key.to_string();
    trace.ended(Kind::Server, name, begun, failed.is_some(), || {
        let attribute = |name: &str, value: String| (name.to_owned(), value);
        let mut attributes = vec![
            attribute("localmart.caller", function.caller.to_string()),
            attribute("localmart.component", function.callee.to_string()),
            attribute("localmart.generation", pool.generation.number().to_string()),
            attribute("localmart.binding", "isolated".to_owned()),
        ];
        if let Some(reason) = failed {
            attributes.push(attribute("localmart.not_answered", reason.to_string()));
            let at_fault = reason.at_fault().name().to_owned();
            attributes.push(attribute("localmart.at_fault", at_fault));
        }
        attributes
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_by_the_clock_of_the_guests() {
        let folder =
            std::env::temp_dir().join(format!("localmart-patience-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let clock = Clock::open(&folder, true).unwrap();
        let soon = clock.now_ms() + 5_000;
        assert!(patience(soon, &clock).is_some_and(|left| left <= Duration::from_secs(5)));
        clock.advance(60_000).unwrap();
        assert_eq!(patience(soon, &clock), None);
        assert!(patience(soon, &Clock::machine()).is_some());
        assert_eq!(patience(0, &clock), Some(limits::LINK_CALL_TIMEOUT));
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
