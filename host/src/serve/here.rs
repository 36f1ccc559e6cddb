//! A component as one core sees it: the instances of each of its generations, and the way of a call to one of them.

use super::core::Core;
use super::instance::LinkedCall;
use super::pool::{Became, CallError, Pool};
use super::unit::{Generation, Signs, Unit};
use crate::clock::Clock;
use crate::fault::{Blow, ON_PURPOSE};
use crate::limits;
use crate::link::binding::Binding;
use crate::link::cross::{self, Function};
use crate::link::promise::Promise;
use crate::remote::client::Failed;
use crate::telemetry::{self, Kind};
use crate::trace::Trace;
use http::HeaderValue;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use wasmtime::component::Val;

/// A component on one core.
pub struct Here {
    /// Which one.
    pub unit: Arc<Unit>,
    /// How many instances each generation may have.
    share: usize,
    pools: RefCell<Vec<Rc<Pool>>>,
}

impl Here {
    /// Without instances.
    pub fn new(unit: Arc<Unit>, share: usize) -> Self {
        Self {
            unit,
            share,
            pools: RefCell::default(),
        }
    }

    /// The instances that a call goes to. It must be given to them at once: they may be drained later.
    pub fn choose(&self, signs: &Signs<'_>) -> Rc<Pool> {
        self.pool(self.unit.traffic().choose(signs))
    }

    /// The instances that get a copy of a call, if any do.
    pub fn shadow(&self, signs: &Signs<'_>) -> Option<Rc<Pool>> {
        let traffic = self.unit.traffic();
        traffic.shadow(signs).map(|shadow| self.pool(shadow))
    }

    /// The instances of a generation.
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

    /// Drains a generation that gets no calls any more. What none of it has seen yet goes to `instead`, if it is to be
    /// trusted more.
    pub fn retire(&self, generation: &Arc<Generation>, instead: Option<&Arc<Generation>>) {
        let is_it = |pool: &Rc<Pool>| Arc::ptr_eq(&pool.generation, generation);
        let found = self.pools.borrow().iter().find(|pool| is_it(pool)).cloned();
        let Some(pool) = found else { return };
        if let Some(instead) = instead {
            pool.hand_over(&self.pool(instead));
        }
        pool.drain();
        self.pools.borrow_mut().retain(|pool| !is_it(pool));
    }

    /// Lets idle instances go.
    pub fn tidy(&self, now: Instant) {
        for pool in self.pools.borrow().iter() {
            pool.tidy(now);
        }
    }
}

impl Core {
    /// Makes a call over a link: to an instance of the callee on this core. The error says why nobody can answer.
    pub fn link(
        self: Rc<Self>,
        function: Arc<Function>,
        mut params: Vec<Val>,
    ) -> impl Future<Output = Result<Vec<Val>, String>> {
        let (timeout, trace, pool, shadow) = {
            let said = cross::said(&params);
            let trace_id = said.trace_parent.get(3..35).unwrap_or_default();
            let trace = telemetry::is_on().then(|| {
                let header = HeaderValue::from_str(said.trace_parent);
                Trace::of(header.ok().as_ref())
            });
            let here = self.units.get(&*function.callee);
            let signs = Signs {
                trace_id,
                headers: None,
                marked: self.is_marked(trace_id, &function.callee),
            };
            let pool = here.map(|here| here.choose(&signs));
            let shadow = here.and_then(|here| here.shadow(&signs));
            (
                patience(said.deadline, &self.loaded.clock),
                trace,
                pool,
                shadow,
            )
        };
        if let Some(trace) = &trace {
            cross::retrace(&mut params, trace.text());
        }
        async move {
            let pool = pool.ok_or("there is no such component")?;
            let timeout = timeout.ok_or("the deadline has passed")?;
            let promise = || pool.generation.component.promise(&function.key);
            let shadow = shadow.filter(|_| promise() == Some(Promise::Safe));
            let copy = shadow.map(|shadow| (shadow, params.clone()));
            let recorded = self.loaded.recorder.wants(&function, &params);
            let (begun, start) = (SystemTime::now(), Instant::now());
            let struck = self
                .loaded
                .faults
                .on_link(&function.caller, &function.callee)
                .await;
            let answered = call(&pool, &function, params, timeout, struck).await;
            if let Some(arguments) = recorded {
                let answer = answered.as_deref();
                let recorder = &self.loaded.recorder;
                recorder.ended(&function, arguments, answer, start.elapsed());
            }
            if let Some((shadow, params)) = copy {
                mirror(shadow, function.clone(), params, timeout, &pool, &answered);
            }
            if let Some(trace) = trace {
                told(&trace, begun, &function, &pool, answered.is_err());
            }
            answered
        }
    }
}

impl Core {
    /// Makes a call over a link to a component of another host. The error says why nobody can answer.
    pub fn remote(
        self: Rc<Self>,
        function: Arc<Function>,
        params: Vec<Val>,
    ) -> impl Future<Output = Result<Vec<Val>, String>> {
        let timeout = patience(cross::said(&params).deadline, &self.loaded.clock);
        async move {
            let remote = self.loaded.remotes.get(&*function.callee);
            let remote = remote.ok_or("there is no such component")?;
            let timeout = timeout.ok_or("the deadline has passed")?;
            let caller = self.abroad(&function.caller, &function.callee);
            let recorded = self.loaded.recorder.wants(&function, &params);
            let begun = Instant::now();
            if !caller.lets_through(begun) {
                return Err(KEPT_AWAY.to_owned());
            }
            let struck = self
                .loaded
                .faults
                .on_link(&function.caller, &function.callee)
                .await;
            let answered = match struck {
                Some(Blow::Error | Blow::Trap) => Err(Failed::Broken(ON_PURPOSE.to_owned())),
                _ => remote.call(&self.http, &function, &params, timeout).await,
            };
            let time = begun.elapsed();
            let became = match &answered {
                Ok(values) => function.became(values),
                Err(Failed::TimedOut) => Became::TimedOut,
                Err(_) => Became::Broken,
            };
            caller.ended(begun, became);
            let answered = answered.map_err(|failed| failed.reason(timeout));
            if let Some(arguments) = recorded {
                let answer = answered.as_deref();
                let recorder = &self.loaded.recorder;
                recorder.ended(&function, arguments, answer, time);
            }
            answered
        }
    }

