//! Makes components that can be instantiated, when the host starts and when one is swapped: read, compile or load, link, check
//! every import.

use super::entrances;
use crate::aot::{AotCache, Compiled};
use crate::app::ComponentSpec;
use crate::capability::key_value::KeyValue;
use crate::capability::points::Points;
use crate::capability::sqlite::Databases;
use crate::clock::Clock;
use crate::compose::ComposeError;
use crate::fault::Faults;
use crate::link::binding::Binding;
use crate::link::plan::{Unit, part};
use crate::link::{check, cross, fuse::LinkError};
use crate::manifest::{ManifestError, Source};
use crate::metrics::Metrics;
use crate::policy::Policies;
use crate::recipe::{File, Ingredient, Recipe};
use crate::remote::client::Remote;
use crate::state::{Code, HostState, LoadedComponent, Servers};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use wasmtime::Engine;
use wasmtime::component::{Component, Linker};

/// What making a component takes, beside its file.
pub struct Maker {
    pub(in crate::serve) engine: Engine,
    pub(super) policies: Policies,
    pub(super) remotes: BTreeMap<String, Remote>,
    pub(super) linker: Linker<HostState>,
    pub(super) cache: AotCache,
    pub(super) source: Source,
    /// The folder with the files of each, if it has any: all its generations read the same.
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
    /// Those that run by themselves.
    pub(super) units: BTreeMap<String, Unit>,
    /// The routes that each answers: their places, and their texts.
    pub(super) routes: BTreeMap<String, Vec<(usize, String)>>,
}

/// The files of components, by id.
pub type Files = BTreeMap<String, Arc<File>>;

/// A component that is compiled and not linked yet.
pub struct Prepared {
    /// Which one.
    pub id: String,
    /// What it is made of.
    pub recipe: Recipe,
    /// Its machine code.
    pub compiled: Compiled,
}

impl Maker {
    /// The components that run by themselves, and what is inside them.
    pub fn units(&self) -> &BTreeMap<String, Unit> {
        &self.units
    }

    /// What the manifest says of a component.
    pub fn spec(&self, id: &str) -> Option<&ComponentSpec> {
        self.specs.get(id)
    }

    /// Reads the files of all components that run.
    pub fn read(&self) -> anyhow::Result<Files> {
        let mut files = Files::new();
        for unit in self.units.values() {
            for id in std::iter::once(&unit.spec.id).chain(&unit.inside) {
                if !files.contains_key(id)
                    && let Some(spec) = self.specs.get(id)
                {
                    files.insert(id.clone(), Arc::new(File::read(&self.file(unit, spec)?)?));
                }
            }
            for plug in unit.spec.composition.plugs() {
                self.expect(&plug.name, &plug.wasm, &plug.span)?;
            }
        }
        Ok(files)
    }

    /// Where the file of a component is: without its links, if it has any, unless that is nowhere and the fused one will do.
    fn file(&self, unit: &Unit, spec: &ComponentSpec) -> Result<PathBuf, ManifestError> {
        let part = part(&spec.wasm);
        let fused_will_do = unit.as_built && unit.spec.id == spec.id;
        let file = if part.is_file() || !fused_will_do {
            part
        } else {
            spec.wasm.clone()
        };
        self.expect(&spec.id, &file, &spec.source_span)?;
        Ok(file)
    }

