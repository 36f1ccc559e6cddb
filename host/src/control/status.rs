//! What a running host says of itself: components, their generations, their links.

use super::clock::{self, ClockStatus};
use crate::link::binding::Binding;
use crate::link::plan;
use crate::metrics::ComponentMetrics;
use crate::serve::health::Snapshot;
use crate::serve::load::Loaded;
use crate::serve::swap::{Report, Swapper};
use crate::serve::unit::{Generation, Unit, WHOLE};
use prometheus::Histogram;
use serde::{Deserialize, Serialize};

/// A running application.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Status {
    /// Its name.
    pub application: String,
    /// The id of the process.
    pub process: u32,
    /// Bytes of memory that the process has, where the system says so.
    pub memory: Option<u64>,
    /// The wall clock of its components.
    pub clock: ClockStatus,
    /// The components that run by themselves.
    pub components: Vec<ComponentStatus>,
}

/// A component that runs by itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ComponentStatus {
    /// Its id.
    pub id: String,
    /// What is fused into it.
    pub inside: Vec<String>,
    /// Whom it calls, and how that is bound.
    pub links: Vec<LinkStatus>,
    /// The generations that get calls.
    pub generations: Vec<GenerationStatus>,
    /// Its last swap.
    pub swap: Option<Report>,
}

/// A link.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LinkStatus {
    /// Who is called.
    pub callee: String,
    /// `fused`, `isolated`, `remote` or `policy`.
    pub binding: String,
    /// Calls that ended, since the callee's generation serves; of a fused link nobody knows.
    pub calls: u64,
    /// Those that were not answered.
    pub failed: u64,
    /// How long they took together, in seconds.
    pub seconds: f64,
}

/// A generation that gets calls.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GenerationStatus {
    /// Counted from 1.
    pub number: u64,
    /// `serves`, `trial` or `shadow`.
    pub role: String,
    /// Its share of the calls, of 10 000.
    pub share: u32,
    /// The BLAKE3 hash of its file.
    pub digest: String,
    /// Its file.
    pub file: String,
    /// Live instances, over all cores.
    pub instances: i64,
    /// Bytes of their linear memory.
    pub memory: i64,
    /// How it fares.
    #[serde(flatten)]
    pub health: Snapshot,
}

/// What there is to say now.
pub fn status(swapper: &Swapper) -> anyhow::Result<Status> {
    let loaded = swapper.loaded();
    let mut components = Vec::new();
    for unit in loaded.units.values() {
        let plan = loaded.maker.units().get(&*unit.id);
        let links = plan.map(|plan| links(loaded, plan)).unwrap_or_default();
        components.push(ComponentStatus {
            id: unit.id.to_string(),
            inside: plan
                .map(|plan| plan.inside.iter().cloned().collect())
                .unwrap_or_default(),
            links,
            generations: generations(unit),
            swap: swapper.report(&unit.id)?,
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

fn links(loaded: &Loaded, plan: &plan::Unit) -> Vec<LinkStatus> {
    let fused = plan
        .spec
        .links
        .iter()
        .filter(|link| plan.inside.contains(*link));
    let fused = fused.map(|callee| LinkStatus {
        callee: callee.clone(),
        binding: Binding::Fused.to_string(),
        calls: 0,
        failed: 0,
        seconds: 0.0,
    });
    let across = plan.across.iter().map(|callee| {
        let policy = loaded.maker.spec(callee).and_then(|spec| spec.policy);
        let binding = policy.map_or(Binding::Isolated, |_| Binding::Policy);
        let stable = loaded.units.get(callee).map(|unit| unit.stable());
        let metrics = stable.map(|stable| stable.component.metrics.clone());
        link(metrics, &plan.spec.id, callee, binding)
    });
    let away = plan.away.iter().map(|callee| {
        let metrics = loaded.metrics.component(callee, 0);
        link(Some(metrics), &plan.spec.id, callee, Binding::Remote)
    });
    fused.chain(across).chain(away).collect()
}

fn link(
    metrics: Option<ComponentMetrics>,
    caller: &str,
    callee: &str,
    binding: Binding,
) -> LinkStatus {
    let metrics = metrics.map(|metrics| metrics.link(caller, binding));
    let failed = metrics.as_ref().map(|of| {
        let counters = [&of.timed_out, &of.broken, &of.full, &of.kept_away];
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

/// The memory that this process has, in bytes.
fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib * 1024)
}

fn generations(unit: &Unit) -> Vec<GenerationStatus> {
    let traffic = unit.traffic();
    let trial = traffic.trial.as_ref();
    let taken = trial
        .filter(|trial| !trial.shadow)
        .map_or(0, |trial| trial.share);
    let mut all = vec![of(&traffic.stable, "serves", WHOLE.saturating_sub(taken))];
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
