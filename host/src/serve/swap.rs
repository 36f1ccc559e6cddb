//! Replaces a component while requests come in. The new generation is checked, compiled and warmed first, then
//! published to all cores at once. The old generation finishes the calls it has started. A new generation that traps,
//! fails or is slow beyond its limits is rolled back automatically.

mod make;
mod rollback_limits;
mod watch;

pub use rollback_limits::RollbackLimits;

use crate::limits::FULL_SHARE;
use crate::link::not_answered::Answered;
use make::StageTimes;

use super::core::CoreCommand;
use super::deployment::{Deployment, Generation, Traffic, Trial};
use super::load::Loaded;
use crate::limits;
use crate::recipe::WasmFile;
use anyhow::{Context as _, bail};
use futures::channel::oneshot;
use futures::future::{Either, select, try_join_all};
use http::{HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

/// A hook that runs before a generation serves, for example for migrations. An error cancels the swap.
pub type BeforeSwap = Box<dyn Fn(&str, &WasmFile) -> anyhow::Result<()> + Send + Sync>;

/// A request to swap a component.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SwapRequest {
    /// The component to replace.
    pub component: String,
    /// The new wasm file.
    pub file: PathBuf,
    /// The share of calls that the new generation gets on trial, in parts of [`FULL_SHARE`].
    pub share: Option<u32>,
    /// Requests with this header go to the new generation on trial.
    pub header: Option<(String, String)>,
    /// The new generation only gets copies of calls without side effects.
    pub shadow: bool,
    /// When the new generation is rolled back, and how long it is watched.
    pub limits: RollbackLimits,
    /// Whether a generation that passes its trial is promoted automatically.
    pub promote: bool,
}

/// The state of a swap.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "kebab-case")]
pub enum Phase {
    /// The new generation gets calls and is watched.
    Watched,
    /// The watch time has passed without a rollback. A trial goes on until it is promoted or rolled back.
    Passed,
    /// The new generation stays until the next swap.
    Kept,
    /// The previous generation serves again.
    RolledBack {
        /// The reason.
        why: String,
    },
    /// Another swap began before this one was decided.
    Superseded,
}

/// The result of a swap.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SwapReport {
    /// The component.
    pub component: String,
    /// The hash of its new file.
    pub digest: String,
    /// The replaced components with the numbers of the old and the new generation: the component itself, and every
    /// component that it is fused into.
    pub replaced: Vec<(String, u64, u64)>,
    /// The state of the swap.
    #[serde(flatten)]
    pub phase: Phase,
    /// Whether the new generation is on trial.
    pub on_trial: bool,
    /// The duration of each stage in microseconds, in order.
    pub stages: Vec<(String, u64)>,
}

/// One swap.
struct Swap {
    number: u64,
    request: SwapRequest,
    digest: String,
    replaced: Vec<Replacement>,
    stages: Vec<(String, u64)>,
    phase: Phase,
    on_trial: bool,
}

/// A component that got a new generation in a swap.
#[derive(Clone)]
struct Replacement {
    deployment: Arc<Deployment>,
    old: Arc<Generation>,
    new: Arc<Generation>,
}

/// Swaps the components of a running application.
pub struct Swapper {
    loaded: Arc<Loaded>,
    before: BeforeSwap,
    /// Held while a swap is prepared: only one at a time.
    preparing: Mutex<()>,
    count: AtomicU64,
    /// The last swap of each component.
    swaps: Mutex<BTreeMap<String, Swap>>,
}

impl Swapper {
    /// A swapper for a loaded application.
    pub fn new(loaded: Arc<Loaded>, before: BeforeSwap) -> Arc<Self> {
        Arc::new(Self {
            loaded,
            before,
            preparing: Mutex::default(),
            count: AtomicU64::new(0),
            swaps: Mutex::default(),
        })
    }

    /// The loaded application.
    pub fn loaded(&self) -> &Arc<Loaded> {
        &self.loaded
    }

    /// Replaces a component. Blocks until the new generation gets calls or is refused.
    pub fn swap(self: &Arc<Self>, request: SwapRequest) -> anyhow::Result<SwapReport> {
        let Ok(_alone) = self.preparing.lock() else {
            bail!("an earlier swap panicked; restart the application");
        };
        let (component, mut stages) = (request.component.clone(), StageTimes::new());
        let trial = trial(&request)?;
        let affected = self.affected(&component)?;
        self.refuse_open_trials(&component, &affected)?;
        let file = Arc::new(WasmFile::read(&request.file)?);
        stages.ended("read");
        let replacements = self.make(&component, &file, &affected, &mut stages)?;
        (self.before)(&component, &file)?;
        stages.ended("before");
        if let Err(error) = self.warm(&replacements) {
            self.retire(&replacements, |one| (&one.new, None));
            return Err(error.context(format!("`{component}` does not start")));
        }
        stages.ended("warm");
        self.publish(&replacements, trial.as_ref());
        stages.ended("publish");
        tracing::info!(component, digest = %file.digest, trial = trial.is_some(), "a new generation serves");
        let swap = Swap {
            number: self.count.fetch_add(1, Ordering::Relaxed),
            digest: file.digest.clone(),
            replaced: replacements,
            stages: stages.done,
            phase: Phase::Watched,
            on_trial: trial.is_some(),
            request,
        };
        let report = swap.report();
        let mut swaps = self.swaps()?;
        for earlier in swaps.values_mut().filter(|earlier| earlier.overlaps(&swap)) {
            earlier.phase = Phase::Superseded;
        }
        swaps.insert(component.clone(), swap);
        drop(swaps);
        watch::begin(self, &component)?;
        Ok(report)
    }

