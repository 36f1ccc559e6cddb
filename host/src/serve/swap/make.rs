//! Compiles and links the new generations of a swap, and checks their callers.

use super::{Replacement, Swapper};
use crate::recipe::{Recipe, WasmFile};
use crate::serve::deployment::{Deployment, Generation};
use crate::serve::load::check_links as check;
use crate::serve::load::component_loader::{CompiledComponent, ComponentLoader, Files};
use anyhow::{Context as _, bail};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use wasmtime::component::Component;

impl Swapper {
    /// The components that get a new generation: the component itself, and every component that it is fused into.
    pub(super) fn affected(&self, component: &str) -> anyhow::Result<Vec<Arc<Deployment>>> {
        let plans = self.loaded.loader.plans().values();
        let concerned = plans.filter(|plan| {
            plan.spec.id == component
                || plan.spec.manifest_id == component
                || plan.fused.contains(component)
        });
        let affected =
            concerned.filter_map(|plan| self.loaded.deployments.get(&plan.spec.id).cloned());
        let affected: Vec<Arc<Deployment>> = affected.collect();
        if affected.is_empty() {
            let known: Vec<&str> = self.loaded.deployments.keys().map(String::as_str).collect();
            bail!(
                "there is no component `{component}` here; known components: {}",
                known.join(", ")
            );
        }
        Ok(affected)
    }

    /// Compiles and links the new generations, and checks their callers.
    pub(super) fn make(
        &self,
        component: &str,
        file: &Arc<WasmFile>,
        affected: &[Arc<Deployment>],
        stages: &mut StageTimes,
    ) -> anyhow::Result<Vec<Replacement>> {
        let loader = &self.loaded.loader;
        let mut prepared = Vec::new();
        for deployment in affected {
            let old = deployment.stable();
            let mut files = files(&old);
            let id = if old.component.spec.manifest_id == component {
                deployment.id.to_string()
            } else {
                component.to_owned()
            };
            files.insert(id, file.clone());
            prepared.push(in_background(|| {
                loader.prepare(plan(loader, deployment)?, &files)
            })?);
        }
        stages.ended("compile");
        let new: BTreeMap<String, _> = prepared
            .iter()
            .map(|one| {
                let code = (one.compiled.component.clone(), one.recipe.clone());
                (one.id.clone(), code)
            })
            .collect();
        let stable: BTreeMap<&String, Arc<Generation>> = self
            .loaded
            .deployments
            .iter()
            .map(|(id, deployment)| (id, deployment.stable()))
            .collect();
        let provider = |id: &str| match new.get(id) {
            Some((component, recipe)) => Some(CompiledComponent { component, recipe }),
            None => {
                let generation = stable.iter().find(|(known, _)| **known == id);
                generation.map(|(_, generation)| CompiledComponent {
                    component: &generation.component.component,
                    recipe: &generation.component.recipe,
                })
            }
        };
        for deployment in self
            .loaded
            .deployments
            .values()
            .filter(|deployment| !new.contains_key(&*deployment.id))
        {
            self.check_caller(deployment, &provider, &new)?;
        }
        let mut made = Vec::new();
        for (deployment, prepared) in affected.iter().zip(prepared) {
            let generation = loader.link(prepared, deployment.next_number(), &provider)?;
            made.push(Replacement {
                deployment: deployment.clone(),
                old: deployment.stable(),
                new: Arc::new(Generation::new(generation)),
            });
        }
        stages.ended("check and link");
        Ok(made)
    }

    /// Checks that a caller finds its imports in the new generations.
    fn check_caller<'p>(
        &self,
        caller: &Deployment,
        provider: &dyn Fn(&str) -> Option<CompiledComponent<'p>>,
        new: &BTreeMap<String, (Component, Recipe)>,
    ) -> anyhow::Result<()> {
        let engine = &self.loaded.loader.engine;
        let generation = caller.stable();
        let consumer = CompiledComponent {
            component: &generation.component.component,
            recipe: &generation.component.recipe,
        };
        let local = &plan(&self.loaded.loader, caller)?.local;
        for callee in local.iter().filter(|callee| new.contains_key(*callee)) {
            let (Some(offered), Some(before)) =
                (provider(callee), self.loaded.deployments.get(callee))
            else {
                continue;
            };
            let before = before.stable();
            let answered = |import: &String| {
                check::best(engine, &before.component.component, import).is_some()
            };
            let imports = check::imports(engine, consumer.component).into_iter();
            for import in imports.filter(answered) {
                let export = check::best(engine, offered.component, &import);
                let Some(export) = export else {
                    let who = &caller.id;
                    bail!("it does not export `{import}`, which `{who}` imports from `{callee}`");
                };
                let fits = check::fits(engine, &consumer, &import, &offered, &export);
                fits.map_err(|reason| {
                    let who = &caller.id;
                    anyhow::anyhow!("it exports `{export}` with other types than `{who}` imports from `{callee}`: {reason}")
                })?;
            }
        }
        Ok(())
    }
}

fn plan<'m>(
    loader: &'m ComponentLoader,
    deployment: &Deployment,
) -> anyhow::Result<&'m crate::wiring::plan::DeploymentPlan> {
    let plan = loader.plans().get(&*deployment.id);
    plan.with_context(|| format!("`{}` does not run", deployment.id))
}

/// The wasm files that a generation was compiled from.
fn files(generation: &Generation) -> Files {
    let recipe = &generation.component.recipe;
    let all = std::iter::once(&recipe.root).chain(&recipe.fused);
    all.map(|one| (one.id.clone(), one.file.clone())).collect()
}

/// Runs long computations on a thread with lower priority than the serving threads.
fn in_background<R: Send>(work: impl FnOnce() -> anyhow::Result<R> + Send) -> anyhow::Result<R> {
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(1)
        .start_handler(|_| crate::engine::lower_priority())
        .build();
    pool.context("starting a compiler thread")?.install(work)
}

/// The duration of each stage of a swap.
pub(super) struct StageTimes {
    since: Instant,
    pub(super) done: Vec<(String, u64)>,
}

impl StageTimes {
    pub(super) fn new() -> Self {
        Self {
            since: Instant::now(),
            done: Vec::new(),
        }
    }

    pub(super) fn ended(&mut self, stage: &str) {
        let time: Duration = self.since.elapsed();
        let us = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.done.push((stage.to_owned(), us));
        self.since = Instant::now();
    }
}