    fn expect(
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

    /// Compiles a component out of files, or loads what was compiled before.
    pub fn prepare(&self, unit: &Unit, files: &Files) -> anyhow::Result<Prepared> {
        let id = &unit.spec.id;
        let failed = |error: anyhow::Error| self.failed(unit, &error);
        let ingredient = |id: &String| {
            let (file, spec) = (files.get(id)?.clone(), self.specs.get(id)?);
            // A file that has its links inside already is taken as it is.
            let whole = file.path == spec.wasm && part(&spec.wasm) != spec.wasm;
            let links = spec
                .links
                .iter()
                .filter(|link| !whole && unit.inside.contains(*link));
            let outside = |link: &&String| unit.across.contains(*link) || unit.away.contains(*link);
            let across = spec.links.iter().filter(outside);
            Some(Ingredient {
                id: id.clone(),
                file,
                links: links.cloned().collect(),
                across: across.cloned().collect(),
            })
        };
        let root = ingredient(id).ok_or_else(|| anyhow::anyhow!("`{id}` has no file"))?;
        let inside = unit.inside.iter().filter(|_| !root.links.is_empty());
        let inside = inside.filter_map(ingredient).collect();
        let recipe = Recipe::new(root, inside, unit.spec.composition.clone()).map_err(failed)?;
        let engine = self.engine_of(unit);
        let compiled = self.cache.load(engine, &recipe).map_err(failed)?;
        Ok(Prepared {
            id: id.clone(),
            recipe,
            compiled,
        })
    }

    /// The engine that a component runs in.
    pub(in crate::serve) fn engine_of(&self, unit: &Unit) -> &Engine {
        match unit.spec.policy {
            Some(_) => self.policies.engine(),
            None => &self.engine,
        }
    }

    fn failed(&self, unit: &Unit, error: &anyhow::Error) -> anyhow::Error {
        let spec = &unit.spec;
        let plug = error.downcast_ref::<ComposeError>();
        let plug = plug.and_then(|error| error.span.clone());
        let (span, label, help) = match plug {
            Some(span) => (span, "here", "see docs/reference/manifest.md"),
            None if error.is::<LinkError>() => {
                let help = "localmart explain says which providers there are";
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

    /// Links what was compiled. `provider` knows the components that others call across.
    pub fn link<'p>(
        &self,
        prepared: Prepared,
        generation: u64,
        provider: &dyn Fn(&str) -> Option<Provider<'p>>,
    ) -> anyhow::Result<LoadedComponent> {
        let unit = self.units.get(&prepared.id);
        let unit = unit.ok_or_else(|| anyhow::anyhow!("`{}` does not run", prepared.id))?;
        let (spec, component) = (unit.spec.clone(), prepared.compiled.component);
        let id: Arc<str> = spec.id.as_str().into();
        let code = self.code(unit, (&id, &component, &prepared.recipe), provider)?;
        let entrances = match &code {
            Code::Component(pre) => entrances::find(&self.engine, pre, &spec, &self.source)?,
            Code::Policy(..) => entrances::of_policy(self.policies.engine(), &component),
        };
        let databases = self.databases.iter();
        let databases = databases.filter(|(label, _)| spec.sqlite_databases.contains_key(*label));
        let routes = self.routes.get(&spec.id).into_iter().flatten();
        let routes = routes.map(|(place, text)| {
            let metrics = self.metrics.route(&spec.id, generation, text);
            (*place, metrics)
        });
        Ok(LoadedComponent {
            engine: self.engine_of(unit).clone(),
            generation,
            code,
            entrances,
            servers: self.servers.clone(),
            databases: databases
                .map(|(label, database)| (label.clone(), database.clone()))
                .collect(),
            key_value: self.key_value.clone(),
            files: self.mounted.get(&spec.id).cloned().flatten(),
            faults: self.faults.clone(),
            points: self.points.clone(),
            clock: self.clock.clone(),
            allowed_hosts: spec.allowed_hosts.clone().into(),
            max_memory: self.max_memory,
            postgres_share: self.servers.postgres.share(),
            metrics: self.metrics.component(&spec.id, generation),
            routes: routes.collect(),
            recipe: prepared.recipe,
            promises: OnceLock::new(),
            component,
            id,
            spec,
        })
    }

    /// Links a component to the host and to whom it calls across, or a policy to nothing.
    fn code<'p>(
        &self,
        unit: &Unit,
        (id, component, recipe): (&Arc<str>, &Component, &Recipe),
        provider: &dyn Fn(&str) -> Option<Provider<'p>>,
    ) -> Result<Code, ManifestError> {
        let spec = &unit.spec;
        if let Some(limits) = spec.policy {
            let linked = self.policies.link(component).map_err(|reason| {
                let message = format!("`{id}` is no policy: {reason}");
                let help = "a policy imports nothing but what its language insists on";
                self.source
                    .error(spec.tool_span.clone(), message, "declared here", help)
            })?;
            return Ok(Code::Policy(linked, limits));
        }
        let mut linker = self.linker.clone();
        self.answer(&mut linker, unit, (id, component, recipe), provider)?;
        let linked = linker.instantiate_pre(component).map_err(|error| {
            entrances::unanswered(&self.engine, component, spec, &self.source, &error)
        })?;
        Ok(Code::Component(linked))
    }

    /// Answers the imports that are called across, and says how every link is bound.
    fn answer<'p>(
        &self,
        linker: &mut Linker<HostState>,
        unit: &Unit,
        (id, component, recipe): (&Arc<str>, &Component, &Recipe),
        provider: &dyn Fn(&str) -> Option<Provider<'p>>,
    ) -> Result<(), ManifestError> {
        let wrong = |message: String, help: &str| {
            let span = unit.spec.tool_span.clone();
            self.source.error(span, message, "these links", help)
        };
        for callee in &unit.spec.links {
            if unit.inside.contains(callee) {
                self.metrics.bound(id, callee, Binding::Fused);
            }
        }
        let imports = check::imports(&self.engine, component);
        for callee in &unit.away {
            self.metrics.bound(id, callee, Binding::Remote);
            self.answer_remotely(linker, (id, component), &imports, callee)
                .map_err(|reason| wrong(reason, "see docs/reference/links.md"))?;
        }
        for callee in &unit.across {
            let policy = self.specs.get(callee).and_then(|spec| spec.policy);
            let binding = policy.map_or(Binding::Isolated, |_| Binding::Policy);
            self.metrics.bound(id, callee, binding);
            let Some(provider) = provider(callee) else {
                continue;
            };
            let mut used = false;
            for import in &imports {
                let Some(export) = check::best(&self.engine, provider.component, import) else {
                    continue;
                };
                used = true;
                let consumer = Provider { component, recipe };
                check::fits(&self.engine, &consumer, import, &provider, &export).map_err(
                    |reason| {
                        let message = format!(
                            "`{id}` imports `{import}`, and `{callee}` exports it with other types: {reason}"
                        );
                        wrong(message, "build both again: localmart build")
                    },
                )?;
                let callee: Arc<str> = callee.as_str().into();
                cross::answer(
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

impl Maker {
    /// Answers the imports that a component of another host has, if it has them as they are imported.
    fn answer_remotely(
        &self,
        linker: &mut Linker<HostState>,
        (id, component): (&Arc<str>, &Component),
        imports: &[String],
        callee: &str,
    ) -> Result<(), String> {
        let remote = self.remotes.get(callee);
        let remote = remote.ok_or_else(|| {
            format!("nobody said where `{callee}` is: --remote {callee}=http://host:port")
        })?;
        let answering = |import: &&String| remote.best(import).is_some();
        let mut answered = imports.iter().filter(answering).peekable();
        if answered.peek().is_none() {
            return Err(format!(
                "`{callee}` there exports nothing that `{id}` imports"
            ));
        }
        for import in answered {
            let interface = remote.best(import).unwrap_or_default();
            for (name, shape) in check::shapes(&self.engine, component, import) {
                remote.fits(interface, &name, &shape).map_err(|reason| {
                    format!("`{id}` imports `{import}` of `{callee}` in another host, but {reason}")
                })?;
            }
            let callee: Arc<str> = callee.into();
            let (engine, link) = (&self.engine, (id, &callee, Binding::Remote));
            cross::answer(linker, engine, component, import, link)?;
        }
        Ok(())
    }
}

/// A component that is compiled, and what it was made of.
#[derive(Clone, Copy)]
pub struct Provider<'p> {
    /// Its types.
    pub component: &'p Component,
    /// Its bytes, to say exactly what differs.
    pub recipe: &'p Recipe,
}
