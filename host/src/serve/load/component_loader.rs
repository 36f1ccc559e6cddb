//! Turns wasm files into components that can be instantiated, at start-up and for each swap: read, compile or load from
//! the cache, link, and check every import.

use super::check_links as check;
use super::entry_points;
use crate::aot::{AotCache, Compiled};
use crate::app::ComponentSpec;
use crate::capability::key_value::KeyValue;
use crate::capability::points::Points;
use crate::capability::postgres::pool::Member;
use crate::capability::sqlite::Databases;
use crate::capability::state::{Code, HostState, LoadedComponent, Servers};
use crate::clock::Clock;
use crate::compose::ComposeError;
use crate::fault::Faults;
use crate::link::binding::Binding;
use crate::link::fuse::LinkError;
use crate::manifest::{ManifestError, Source};
use crate::metrics::Metrics;
use crate::policy::Policies;
use crate::recipe::{Recipe, RecipeInput, WasmFile};
use crate::remote::provider::Provider;
use crate::serve::chain::Cores;
use crate::serve::stub;
use crate::wiring::plan::{self, DeploymentPlan, standalone_file};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use wasmtime::Engine;
use wasmtime::component::{Component, Linker};

/// Everything that compiling and linking needs, except for the wasm file itself.
pub struct ComponentLoader {
    pub(in crate::serve) engine: Engine,
    pub(super) policies: Policies,
    pub(super) remotes: BTreeMap<String, Provider>,
    pub(super) linker: Linker<HostState>,
    pub(super) cache: AotCache,
    pub(super) source: Source,
    /// The folder with the copied files of each component. All generations of a component share it.
    pub(super) mounted: BTreeMap<String, Option<PathBuf>>,
    pub(super) databases: Databases,
    pub(super) key_value: KeyValue,
    pub(super) servers: Arc<Servers>,
    pub(super) faults: Arc<Faults>,
    pub(super) points: Arc<Points>,
    pub(super) clock: Clock,
    pub(super) max_memory: usize,
    pub(super) metrics: Metrics,
    /// All components of the application.
    pub(super) specs: BTreeMap<String, ComponentSpec>,
    /// The components that run in their own instances.
    pub(super) plans: BTreeMap<String, DeploymentPlan>,
    /// The position and text of the routes of each component.
    pub(super) routes: BTreeMap<String, Vec<(usize, String)>>,
}

/// Wasm files by component id.
pub type Files = BTreeMap<String, Arc<WasmFile>>;

/// A component that is compiled and not linked yet.
pub struct UnlinkedComponent {
    /// The id of the component.
    pub id: String,
    /// The inputs that it was compiled from.
    pub recipe: Recipe,
    /// Its machine code.
    pub compiled: Compiled,
}

impl ComponentLoader {
    /// The components that run in their own instances, with what is fused into them.
    pub fn plans(&self) -> &BTreeMap<String, DeploymentPlan> {
        &self.plans
    }

    /// The resolved manifest entry of a component.
    pub fn spec(&self, id: &str) -> Option<&ComponentSpec> {
        self.specs.get(id)
    }

    /// Reads the wasm files of all components that run.
    pub fn read(&self) -> anyhow::Result<Files> {
        let mut files = Files::new();
        for plan in self.plans.values() {
            for id in std::iter::once(&plan.spec.id).chain(&plan.fused) {
                if !files.contains_key(id)
                    && let Some(spec) = self.specs.get(id)
                {
                    files.insert(
                        id.clone(),
                        Arc::new(WasmFile::read(&self.file(plan, spec)?)?),
                    );
                }
            }
            for plug in plan.spec.composition.plugs() {
                self.require_file(&plug.name, &plug.wasm, &plug.span)?;
            }
        }
        Ok(files)
    }

    /// The wasm file of a component. This is the standalone file, unless only the fused file exists and it matches the
    /// bindings.
    fn file(&self, plan: &DeploymentPlan, spec: &ComponentSpec) -> Result<PathBuf, ManifestError> {
        let standalone = standalone_file(&spec.wasm);
        let fused_is_enough = plan.as_built && plan.spec.id == spec.id;
        let file = if standalone.is_file() || !fused_is_enough {
            standalone
        } else {
            spec.wasm.clone()
        };
        self.require_file(&spec.id, &file, &spec.source_span)?;
        Ok(file)
    }

    fn require_file(
        &self,
        name: &str,
        wasm: &Path,
        span: &std::ops::Range<usize>,
    ) -> Result<(), ManifestError> {
        if wasm.is_file() {
            return Ok(());
        }
        let message = format!("`{name}` has no file {}", wasm.display());
        let help = "build it: localmart build";
        Err(self.source.error(span.clone(), message, "not found", help))
    }