    /// Promotes the generation on trial: it gets all calls.
    pub fn promote(&self, component: &str) -> anyhow::Result<SwapReport> {
        let mut swaps = self.swaps()?;
        let swap = open_swap(&mut swaps, component)?;
        if !swap.on_trial {
            bail!("`{component}` is not on trial; it already gets all calls");
        }
        if swap.request.shadow {
            self.warm(&swap.replaced)?;
        }
        self.keep(swap);
        Ok(swap.report())
    }

    /// Returns to the generation before the last swap.
    pub fn rollback(&self, component: &str, why: &str) -> anyhow::Result<SwapReport> {
        let mut swaps = self.swaps()?;
        let swap = swaps.get_mut(component);
        let swap = swap.with_context(|| format!("`{component}` was not swapped"))?;
        match &swap.phase {
            Phase::RolledBack { why } => bail!("`{component}` was already rolled back: {why}"),
            Phase::Superseded => bail!("another swap followed this one; roll that one back"),
            Phase::Watched | Phase::Passed | Phase::Kept => {}
        }
        self.roll_back(swap, why);
        Ok(swap.report())
    }

    /// The report of the last swap of a component.
    pub fn report(&self, component: &str) -> anyhow::Result<Option<SwapReport>> {
        Ok(self.swaps()?.get(component).map(Swap::report))
    }

    fn swaps(&self) -> anyhow::Result<MutexGuard<'_, BTreeMap<String, Swap>>> {
        let swaps = self.swaps.lock();
        swaps.map_err(|_| anyhow::anyhow!("an earlier swap panicked; restart the application"))
    }

    /// Refuses a swap of components that have a trial.
    fn refuse_open_trials(
        &self,
        component: &str,
        affected: &[Arc<Deployment>],
    ) -> anyhow::Result<()> {
        for deployment in affected {
            if let Some(trial) = &deployment.traffic().trial {
                bail!(
                    "generation {} of `{}` is on trial: promote it or roll it back, then swap `{component}`",
                    trial.generation.number(),
                    deployment.id
                );
            }
        }
        Ok(())
    }

    /// Creates an instance of each new generation on every core.
    fn warm(&self, replacements: &[Replacement]) -> anyhow::Result<()> {
        let warming = replacements
            .iter()
            .map(|one| self.warm_one(&one.deployment, &one.new));
        let warming = try_join_all(warming.collect::<Vec<_>>());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()?;
        runtime.block_on(async {
            let patience = pin!(tokio::time::sleep(limits::WARM_TIMEOUT));
            match select(pin!(warming), patience).await {
                Either::Left((done, _)) => done.map(drop).map_err(anyhow::Error::msg),
                Either::Right(_) => {
                    bail!("no instance within {} s", limits::WARM_TIMEOUT.as_secs())
                }
            }
        })
    }

    fn warm_one(
        &self,
        deployment: &Arc<Deployment>,
        generation: &Arc<Generation>,
    ) -> impl Future<Output = Answered<()>> + use<> {
        let waiting: Mutex<Vec<_>> = Mutex::default();
        self.loaded.send_to_all(|| {
            let (done, warmed) = oneshot::channel();
            if let Ok(mut waiting) = waiting.lock() {
                waiting.push(warmed);
            }
            CoreCommand::Warm(deployment.clone(), generation.clone(), done)
        });
        let waiting = waiting.into_inner().unwrap_or_default();
        async move {
            for warmed in waiting {
                // The sender is dropped if the core has ended.
                warmed.await.unwrap_or(Ok(()))?;
            }
            Ok(())
        }
    }

    /// Sends calls to the new generations, or to both if there is a trial.
    fn publish(&self, replacements: &[Replacement], trial: Option<&TrialRule>) {
        for one in replacements {
            let trial = trial.map(|trial| Trial {
                generation: one.new.clone(),
                share: trial.share,
                header: trial.header.clone(),
                shadow: trial.shadow,
            });
            if trial.as_ref().is_some_and(|trial| trial.header.is_some()) {
                self.loaded.header_trials.fetch_add(1, Ordering::Relaxed);
            }
            let stable = match trial {
                Some(_) => one.old.clone(),
                None => one.new.clone(),
            };
            one.deployment.publish(Traffic { stable, trial });
        }
        if trial.is_none() {
            self.retire(replacements, |one| (&one.old, None));
        }
    }

    fn retire(
        &self,
        replacements: &[Replacement],
        who: impl Fn(&Replacement) -> (&Arc<Generation>, Option<&Arc<Generation>>),
    ) {
        for one in replacements {
            let (gone, instead) = who(one);
            self.loaded.send_to_all(|| {
                CoreCommand::Retire(one.deployment.clone(), gone.clone(), instead.cloned())
            });
        }
    }

    /// Lets the new generations stay.
    fn keep(&self, swap: &mut Swap) {
        self.end_trial(swap);
        if swap.on_trial {
            for one in &swap.replaced {
                one.deployment.publish(Traffic {
                    stable: one.new.clone(),
                    trial: None,
                });
            }
            self.retire(&swap.replaced, |one| (&one.old, None));
        }
        swap.on_trial = false;
        swap.phase = Phase::Kept;
        tracing::info!(
            component = swap.request.component,
            "the new generation stays"
        );
    }

    /// Returns to the old generations; calls that no guest has seen yet move there.
    fn roll_back(&self, swap: &mut Swap, why: &str) {
        self.end_trial(swap);
        if !swap.on_trial {
            let back = swap.replaced.iter().map(|one| Replacement {
                deployment: one.deployment.clone(),
                old: one.new.clone(),
                new: one.old.clone(),
            });
            // The old generation serves even if it cannot be warmed: the new one is worse.
            if let Err(error) = self.warm(&back.collect::<Vec<_>>()) {
                tracing::warn!(
                    error = format!("{error:#}"),
                    "the previous generation starts without warm instances"
                );
            }
        }
        for one in &swap.replaced {
            one.deployment.publish(Traffic {
                stable: one.old.clone(),
                trial: None,
            });
        }
        self.retire(&swap.replaced, |one| (&one.new, Some(&one.old)));
        swap.on_trial = false;
        swap.phase = Phase::RolledBack {
            why: why.to_owned(),
        };
        tracing::error!(
            component = swap.request.component,
            why,
            "a generation was rolled back"
        );
    }

    fn end_trial(&self, swap: &Swap) {
        if swap.on_trial && swap.request.header.is_some() {
            self.loaded
                .header_trials
                .fetch_sub(swap.replaced.len(), Ordering::Relaxed);
        }
    }
}

