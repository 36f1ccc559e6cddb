//! The status report of a running host: its components, their generations and their links.

use super::clock::{self, ClockStatus};
use crate::limits::FULL_SHARE;
use crate::link::binding::Binding;
use crate::metrics::ComponentMetrics;
use crate::serve::deployment::{Deployment, Generation};
use crate::serve::health::HealthSnapshot;
use crate::serve::load::Loaded;
use crate::serve::swap::{SwapReport, Swapper};
use crate::wiring::plan;
use prometheus::Histogram;
use serde::{Deserialize, Serialize};

/// A running application.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Status {
    /// The name of the application.
    pub application: String,
    /// The process id.
    pub process: u32,
    /// The resident memory of the process in bytes, if the system reports it.
    pub memory: Option<u64>,
    /// The wall clock of the components.
    pub clock: ClockStatus,
    /// The components that run in their own instances.
    pub components: Vec<ComponentStatus>,
}

/// A component that runs in its own instances.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ComponentStatus {
    /// Its id.
    pub id: String,
    /// The components that are fused into it.
    pub inside: Vec<String>,
    /// Its links to other components.
    pub links: Vec<LinkStatus>,
    /// The generations that get calls.
    pub generations: Vec<GenerationStatus>,
    /// Its last swap.
    pub swap: Option<SwapReport>,
}

/// A link.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LinkStatus {
    /// The called component.
    pub callee: String,
    /// `fused`, `isolated`, `remote` or `policy`.
    pub binding: String,
    /// Finished calls since the callee's current generation began to serve. Always 0 for fused links, whose calls the
    /// host does not see.
    pub calls: u64,
    /// The calls that were not answered.
    pub failed: u64,
    /// The total duration of the calls, in seconds.
    pub seconds: f64,
}

/// A generation that gets calls.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GenerationStatus {
    /// The generation number, counted from 1.
    pub number: u64,
    /// `serves`, `trial` or `shadow`.
    pub role: String,
    /// Its share of the calls, in parts of 10 000.
    pub share: u32,
    /// The BLAKE3 hash of its file.
    pub digest: String,
    /// The path of its file.
    pub file: String,
    /// Live instances on all cores.
    pub instances: i64,
    /// The linear memory of these instances, in bytes.
    pub memory: i64,
    /// Statistics of its calls.
    #[serde(flatten)]
    pub health: HealthSnapshot,
}

/// Describes the host as it is now.
pub fn status(swapper: &Swapper) -> anyhow::Result<Status> {
    let loaded = swapper.loaded();
    let mut components = Vec::new();
    for deployment in loaded.deployments.values() {
        let plan = loaded.loader.plans().get(&*deployment.id);
        let links = plan.map(|plan| links(loaded, plan)).unwrap_or_default();
        components.push(ComponentStatus {
            id: deployment.id.to_string(),
            inside: plan
                .map(|plan| plan.fused.iter().cloned().collect())
                .unwrap_or_default(),
            links,
            generations: generations(deployment),
            swap: swapper.report(&deployment.id)?,
        });
    }
    Ok(Status {
        application: loaded.name.clone(),
        process: std::process::id(),
        memory: resident(),
        clock: clock::status(&loaded.clock),
        components,
    })
}

fn links(loaded: &Loaded, plan: &plan::DeploymentPlan) -> Vec<LinkStatus> {
    let fused = plan
        .spec
        .links
        .iter()
        .filter(|link| plan.fused.contains(*link));
    let fused = fused.map(|callee| LinkStatus {
        callee: callee.clone(),
        binding: Binding::Fused.to_string(),
        calls: 0,
        failed: 0,
        seconds: 0.0,
    });
    let local = plan.local.iter().map(|callee| {
        let policy = loaded.loader.spec(callee).and_then(|spec| spec.policy);
        let binding = policy.map_or(Binding::Isolated, |_| Binding::Policy);
        let stable = loaded
            .deployments
            .get(callee)
            .map(|deployment| deployment.stable());
        let metrics = stable.map(|stable| stable.component.metrics.clone());
        link(metrics, &plan.spec.id, callee, binding)
    });
    let remote = plan.remote.iter().map(|callee| {
        let metrics = loaded.metrics.component(callee, 0);
        link(Some(metrics), &plan.spec.id, callee, Binding::Remote)
    });
    fused.chain(local).chain(remote).collect()
}

fn link(
    metrics: Option<ComponentMetrics>,
    caller: &str,
    callee: &str,
    binding: Binding,
) -> LinkStatus {
    let metrics = metrics.map(|metrics| metrics.link(caller, binding));
    let failed = metrics.as_ref().map(|of| {
        let counters = [&of.timed_out, &of.broken, &of.full, &of.breaker_open];
        counters.iter().map(|counter| counter.get()).sum()
    });
    let duration = metrics.as_ref().map(|of| &of.duration);
    LinkStatus {
        callee: callee.to_owned(),
        binding: binding.to_string(),
        calls: duration.map_or(0, Histogram::get_sample_count),
        failed: failed.unwrap_or_default(),
        seconds: duration.map_or(0.0, Histogram::get_sample_sum),
    }
}

/// The resident memory of this process, in bytes.
fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib * 1024)
}

fn generations(deployment: &Deployment) -> Vec<GenerationStatus> {
    let traffic = deployment.traffic();
    let trial = traffic.trial.as_ref();
    let taken = trial
        .filter(|trial| !trial.shadow)
        .map_or(0, |trial| trial.share);
    let mut all = vec![of(
        &traffic.stable,
        "serves",
        FULL_SHARE.saturating_sub(taken),
    )];
    if let Some(trial) = trial {
        let role = if trial.shadow { "shadow" } else { "trial" };
        all.push(of(&trial.generation, role, trial.share));
    }
    all
}

fn of(generation: &Generation, role: &str, share: u32) -> GenerationStatus {
    let file = &generation.component.recipe.root.file;
    GenerationStatus {
        number: generation.number(),
        role: role.to_owned(),
        share,
        digest: file.digest.clone(),
        file: file.path.display().to_string(),
        instances: generation.component.metrics.instances.get(),
        memory: generation.component.metrics.memory.get(),
        health: generation.health.snapshot(),
    }
}