    /// Compiles a component from wasm files, or loads it from the cache.
    pub fn prepare(
        &self,
        plan: &DeploymentPlan,
        files: &Files,
    ) -> anyhow::Result<UnlinkedComponent> {
        let id = &plan.spec.id;
        let failed = |error: anyhow::Error| self.failed(plan, &error);
        let input = |id: &String| {
            let (file, spec) = (files.get(id)?.clone(), self.specs.get(id)?);
            // A file that already contains its links is used as it is.
            let whole = file.path == spec.wasm && standalone_file(&spec.wasm) != spec.wasm;
            let links = spec
                .links
                .iter()
                .filter(|link| !whole && plan.fused.contains(*link));
            let outside =
                |link: &&String| plan.local.contains(*link) || plan.remote.contains(*link);
            let unfused = spec.links.iter().filter(outside);
            Some(RecipeInput {
                id: id.clone(),
                file,
                links: links.cloned().collect(),
                unfused: unfused.cloned().collect(),
            })
        };
        let root = input(id).ok_or_else(|| anyhow::anyhow!("`{id}` has no file"))?;
        let fused = plan.fused.iter().filter(|_| !root.links.is_empty());
        let fused = fused.filter_map(input).collect();
        let recipe = Recipe::new(root, fused, plan.spec.composition.clone()).map_err(failed)?;
        let engine = self.engine_of(plan);
        let compiled = self.cache.load(engine, &recipe).map_err(failed)?;
        Ok(UnlinkedComponent {
            id: id.clone(),
            recipe,
            compiled,
        })
    }

    /// The engine that runs a component.
    pub(in crate::serve) fn engine_of(&self, plan: &DeploymentPlan) -> &Engine {
        match plan.spec.policy {
            Some(_) => self.policies.engine(),
            None => &self.engine,
        }
    }

    fn failed(&self, plan: &DeploymentPlan, error: &anyhow::Error) -> anyhow::Error {
        let spec = &plan.spec;
        let plug = error.downcast_ref::<ComposeError>();
        let plug = plug.and_then(|error| error.span.clone());
        let (span, label, help) = match plug {
            Some(span) => (span, "here", "see docs/reference/manifest.md"),
            None if error.is::<LinkError>() => {
                let help = "localmart explain lists the possible providers";
                (spec.tool_span.clone(), "these links", help)
            }
            None => {
                let help = "build it again: localmart build";
                (spec.source_span.clone(), "here", help)
            }
        };
        let message = format!("`{}` cannot be loaded: {error:#}", spec.id);
        self.source.error(span, message, label, help).into()
    }