impl Swap {
    fn report(&self) -> SwapReport {
        let replaced = self.replaced.iter();
        let replaced = replaced.map(|one| {
            (
                one.deployment.id.to_string(),
                one.old.number(),
                one.new.number(),
            )
        });
        SwapReport {
            component: self.request.component.clone(),
            digest: self.digest.clone(),
            replaced: replaced.collect(),
            phase: self.phase.clone(),
            on_trial: self.on_trial,
            stages: self.stages.clone(),
        }
    }

    /// Whether both swaps replaced the same component.
    fn overlaps(&self, other: &Self) -> bool {
        self.replaced.iter().any(|one| {
            other
                .replaced
                .iter()
                .any(|two| Arc::ptr_eq(&one.deployment, &two.deployment))
        })
    }
}

/// The swap of a component if it is not decided yet.
fn open_swap<'s>(
    swaps: &'s mut BTreeMap<String, Swap>,
    component: &str,
) -> anyhow::Result<&'s mut Swap> {
    let swap = swaps.get_mut(component);
    let swap = swap.with_context(|| format!("`{component}` was not swapped"))?;
    match &swap.phase {
        Phase::Watched | Phase::Passed => Ok(swap),
        Phase::Kept => bail!("`{component}` already gets all calls"),
        Phase::RolledBack { why } => bail!("`{component}` was rolled back: {why}"),
        Phase::Superseded => bail!("another swap followed this one"),
    }
}

/// Which calls the generation on trial gets.
struct TrialRule {
    share: u32,
    header: Option<(HeaderName, HeaderValue)>,
    shadow: bool,
}

/// The trial that a request asks for; `None` if the new generation gets all calls.
fn trial(request: &SwapRequest) -> anyhow::Result<Option<TrialRule>> {
    let header = request.header.as_ref().map(|(name, value)| {
        let name = HeaderName::try_from(name).context("the name of the header")?;
        let value = HeaderValue::try_from(value).context("the value of the header")?;
        anyhow::Ok((name, value))
    });
    let header = header.transpose()?;
    if request.share.is_none() && header.is_none() && !request.shadow {
        return Ok(None);
    }
    // A shadow gets copies of all calls, unless a share or a header is set.
    let whole = if request.shadow && header.is_none() {
        FULL_SHARE
    } else {
        0
    };
    Ok(Some(TrialRule {
        share: request.share.unwrap_or(whole),
        header,
        shadow: request.shadow,
    }))
}
