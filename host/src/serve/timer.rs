//! Timers: periodic requests from the host to a component, through the same instance pools as all other requests. When a
//! test clock is moved, every timer fires at once, so that nothing is left to wait for.

use super::answer::empty;
use super::core::{Core, CoreCommand};
use super::deployment::RoutingKey;
use super::load::Loaded;
use crate::app::TimerSpec;
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

/// A timer that fired because the clock was moved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fired {
    /// The component of the timer.
    pub component: String,
    /// The path of its request.
    pub path: String,
    /// Why the request failed, if it did.
    pub failed: Option<String>,
}

/// Starts the timers of all components on this core.
pub fn start(core: &Rc<Core>) {
    for (id, deployment) in &core.loaded.deployments {
        if let Some(timer) = deployment.stable().component.spec.timer.clone() {
            tokio::task::spawn_local(run(core.clone(), id.clone(), timer));
        }
    }
}

async fn run(core: Rc<Core>, component: String, timer: TimerSpec) {
    let mut stopped = core.stopped.clone();
    loop {
        tokio::select! {
            () = tokio::time::sleep(timer.interval) => {}
            _ = stopped.wait_for(|stopped| *stopped) => return,
        }
        let _guard = core.loaded.timers.read().await;
        // A failure is in the log; the next interval repeats the request.
        let _ = fire(&core, &component, &timer).await;
    }
}

/// Sends the request of a timer. The error is the reason of the failure.
async fn fire(core: &Core, component: &str, timer: &TimerSpec) -> Result<(), String> {
    let local = core.components.get(component);
    let local = local.ok_or("there is no such component")?;
    let trace = Trace::of(None);
    let mut request = http::Request::post(format!("http://localhost{}", timer.path))
        .header("traceparent", trace.header());
    for (name, value) in &timer.headers {
        request = request.header(name, value);
    }
    let request = request.body(empty()).map_err(|error| {
        tracing::error!(%component, %error, "a timer's request is invalid");
        error.to_string()
    })?;
    let begun = SystemTime::now();
    let pool = local.choose(&RoutingKey {
        trace_id: trace.id(),
        ..RoutingKey::default()
    });
    let answer = pool.call(request, trace.clone()).await;
    let failed = !matches!(&answer, Ok(response) if response.status().is_success());
    let name = || format!("timer {}", timer.path);
    trace.ended(Kind::Internal, name, begun, failed, Vec::new);
    match answer {
        Ok(response) if response.status().is_success() => Ok(()),
        Ok(response) => {
            let status = response.status().as_u16();
            tracing::warn!(%component, path = %timer.path, trace_id = trace.id(), status, "a timer's request failed");
            Err(format!("it answered {status}"))
        }
        Err(error) => {
            tracing::warn!(%component, path = %timer.path, trace_id = trace.id(), ?error, "a timer's request failed");
            Err("it did not answer; the log says why".to_owned())
        }
    }
}

/// Fires every timer now, all at the same time, and reports the outcomes.
pub(super) async fn fire_all(core: Rc<Core>, done: oneshot::Sender<Vec<Fired>>) {
    let timers = core
        .loaded
        .deployments
        .iter()
        .filter_map(|(id, deployment)| {
            let timer = deployment.stable().component.spec.timer.clone();
            Some((id.clone(), timer?))
        });
    let fired = timers.map(async |(component, timer)| {
        let failed = fire(&core, &component, &timer).await.err();
        Fired {
            component,
            path: timer.path,
            failed,
        }
    });
    // The receiver may have given up.
    let _ = done.send(join_all(fired).await);
}

impl Loaded {
    /// Moves the test clock while no timer's request is running, so that none of them sees a jump. Then every timer fires,
    /// unless `fire` is false. Blocks until all of this is done.
    pub fn advance(&self, by_ms: i64, fire: bool) -> anyhow::Result<Vec<Fired>> {
        if !self.clock.is_test() {
            return Err(ClockError::NoTestClock.into());
        }
        let _no_timer_runs = self.timers.blocking_write();
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
        self.send_to_one(CoreCommand::Fire(done))?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()?;
        let fired = runtime
            .block_on(async { tokio::time::timeout(limits::CLOCK_MOVE_TIMEOUT, fired).await });
        fired
            .context("the clock was moved, but the timers' requests have not ended in time")?
            .context("the clock was moved, but the host is shutting down")
    }
}
