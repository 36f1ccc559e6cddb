//! Policies: pure components that compute decisions for others. They run in their own engine, which counts
//! instructions, with little memory and without capabilities or a clock. A policy that traps or exceeds a limit only
//! loses the current decision.

use crate::guest_error::GuestError;
use crate::limits;
use anyhow::Context as _;
use std::cell::RefCell;
use std::collections::HashMap;
use wasmtime::component::{
    Component, ComponentExportIndex, Func, Instance, InstancePre, Linker, Val,
};
use wasmtime::{Config, Engine, Store, StoreLimits, StoreLimitsBuilder};

/// The limits for one decision of a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PolicyLimits {
    /// The maximum number of instructions.
    pub instructions: u64,
    /// The maximum linear memory in bytes.
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

/// The engine for all policies.
#[derive(Clone)]
pub struct Policies {
    engine: Engine,
}

impl Policies {
    /// Creates the engine.
    pub fn new() -> anyhow::Result<Self> {
        let mut config = Config::new();
        config.consume_fuel(true);
        let engine = Engine::new(&config).map_err(anyhow::Error::from);
        let engine = engine.context("creating the policy engine")?;
        Ok(Self { engine })
    }

    /// The engine.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Links a policy. The runtimes of some languages import WASI: `answer` below defines a few of these functions, and
    /// all others trap. The error names an import from outside WASI.
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

/// Defines what language runtimes use at start-up: an environment without variables, arguments and working directory,
/// and constant random numbers, so that equal questions get equal answers.
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

/// The data in the store of a policy.
pub struct PolicyState {
    limits: StoreLimits,
}

/// Why a policy made no decision.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// It used more instructions than allowed.
    #[error("it took more than {0} instructions")]
    OutOfFuel(u64),
    /// It trapped, possibly because of its memory limit.
    #[error("it trapped: {reason}")]
    Trapped {
        /// The root cause.
        reason: String,
        /// Its functions, innermost first, one in each line.
        stack: Option<String>,
    },
}

impl From<PolicyError> for GuestError {
    fn from(error: PolicyError) -> Self {
        let reason = error.to_string();
        let stack = match error {
            PolicyError::Trapped { stack, .. } => stack,
            PolicyError::OutOfFuel(_) => None,
        };
        Self { reason, stack }
    }
}

/// An instance of a policy. It is reused until it traps.
pub struct PolicyInstance {
    store: Store<PolicyState>,
    instance: Instance,
    functions: RefCell<HashMap<ComponentExportIndex, Func>>,
    limits: PolicyLimits,
}

impl PolicyInstance {
    /// Creates an instance.
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

    /// Calls the policy. The instance must not be used again after an error.
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
        PolicyError::Trapped {
            reason: error.root_cause().to_string(),
            stack: GuestError::from(error).stack,
        }
    }
}
