//! Another generation in a component's place while requests come in: checked, compiled and warmed first, then published for all
//! cores at once; what the old one has begun it ends. A generation that traps, errs or slows beyond what was allowed goes by itself.

mod make;
mod rollback_limits;
mod watch;

pub use rollback_limits::RollbackLimits;

use make::StageTimes;

use super::core::CoreCommand;
use super::deployment::{Deployment, FULL_SHARE, Generation, Traffic, Trial};
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

/// What is done to the stores before a generation serves, as migrations; the error says why it must not.
pub type BeforeSwap = Box<dyn Fn(&str, &WasmFile) -> anyhow::Result<()> + Send + Sync>;

/// What a swap is asked to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SwapRequest {
    /// The component to be replaced.
    pub component: String,
    /// The file of the new one.
    pub file: PathBuf,
    /// The share of calls that the new one gets on trial, of [`FULL_SHARE`].
    pub share: Option<u32>,
    /// Requests with this header go to the new one on trial.
    pub header: Option<(String, String)>,
    /// The new one gets copies of calls that change nothing.
    pub shadow: bool,
    /// When it must go, and for how long that is watched.
    pub limits: RollbackLimits,
    /// Whether what passes its trial takes the place.
    pub promote: bool,
}

/// What became of a swap so far.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "kebab-case")]
pub enum Phase {
    /// It gets its calls and is watched.
    Watched,
    /// Its time under watch has passed; on trial it stays until it is promoted or rolled back.
    Passed,
    /// It has the place for good, until the next swap.
    Kept,
    /// It is gone, and the one before it serves again.
    RolledBack {
        /// Why.
        why: String,
    },
    /// Another swap came before it was decided.
    Superseded,
}

/// What a swap did.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SwapReport {
    /// The component.
    pub component: String,
    /// The hash of its new file.
    pub digest: String,
    /// What was replaced: the component itself, and those that it is fused into; with the generations before and after.
    pub replaced: Vec<(String, u64, u64)>,
    /// What became of it.
    #[serde(flatten)]
    pub phase: Phase,
    /// Whether it is on trial.
    pub on_trial: bool,
    /// How long each stage took, in microseconds, in order.
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

/// A component that a swap gave another generation.
#[derive(Clone)]
struct Replacement {
    deployment: Arc<Deployment>,
    old: Arc<Generation>,
    new: Arc<Generation>,
}

/// Swaps components of a running application.
pub struct Swapper {
    loaded: Arc<Loaded>,
    before: BeforeSwap,
    /// One swap is prepared at a time.
    preparing: Mutex<()>,
    count: AtomicU64,
    /// The last swap of each component.
    swaps: Mutex<BTreeMap<String, Swap>>,
}

impl Swapper {
    /// For an application.
    pub fn new(loaded: Arc<Loaded>, before: BeforeSwap) -> Arc<Self> {
        Arc::new(Self {
            loaded,
            before,
            preparing: Mutex::default(),
            count: AtomicU64::new(0),
            swaps: Mutex::default(),
        })
    }

    /// What is swapped.
    pub fn loaded(&self) -> &Arc<Loaded> {
        &self.loaded
    }

