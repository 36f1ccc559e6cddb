//! Timers: requests that the host makes to a component in turn, through the same pools as everybody's.

use super::answer::empty;
use super::core::Core;
use super::unit::Signs;
use crate::app::EverySpec;
use crate::telemetry::Kind;
use crate::trace::Trace;
use std::rc::Rc;
use std::time::SystemTime;

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
        let Some(here) = core.units.get(&component) else {
            return;
        };
        let trace = Trace::of(None);
        let mut request = http::Request::post(format!("http://localhost{}", every.path))
            .header("traceparent", trace.header());
        for (name, value) in &every.headers {
            request = request.header(name, value);
        }
        let request = match request.body(empty()) {
            Ok(request) => request,
            Err(error) => {
                tracing::error!(%component, %error, "a timer's request cannot be made");
                return;
            }
        };
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
            Ok(response) if response.status().is_success() => {}
            Ok(response) => {
                tracing::warn!(%component, path = %every.path, status = response.status().as_u16(), "a timer's request failed")
            }
            Err(error) => {
                tracing::warn!(%component, path = %every.path, ?error, "a timer's request failed")
            }
        }
    }
}