    /// Links a compiled component. `provider` finds the compiled component for a callee.
    pub fn link<'p>(
        &self,
        prepared: UnlinkedComponent,
        generation: u64,
        provider: &dyn Fn(&str) -> Option<CompiledComponent<'p>>,
    ) -> anyhow::Result<LoadedComponent> {
        let plan = self.plans.get(&prepared.id);
        let plan = plan.ok_or_else(|| anyhow::anyhow!("`{}` does not run", prepared.id))?;
        let (spec, component) = (plan.spec.clone(), prepared.compiled.component);
        let id: Arc<str> = spec.id.as_str().into();
        let code = self.code(plan, (&id, &component, &prepared.recipe), provider)?;
        let entry_points = match &code {
            Code::Component(pre) => entry_points::find(&self.engine, pre, &spec, &self.source)?,
            Code::Policy(..) => entry_points::of_policy(self.policies.engine(), &component),
        };
        let databases = self.databases.iter();
        let databases = databases.filter(|(label, _)| spec.sqlite_databases.contains_key(*label));
        let routes = self.routes.get(&spec.id).into_iter().flatten();
        let routes = routes.map(|(place, text)| {
            let metrics = self.metrics.route(&spec.id, generation, text);
            (*place, metrics)
        });
        Ok(LoadedComponent {
            engine: self.engine_of(plan).clone(),
            generation,
            code,
            entry_points,
            servers: self.servers.clone(),
            databases: databases
                .map(|(label, database)| (label.clone(), database.clone()))
                .collect(),
            key_value: self.key_value.clone(),
            files: self.mounted.get(&spec.id).cloned().flatten(),
            faults: self.faults.clone(),
            points: self.points.clone(),
            clock: self.clock.clone(),
            inside: &Cores,
            allowed_hosts: spec.allowed_hosts.clone().into(),
            max_memory: self.max_memory,
            postgres: Member {
                component: id.clone(),
                level: plan::level(&self.plans, &id),
            },
            metrics: self.metrics.component(&spec.id, generation),
            routes: routes.collect(),
            recipe: prepared.recipe,
            promises: OnceLock::new(),
            component,
            id,
            spec,
        })
    }

    /// Links a component to the host and to its callees. A policy gets no host interfaces.
    fn code<'p>(
        &self,
        plan: &DeploymentPlan,
        (id, component, recipe): (&Arc<str>, &Component, &Recipe),
        provider: &dyn Fn(&str) -> Option<CompiledComponent<'p>>,
    ) -> Result<Code, ManifestError> {
        let spec = &plan.spec;
        if let Some(limits) = spec.policy {
            let linked = self.policies.link(component).map_err(|reason| {
                let message = format!("`{id}` is not a policy: {reason}");
                let help =
                    "a policy may import only the WASI interfaces that its language runtime needs";
                self.source
                    .error(spec.tool_span.clone(), message, "declared here", help)
            })?;
            return Ok(Code::Policy(linked, limits));
        }
        let mut linker = self.linker.clone();
        self.define_stubs(&mut linker, plan, (id, component, recipe), provider)?;
        let linked = linker.instantiate_pre(component).map_err(|error| {
            entry_points::missing_import(&self.engine, component, spec, &self.source, &error)
        })?;
        Ok(Code::Component(linked))
    }

    /// Defines stubs for the imports that other components answer, and records the binding of each link.
    fn define_stubs<'p>(
        &self,
        linker: &mut Linker<HostState>,
        plan: &DeploymentPlan,
        (id, component, recipe): (&Arc<str>, &Component, &Recipe),
        provider: &dyn Fn(&str) -> Option<CompiledComponent<'p>>,
    ) -> Result<(), ManifestError> {
        let wrong = |message: String, help: &str| {
            let span = plan.spec.tool_span.clone();
            self.source.error(span, message, "these links", help)
        };
        for callee in &plan.spec.links {
            if plan.fused.contains(callee) {
                self.metrics.set_binding(id, callee, Binding::Fused);
            }
        }
        let imports = check::imports(&self.engine, component);
        for callee in &plan.remote {
            self.metrics.set_binding(id, callee, Binding::Remote);
            self.define_remote_stubs(linker, (id, component), &imports, callee)
                .map_err(|reason| wrong(reason, "see docs/reference/links.md"))?;
        }
        for callee in &plan.local {
            let policy = self.specs.get(callee).and_then(|spec| spec.policy);
            let binding = policy.map_or(Binding::Isolated, |_| Binding::Policy);
            self.metrics.set_binding(id, callee, binding);
            let Some(provider) = provider(callee) else {
                continue;
            };
            let mut used = false;
            for import in &imports {
                let Some(export) = check::best(&self.engine, provider.component, import) else {
                    continue;
                };
                used = true;
                let consumer = CompiledComponent { component, recipe };
                check::fits(&self.engine, &consumer, import, &provider, &export).map_err(
                    |reason| {
                        let message = format!(
                            "`{id}` imports `{import}`, and `{callee}` exports it with other types: {reason}"
                        );
                        wrong(message, "build both again: localmart build")
                    },
                )?;
                let callee: Arc<str> = callee.as_str().into();
                stub::define(
                    linker,
                    &self.engine,
                    component,
                    import,
                    (id, &callee, binding),
                )
                .map_err(|reason| wrong(reason, "see docs/reference/links.md"))?;
            }
            if !used {
                let message =
                    format!("`{id}` links `{callee}` but imports nothing that it exports");
                return Err(wrong(message, "remove the link"));
            }
        }
        Ok(())
    }
}

impl ComponentLoader {
    /// Defines stubs for the imports that another host or a file answers, after comparing the types.
    fn define_remote_stubs(
        &self,
        linker: &mut Linker<HostState>,
        (id, component): (&Arc<str>, &Component),
        imports: &[String],
        callee: &str,
    ) -> Result<(), String> {
        let remote = self.remotes.get(callee);
        let remote = remote.ok_or_else(|| {
            format!("the address of `{callee}` is unknown: add --remote {callee}=http://host:port")
        })?;
        let answering = |import: &&String| remote.best(import).is_some();
        let mut answered = imports.iter().filter(answering).peekable();
        if answered.peek().is_none() {
            let place = match remote {
                Provider::Host(_) => "on the other host exports",
                Provider::File(_) => "in the file of answers has",
            };
            return Err(format!("`{callee}` {place} nothing that `{id}` imports"));
        }
        for import in answered {
            let interface = remote.best(import).unwrap_or_default();
            for function in check::functions(&self.engine, component, import) {
                remote.fits(interface, &function).map_err(|reason| {
                    format!("`{id}` imports `{import}` of `{callee}`, which does not run here, but {reason}")
                })?;
            }
            let callee: Arc<str> = callee.into();
            let (engine, link) = (&self.engine, (id, &callee, Binding::Remote));
            stub::define(linker, engine, component, import, link)?;
        }
        Ok(())
    }
}

/// A compiled component and its inputs, for checks between caller and callee.
#[derive(Clone, Copy)]
pub struct CompiledComponent<'p> {
    /// The compiled component, for its types.
    pub component: &'p Component,
    /// Its inputs, to say exactly what differs.
    pub recipe: &'p Recipe,
}
