//! Policies: pure components that decide something for others. They run in an engine of their own that counts instructions, with
//! little memory, no capability and no clock; one that traps, runs away or wants too much costs that decision only.

use crate::limits;
use anyhow::Context as _;
use std::cell::RefCell;
use std::collections::HashMap;
use wasmtime::component::{
    Component, ComponentExportIndex, Func, Instance, InstancePre, Linker, Val,
};
use wasmtime::{Config, Engine, Store, StoreLimits, StoreLimitsBuilder};

/// How much a policy may take for one decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PolicyLimits {
    /// Instructions.
    pub instructions: u64,
    /// Bytes of its linear memory.
    pub memory: usize,
}

impl Default for PolicyLimits {
    fn default() -> Self {
        Self {
            instructions: limits::POLICY_INSTRUCTIONS,
            memory: limits::POLICY_MEMORY_BYTES,
        }
    }
}

/// The engine of all policies.
#[derive(Clone)]
pub struct Policies {
    engine: Engine,
}

impl Policies {
    /// The engine.
    pub fn new() -> anyhow::Result<Self> {
        let mut config = Config::new();
        config.consume_fuel(true);
        let engine = Engine::new(&config).map_err(anyhow::Error::from);
        let engine = engine.context("making the engine of policies")?;
        Ok(Self { engine })
    }

    /// The engine.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Links a policy. The runtimes of some languages import WASI: some of that is answered below, whatever else they ask for is answered with a
    /// trap. The error names what else it imports.
    pub fn link(&self, component: &Component) -> Result<InstancePre<PolicyState>, String> {
        let ty = component.component_type();
        let mut imports = ty.imports(&self.engine).map(|(name, _)| name);
        if let Some(import) = imports.find(|name| !name.starts_with("wasi:")) {
            return Err(format!(
                "it imports `{import}`; a policy has no capabilities"
            ));
        }
        let mut linker = Linker::new(&self.engine);
        let mut imports = ty.imports(&self.engine).map(|(name, _)| name);
        let known = imports.try_for_each(|name| answer(&mut linker, name));
        let linked = known.and_then(|()| {
            linker.define_unknown_imports_as_traps(component)?;
            linker.instantiate_pre(component)
        });
        linked.map_err(|error| format!("{error:#}"))
    }
}

/// Answers what runtimes look at when they begin: an environment without variables, arguments and folder, and dice that always fall the
/// same way, so that the same question has the same answer.
fn answer(linker: &mut Linker<PolicyState>, import: &str) -> wasmtime::Result<()> {
    let interface = import.split('@').next().unwrap_or_default();
    match interface {
        "wasi:cli/environment" => {
            let mut environment = linker.instance(import)?;
            environment.func_wrap("get-environment", |_, ()| {
                Ok((Vec::<(String, String)>::new(),))
            })?;
            environment.func_wrap("get-arguments", |_, ()| Ok((Vec::<String>::new(),)))?;
            environment.func_wrap("initial-cwd", |_, ()| Ok((None::<String>,)))
        }
        "wasi:random/random" => {
            let mut random = linker.instance(import)?;
            random.func_wrap("get-random-bytes", |_, (length,): (u64,)| {
                let length = usize::try_from(length).unwrap_or(usize::MAX);
                Ok((vec![0_u8; length.min(limits::POLICY_RANDOM_BYTES)],))
            })?;
            random.func_wrap("get-random-u64", |_, ()| Ok((0_u64,)))
        }
        _ => Ok(()),
    }
}

/// What a policy's store has.
pub struct PolicyState {
    limits: StoreLimits,
}

/// Why a policy decided nothing.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// It took more instructions than it may.
    #[error("it took more than {0} instructions")]
    OutOfFuel(u64),
    /// It trapped, or wanted more memory than it may have.
    #[error("it trapped: {0}")]
    Trapped(String),
}

/// An instance of a policy. It is used again, as long as it does not trap.
pub struct PolicyInstance {
    store: Store<PolicyState>,
    instance: Instance,
    functions: RefCell<HashMap<ComponentExportIndex, Func>>,
    limits: PolicyLimits,
}

impl PolicyInstance {
    /// Makes one.
    pub fn new(
        engine: &Engine,
        pre: &InstancePre<PolicyState>,
        limits: PolicyLimits,
    ) -> Result<Self, PolicyError> {
        let state = PolicyState {
            limits: StoreLimitsBuilder::new().memory_size(limits.memory).build(),
        };
        let mut store = Store::new(engine, state);
        store.limiter(|state| &mut state.limits);
        let begun = store.set_fuel(limits.instructions);
        let made = begun.and_then(|()| pre.instantiate(&mut store));
        match made {
            Ok(instance) => Ok(Self {
                store,
                instance,
                functions: RefCell::default(),
                limits,
            }),
            Err(error) => Err(policy_error(&store, limits, &error)),
        }
    }

    /// Asks it. After an error it must not be asked again.
    pub fn decide(
        &mut self,
        function: ComponentExportIndex,
        params: &[Val],
        results: &mut [Val],
    ) -> Result<(), PolicyError> {
        let decided = self.call(function, params, results);
        decided.map_err(|error| policy_error(&self.store, self.limits, &error))
    }

    fn call(
        &mut self,
        index: ComponentExportIndex,
        params: &[Val],
        results: &mut [Val],
    ) -> wasmtime::Result<()> {
        self.store.set_fuel(self.limits.instructions)?;
        let known = self.functions.borrow().get(&index).copied();
        let function = match known {
            Some(function) => function,
            None => {
                let function = self.instance.get_func(&mut self.store, index);
                let function = function
                    .ok_or_else(|| wasmtime::Error::msg("the policy has no such function"))?;
                self.functions.borrow_mut().insert(index, function);
                function
            }
        };
        function.call(&mut self.store, params, results)
    }
}

fn policy_error(
    store: &Store<PolicyState>,
    limits: PolicyLimits,
    error: &wasmtime::Error,
) -> PolicyError {
    let spent = store.get_fuel().is_ok_and(|left| left == 0);
    if spent || error.downcast_ref() == Some(&wasmtime::Trap::OutOfFuel) {
        PolicyError::OutOfFuel(limits.instructions)
    } else {
        PolicyError::Trapped(error.root_cause().to_string())
    }
}