    /// Asks a policy over a link, at once. The error says why it decides nothing.
    pub fn decide(&self, function: &Function, params: &[Val]) -> Result<Vec<Val>, String> {
        let here = self.units.get(&*function.callee);
        let here = here.ok_or("there is no such component")?;
        let signs = Signs::default();
        let (pool, shadow) = (here.choose(&signs), here.shadow(&signs));
        let caller = pool.caller(&function.caller, Binding::Policy);
        let begun = Instant::now();
        if !caller.lets_through(begun) {
            return Err(KEPT_AWAY.to_owned());
        }
        let failed = |values: &[Val]| function.is_refused(values);
        let decided = match self
            .loaded
            .faults
            .on_decision(&function.caller, &function.callee)
        {
            None | Some(Blow::Delay(_)) => pool.decide(&function.key, params, failed),
            Some(Blow::Error | Blow::Trap) => Err(ON_PURPOSE.to_owned()),
        };
        let became = decided.as_deref();
        caller.ended(
            begun,
            became.map_or(Became::Broken, |values| function.became(values)),
        );
        if let Some(shadow) = shadow
            && shadow.decide(&function.key, params, failed) != decided
        {
            shadow.generation.health.differed();
        }
        decided
    }
}

impl Function {
    /// How an answer is counted.
    fn became(&self, values: &[Val]) -> Became {
        match self.is_refused(values) {
            true => Became::Refused,
            false => Became::Answered,
        }
    }
}

/// What a caller is told whom the breaker keeps away.
const KEPT_AWAY: &str = "it failed too often just now; the circuit breaker is open";

/// How long a caller waits; `None` if it has stopped waiting. `deadline` is in Unix milliseconds of the guests' clock; 0 is none.
pub(super) fn patience(deadline: u64, clock: &Clock) -> Option<Duration> {
    if deadline == 0 {
        return Some(limits::LINK_CALL);
    }
    let deadline = UNIX_EPOCH.checked_add(Duration::from_millis(deadline))?;
    let left = deadline.duration_since(clock.now()).ok()?;
    Some(left.min(limits::LINK_CALL))
}

async fn call(
    pool: &Rc<Pool>,
    function: &Arc<Function>,
    params: Vec<Val>,
    timeout: Duration,
    struck: Option<Blow>,
) -> Result<Vec<Val>, String> {
    let caller = pool.caller(&function.caller, Binding::Isolated);
    let begun = Instant::now();
    if !caller.lets_through(begun) {
        return Err(KEPT_AWAY.to_owned());
    }
    let answered = match struck {
        Some(Blow::Error) => Err(CallError::Guest(wasmtime::Error::msg(ON_PURPOSE))),
        Some(Blow::Trap) => pool.trapped(timeout).await,
        _ => attempt(pool, function, params, timeout).await,
    };
    let became = answered.as_deref();
    let became = became.map_or_else(|error| error.became(), |values| function.became(values));
    caller.ended(begun, became);
    answered.map_err(|error| error.reason(timeout))
}

async fn attempt(
    pool: &Rc<Pool>,
    function: &Arc<Function>,
    params: Vec<Val>,
    timeout: Duration,
) -> Result<Vec<Val>, CallError> {
    let trace = HeaderValue::from_str(cross::said(&params).trace_parent);
    let trace = trace.ok().filter(|trace| !trace.is_empty());
    let call = LinkedCall {
        key: function.key.clone(),
        params,
    };
    let failed = |values: &[Val]| function.is_refused(values);
    pool.linked(call, trace, timeout, failed).await
}

/// Gives a generation on trial a copy of a call, for nobody; what it answers is compared.
fn mirror(
    shadow: Rc<Pool>,
    function: Arc<Function>,
    params: Vec<Val>,
    timeout: Duration,
    pool: &Rc<Pool>,
    answered: &Result<Vec<Val>, String>,
) {
    let (expected, serving) = (answered.clone().ok(), pool.generation.number());
    tokio::task::spawn_local(async move {
        let copied = attempt(&shadow, &function, params, timeout).await;
        if expected.is_some() && copied.ok() != expected {
            shadow.generation.health.differed();
            tracing::debug!(key = %function.key, serving, shadow = shadow.generation.number(), "a shadow answered otherwise");
        }
    });
}

fn told(trace: &Trace, begun: SystemTime, function: &Function, pool: &Pool, failed: bool) {
    let name = || function.key.to_string();
    trace.ended(Kind::Server, name, begun, failed, || {
        let attribute = |name: &str, value: String| (name.to_owned(), value);
        vec![
            attribute("localmart.caller", function.caller.to_string()),
            attribute("localmart.component", function.callee.to_string()),
            attribute("localmart.generation", pool.generation.number().to_string()),
            attribute("localmart.binding", "isolated".to_owned()),
        ]
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
        assert_eq!(patience(0, &clock), Some(limits::LINK_CALL));
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
