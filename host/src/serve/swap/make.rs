//! Makes what a swap brings: compiles and links the new generations of a component and of those that it is fused into, and
//! checks those who call them.

use super::{Replaced, Swapper};
use crate::link::check;
use crate::recipe::{File, Recipe};
use crate::serve::load::maker::{Files, Maker, Provider};
use crate::serve::unit::{Generation, Unit};
use anyhow::{Context as _, bail};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use wasmtime::component::Component;

impl Swapper {
    /// The components that get another generation: the one itself, and those that it is fused into.
    pub(super) fn affected(&self, component: &str) -> anyhow::Result<Vec<Arc<Unit>>> {
        let units = self.loaded.maker.units().values();
        let concerned = units.filter(|unit| {
            unit.spec.id == component
                || unit.spec.named == component
                || unit.inside.contains(component)
        });
        let affected = concerned.filter_map(|unit| self.loaded.units.get(&unit.spec.id).cloned());
        let affected: Vec<Arc<Unit>> = affected.collect();
        if affected.is_empty() {
            let known: Vec<&str> = self.loaded.units.keys().map(String::as_str).collect();
            bail!(
                "there is no component `{component}` here; there are {}",
                known.join(", ")
            );
        }
        Ok(affected)
    }

    /// Compiles and links the new generations, and checks those who call them.
    pub(super) fn make(
        &self,
        component: &str,
        file: &Arc<File>,
        affected: &[Arc<Unit>],
        stages: &mut Stages,
    ) -> anyhow::Result<Vec<Replaced>> {
        let maker = &self.loaded.maker;
        let mut prepared = Vec::new();
        for unit in affected {
            let old = unit.stable();
            let mut files = files(&old);
            let id = if old.component.spec.named == component {
                unit.id.to_string()
            } else {
                component.to_owned()
            };
            files.insert(id, file.clone());
            prepared.push(in_background(|| maker.prepare(plan(maker, unit)?, &files))?);
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
            .units
            .iter()
            .map(|(id, unit)| (id, unit.stable()))
            .collect();
        let provider = |id: &str| match new.get(id) {
            Some((component, recipe)) => Some(Provider { component, recipe }),
            None => {
                let generation = stable.iter().find(|(known, _)| **known == id);
                generation.map(|(_, generation)| Provider {
                    component: &generation.component.component,
                    recipe: &generation.component.recipe,
                })
            }
        };
        for unit in self
            .loaded
            .units
            .values()
            .filter(|unit| !new.contains_key(&*unit.id))
        {
            self.check_caller(unit, &provider, &new)?;
        }
        let mut made = Vec::new();
        for (unit, prepared) in affected.iter().zip(prepared) {
            let generation = maker.link(prepared, unit.next_number(), &provider)?;
            made.push(Replaced {
                unit: unit.clone(),
                old: unit.stable(),
                new: Arc::new(Generation::new(generation)),
            });
        }
        stages.ended("check and link");
        Ok(made)
    }

    /// Whoever calls what is new across must find what it imports.
    fn check_caller<'p>(
        &self,
        caller: &Unit,
        provider: &dyn Fn(&str) -> Option<Provider<'p>>,
        new: &BTreeMap<String, (Component, Recipe)>,
    ) -> anyhow::Result<()> {
        let engine = &self.loaded.maker.engine;
        let generation = caller.stable();
        let consumer = Provider {
            component: &generation.component.component,
            recipe: &generation.component.recipe,
        };
        let across = &plan(&self.loaded.maker, caller)?.across;
        for callee in across.iter().filter(|callee| new.contains_key(*callee)) {
            let (Some(offered), Some(before)) = (provider(callee), self.loaded.units.get(callee))
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
                    bail!("it does not export `{import}`, which `{who}` imports of `{callee}`");
                };
                let fits = check::fits(engine, &consumer, &import, &offered, &export);
                fits.map_err(|reason| {
                    let who = &caller.id;
                    anyhow::anyhow!("it exports `{export}` with other types than `{who}` imports of `{callee}`: {reason}")
                })?;
            }
        }
        Ok(())
    }
}

fn plan<'m>(maker: &'m Maker, unit: &Unit) -> anyhow::Result<&'m crate::link::plan::Unit> {
    let plan = maker.units().get(&*unit.id);
    plan.with_context(|| format!("`{}` does not run", unit.id))
}

/// The files that a generation was made of.
fn files(generation: &Generation) -> Files {
    let recipe = &generation.component.recipe;
    let all = std::iter::once(&recipe.root).chain(&recipe.inside);
    all.map(|one| (one.id.clone(), one.file.clone())).collect()
}

/// Runs work that takes a processor for long, on a thread that lets those who serve go first.
fn in_background<R: Send>(work: impl FnOnce() -> anyhow::Result<R> + Send) -> anyhow::Result<R> {
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(1)
        .start_handler(|_| crate::engine::lower_priority())
        .build();
    pool.context("starting a thread that compiles")?
        .install(work)
}

/// How long the stages of a swap take.
pub(super) struct Stages {
    since: Instant,
    pub(super) done: Vec<(String, u64)>,
}

impl Stages {
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