    /// Puts another file in a component's place. It blocks until that gets calls, or is refused.
    pub fn swap(self: &Arc<Self>, request: SwapRequest) -> anyhow::Result<SwapReport> {
        let Ok(_alone) = self.preparing.lock() else {
            bail!("an earlier swap ended in a panic; start the shop again");
        };
        let (component, mut stages) = (request.component.clone(), StageTimes::new());
        let trial = trial(&request)?;
        let affected = self.affected(&component)?;
        self.refuse_open_trials(&component, &affected)?;
        let file = Arc::new(WasmFile::read(&request.file)?);
        stages.ended("read");
        let made = self.make(&component, &file, &affected, &mut stages)?;
        (self.before)(&component, &file)?;
        stages.ended("before");
        if let Err(error) = self.warm(&made) {
            self.retire(&made, |one| (&one.new, None));
            return Err(error.context(format!("`{component}` does not start")));
        }
        stages.ended("warm");
        self.publish(&made, trial.as_ref());
        stages.ended("publish");
        tracing::info!(component, digest = %file.digest, trial = trial.is_some(), "another generation serves");
        let swap = Swap {
            number: self.count.fetch_add(1, Ordering::Relaxed),
            digest: file.digest.clone(),
            replaced: made,
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

    /// Gives what is on trial the place.
    pub fn promote(&self, component: &str) -> anyhow::Result<SwapReport> {
        let mut swaps = self.swaps()?;
        let swap = open_swap(&mut swaps, component)?;
        if !swap.on_trial {
            bail!("`{component}` is not on trial; it has the place already");
        }
        if swap.request.shadow {
            self.warm(&swap.replaced)?;
        }
        self.keep(swap);
        Ok(swap.report())
    }

    /// Goes back to the generation before the last swap.
    pub fn rollback(&self, component: &str, why: &str) -> anyhow::Result<SwapReport> {
        let mut swaps = self.swaps()?;
        let swap = swaps.get_mut(component);
        let swap = swap.with_context(|| format!("`{component}` was not swapped"))?;
        match &swap.phase {
            Phase::RolledBack { why } => bail!("`{component}` was rolled back already: {why}"),
            Phase::Superseded => bail!("another swap came after this one; roll that back"),
            Phase::Watched | Phase::Passed | Phase::Kept => {}
        }
        self.roll_back(swap, why);
        Ok(swap.report())
    }

    /// What became of the last swap of a component.
    pub fn report(&self, component: &str) -> anyhow::Result<Option<SwapReport>> {
        Ok(self.swaps()?.get(component).map(Swap::report))
    }

    fn swaps(&self) -> anyhow::Result<MutexGuard<'_, BTreeMap<String, Swap>>> {
        let swaps = self.swaps.lock();
        swaps.map_err(|_| anyhow::anyhow!("an earlier swap ended in a panic; start the shop again"))
    }

    /// Nothing of it may be on trial already.
    fn refuse_open_trials(
        &self,
        component: &str,
        affected: &[Arc<Deployment>],
    ) -> anyhow::Result<()> {
        for deployment in affected {
            if let Some(trial) = &deployment.traffic().trial {
                bail!(
                    "generation {} of `{}` is on trial: first localmart promote or rollback it, then swap `{component}`",
                    trial.generation.number(),
                    deployment.id
                );
            }
        }
        Ok(())
    }

    /// Makes an instance of each new generation on every core.
    fn warm(&self, made: &[Replacement]) -> anyhow::Result<()> {
        let warming = made
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
    ) -> impl Future<Output = Result<(), String>> + use<> {
        let waiting: Mutex<Vec<_>> = Mutex::default();
        self.loaded.send_to_all(|| {
            let (done, made) = oneshot::channel();
            if let Ok(mut waiting) = waiting.lock() {
                waiting.push(made);
            }
            CoreCommand::Warm(deployment.clone(), generation.clone(), done)
        });
        let waiting = waiting.into_inner().unwrap_or_default();
        async move {
            for made in waiting {
                // A core that has ended has nothing to warm.
                made.await.unwrap_or(Ok(()))?;
            }
            Ok(())
        }
    }

    /// From now on calls go to the new generations, or to both.
    fn publish(&self, made: &[Replacement], trial: Option<&TrialRule>) {
        for one in made {
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
            self.retire(made, |one| (&one.old, None));
        }
    }

    fn retire(
        &self,
        made: &[Replacement],
        who: impl Fn(&Replacement) -> (&Arc<Generation>, Option<&Arc<Generation>>),
    ) {
        for one in made {
            let (gone, instead) = who(one);
            self.loaded.send_to_all(|| {
                CoreCommand::Retire(one.deployment.clone(), gone.clone(), instead.cloned())
            });
        }
    }

    /// What is new keeps the place.
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
        tracing::info!(component = swap.request.component, "a generation was kept");
    }

    /// What was before serves again; calls that nobody has seen yet go there.
    fn roll_back(&self, swap: &mut Swap, why: &str) {
        self.end_trial(swap);
        if !swap.on_trial {
            let back = swap.replaced.iter().map(|one| Replacement {
                deployment: one.deployment.clone(),
                old: one.new.clone(),
                new: one.old.clone(),
            });
            // Where it cannot be warmed it serves all the same: what it replaces is worse.
            if let Err(error) = self.warm(&back.collect::<Vec<_>>()) {
                tracing::warn!(
                    error = format!("{error:#}"),
                    "the generation before starts cold"
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

    /// Whether both gave the same component another generation.
    fn overlaps(&self, other: &Self) -> bool {
        self.replaced.iter().any(|one| {
            other
                .replaced
                .iter()
                .any(|two| Arc::ptr_eq(&one.deployment, &two.deployment))
        })
    }
}

/// A swap that is not decided yet.
fn open_swap<'s>(
    swaps: &'s mut BTreeMap<String, Swap>,
    component: &str,
) -> anyhow::Result<&'s mut Swap> {
    let swap = swaps.get_mut(component);
    let swap = swap.with_context(|| format!("`{component}` was not swapped"))?;
    match &swap.phase {
        Phase::Watched | Phase::Passed => Ok(swap),
        Phase::Kept => bail!("`{component}` has the place already"),
        Phase::RolledBack { why } => bail!("`{component}` was rolled back: {why}"),
        Phase::Superseded => bail!("another swap came after this one"),
    }
}

/// Which calls go to what is on trial.
struct TrialRule {
    share: u32,
    header: Option<(HeaderName, HeaderValue)>,
    shadow: bool,
}

/// `None` if the new one gets all calls.
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
    // A shadow sees all calls, unless it is to see fewer.
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
