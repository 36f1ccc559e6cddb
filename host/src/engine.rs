//! The wasmtime engine for all components except policies, tuned for many short-lived instances.

use crate::limits;
use anyhow::Context as _;
use std::sync::Arc;
use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};

/// Options of the engine.
#[derive(Clone, Copy, Debug)]
pub struct EngineOptions {
    /// The limit for the linear memory of one instance, in bytes.
    pub max_instance_memory: usize,
    /// Whether instances are allocated from a pool; otherwise each one is mapped separately.
    pub pooling: bool,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            max_instance_memory: limits::INSTANCE_MEMORY_BYTES,
            pooling: true,
        }
    }
}

/// Creates the engine. If the system does not provide enough address space for a pool, instances are mapped separately.
pub fn engine(options: EngineOptions) -> anyhow::Result<Engine> {
    let mut config = config();
    if options.pooling {
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool()));
        match Engine::new(&config) {
            Ok(engine) => return Ok(engine),
            Err(error) => {
                tracing::warn!(%error, "not enough address space for an instance pool; instances are mapped separately");
            }
        }
        config.allocation_strategy(InstanceAllocationStrategy::OnDemand);
    }
    Engine::new(&config)
        .map_err(anyhow::Error::from)
        .context("creating the engine")
}

fn config() -> Config {
    let mut config = Config::new();
    config.wasm_component_model_async(true);
    config.epoch_interruption(true);
    config.memory_init_cow(true);
    config
}

fn pool() -> PoolingAllocationConfig {
    let instances = limits::POOL_INSTANCES;
    let core = instances * limits::POOL_CORE_PER_INSTANCE;
    let mut pool = PoolingAllocationConfig::default();
    pool.total_component_instances(instances)
        .total_core_instances(core)
        .total_memories(core / 2)
        .total_tables(core)
        .total_stacks(core)
        .max_core_instances_per_component(200)
        .max_memories_per_component(32)
        .max_tables_per_component(64)
        .max_component_instance_size(10 * 1024 * 1024)
        .max_core_instance_size(10 * 1024 * 1024)
        .max_unused_warm_slots(64)
        .decommit_batch_size(limits::DECOMMIT_BATCH)
        .linear_memory_keep_resident(limits::KEEP_RESIDENT_BYTES)
        .table_keep_resident(64 * 1024)
        .pagemap_scan(Enabled::Auto);
    pool
}

/// Increments the epoch of an engine while the returned guard lives, so that busy guests can be interrupted.
pub fn tick(engine: &Engine) -> anyhow::Result<Ticker> {
    let alive = Arc::new(());
    let (weak, engine) = (Arc::downgrade(&alive), engine.weak());
    std::thread::Builder::new()
        .name("epoch".to_owned())
        .spawn(move || {
            while weak.strong_count() > 0 {
                std::thread::sleep(limits::EPOCH_TICK);
                match engine.upgrade() {
                    Some(engine) => engine.increment_epoch(),
                    None => return,
                }
            }
        })
        .context("starting the epoch thread")?;
    Ok(Ticker { _alive: alive })
}

/// Lowers the priority of the current thread below that of the serving threads.
pub fn lower_priority() {
    // On other systems this call would change the priority of the whole process.
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::setpriority_process(None, limits::BACKGROUND_NICE) {
        tracing::debug!(%error, "the priority of a compiler thread could not be lowered");
    }
}

/// Guard that keeps the epoch thread running.
pub struct Ticker {
    _alive: Arc<()>,
}
