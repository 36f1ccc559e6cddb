//! Timers: periodic requests from the host to a component, through the same instance pools as all other requests.

use super::answer::empty;
use super::core::Core;
use super::deployment::RoutingKey;
use crate::app::TimerSpec;
use crate::telemetry::Kind;
use crate::trace::Trace;
use std::rc::Rc;
use std::time::SystemTime;

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
        let Some(local) = core.components.get(&component) else {
            return;
        };
        let trace = Trace::of(None);
        let mut request = http::Request::post(format!("http://localhost{}", timer.path))
            .header("traceparent", trace.header());
        for (name, value) in &timer.headers {
            request = request.header(name, value);
        }
        let request = match request.body(empty()) {
            Ok(request) => request,
            Err(error) => {
                tracing::error!(%component, %error, "a timer's request is invalid");
                return;
            }
        };
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
            Ok(response) if response.status().is_success() => {}
            Ok(response) => {
                tracing::warn!(%component, path = %timer.path, status = response.status().as_u16(), "a timer's request failed")
            }
            Err(error) => {
                tracing::warn!(%component, path = %timer.path, ?error, "a timer's request failed")
            }
        }
    }
}
