//! Timers: requests that the host makes to a component in turn, through the same pools as everybody's. When a test clock is moved,
//! every timer has its turn at once, so that whoever moved it has nothing to wait for.

use super::answer::empty;
use super::core::{Core, Tell};
use super::load::Loaded;
use super::unit::Signs;
use crate::app::EverySpec;
use crate::clock::ClockError;
use crate::limits;
use crate::telemetry::Kind;
use crate::trace::Trace;
use anyhow::Context as _;
use futures::channel::oneshot;
use futures::future::join_all;
use serde::{Deserialize, Serialize};
use std::rc::Rc;
use std::time::SystemTime;

/// A timer that had its turn because the clock was moved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fired {
    /// Whose timer.
    pub component: String,
    /// What was asked for.
    pub path: String,
    /// Why the request failed, if it did.
    pub failed: Option<String>,
}

/// Starts the timers of all components, on the core that calls this.
pub fn start(core: &Rc<Core>) {
    for (id, unit) in &core.loaded.units {
        if let Some(every) = unit.stable().component.spec.every.clone() {
            tokio::task::spawn_local(turn(core.clone(), id.clone(), every));
        }
    }
}

async fn turn(core: Rc<Core>, component: String, every: EverySpec) {
    let mut stopped = core.stopped.clone();
    loop {
        tokio::select! {
            () = tokio::time::sleep(every.interval) => {}
            _ = stopped.wait_for(|stopped| *stopped) => return,
        }
        let _turn = core.loaded.timers.read().await;
        // A request that failed is in the log, and is made again after the interval.
        let _ = fire(&core, &component, &every).await;
    }
}

/// Makes the request of a timer. The error says why it failed.
async fn fire(core: &Core, component: &str, every: &EverySpec) -> Result<(), String> {
    let here = core.units.get(component);
    let here = here.ok_or("there is no such component")?;
    let trace = Trace::of(None);
    let mut request = http::Request::post(format!("http://localhost{}", every.path))
        .header("traceparent", trace.header());
    for (name, value) in &every.headers {
        request = request.header(name, value);
    }
    let request = request.body(empty()).map_err(|error| {
        tracing::error!(%component, %error, "a timer's request cannot be made");
        error.to_string()
    })?;
    let begun = SystemTime::now();
    let pool = here.choose(&Signs {
        trace_id: trace.id(),
        ..Signs::default()
    });
    let answer = pool.call(request, trace.clone()).await;
    let failed = !matches!(&answer, Ok(response) if response.status().is_success());
    let name = || format!("timer {}", every.path);
    trace.ended(Kind::Internal, name, begun, failed, Vec::new);
    match answer {
        Ok(response) if response.status().is_success() => Ok(()),
        Ok(response) => {
            let status = response.status().as_u16();
            tracing::warn!(%component, path = %every.path, status, "a timer's request failed");
            Err(format!("it answered {status}"))
        }
        Err(error) => {
            tracing::warn!(%component, path = %every.path, ?error, "a timer's request failed");
            Err("it did not answer; the log says why".to_owned())
        }
    }
}

/// Gives every timer its turn now, all at the same time, and tells how that went.
pub(super) async fn fire_all(core: Rc<Core>, done: oneshot::Sender<Vec<Fired>>) {
    let timers = core.loaded.units.iter().filter_map(|(id, unit)| {
        let every = unit.stable().component.spec.every.clone();
        Some((id.clone(), every?))
    });
    let fired = timers.map(async |(component, every)| {
        let failed = fire(&core, &component, &every).await.err();
        Fired {
            component,
            path: every.path,
            failed,
        }
    });
    // Whoever waits for it may have given up.
    let _ = done.send(join_all(fired).await);
}

impl Loaded {
    /// Moves the test clock between two turns of the timers, so that none of their requests sees it jump. Then every timer has
    /// its turn at once, unless `fire` says otherwise. Blocks until all of that is done.
    pub fn advance(&self, by_ms: i64, fire: bool) -> anyhow::Result<Vec<Fired>> {
        if !self.clock.is_test() {
            return Err(ClockError::NoTestClock.into());
        }
        let _between_turns = self.timers.blocking_write();
        self.clock.advance(by_ms)?;
        tracing::info!(
            by_ms,
            ahead_s = self.clock.ahead().as_secs(),
            "the test clock was moved"
        );
        if !fire {
            return Ok(Vec::new());
        }
        let (done, fired) = oneshot::channel();
        self.tell_one(Tell::Fire(done))?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()?;
        let fired =
            runtime.block_on(async { tokio::time::timeout(limits::CLOCK_MOVE, fired).await });
        fired
            .context("the clock was moved, and the timers have not ended their turn in time")?
            .context("the clock was moved, and the host is ending")
    }
}
