//! The cache of compiled components on disk. Entries are keyed by content and by the engine that compiled them.

use crate::recipe::Recipe;
use anyhow::Context as _;
use std::hash::{Hash as _, Hasher as _};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use wasmtime::Engine;
use wasmtime::component::Component;

/// A cache folder. Only this user may write to it, because its files are executed as machine code.
#[derive(Clone, Debug)]
pub struct AotCache {
    folder: Option<PathBuf>,
}

/// A compiled component, and how it was obtained.
pub struct Compiled {
    /// The component.
    pub component: Component,
    /// Whether it came from the cache.
    pub cached: bool,
    /// How long it took to read and compile the component, or to load it from the cache.
    pub time: Duration,
}

impl AotCache {
    /// A cache in a folder; `None` disables it.
    pub fn new(folder: Option<PathBuf>) -> Self {
        Self { folder }
    }

    /// Loads the component of a recipe from the cache, or compiles it.
    pub fn load(&self, engine: &Engine, recipe: &Recipe) -> anyhow::Result<Compiled> {
        let start = Instant::now();
        let folder = self.folder.as_ref();
        let entry = folder.map(|folder| folder.join(name(engine, &recipe.key())));
        if let Some(entry) = &entry
            && entry.exists()
        {
            // SAFETY: `store` below wrote the file into a folder that only this user may write to, and the name binds
            // the file to this engine. wasmtime also checks its own header.
            match unsafe { Component::deserialize_file(engine, entry) } {
                Ok(component) => {
                    return Ok(Compiled {
                        component,
                        cached: true,
                        time: start.elapsed(),
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, entry = %entry.display(), "a cached component cannot be used and is compiled again")
                }
            }
        }
        let component = Component::new(engine, recipe.make()?).map_err(anyhow::Error::from);
        let component =
            component.with_context(|| format!("compiling {}", recipe.root.file.path.display()))?;
        let mut component = component;
        if let Some(entry) = &entry {
            match store(&component, entry) {
                // A component mapped from its file uses memory only for the parts that run, and shares it with other
                // processes.
                // SAFETY: as above; the file was written just now.
                Ok(()) => match unsafe { Component::deserialize_file(engine, entry) } {
                    Ok(mapped) => component = mapped,
                    Err(error) => {
                        tracing::warn!(%error, entry = %entry.display(), "a compiled component cannot be read back from the cache")
                    }
                },
                Err(error) => {
                    tracing::warn!(%error, entry = %entry.display(), "a compiled component could not be cached")
                }
            }
        }
        Ok(Compiled {
            component,
            cached: false,
            time: start.elapsed(),
        })
    }
}

fn name(engine: &Engine, key: &str) -> String {
    let mut hasher = std::collections::hash_map::DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut hasher);
    format!("{key}-{:016x}.cwasm", hasher.finish())
}

fn store(component: &Component, entry: &Path) -> anyhow::Result<()> {
    let folder = entry
        .parent()
        .context("the cache path has no parent folder")?;
    std::fs::create_dir_all(folder)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o700))?;
    }
    let unfinished = entry.with_extension(format!("{}.part", std::process::id()));
    let mut file = std::fs::File::create(&unfinished)?;
    file.write_all(&component.serialize()?)?;
    std::fs::rename(unfinished, entry)?;
    Ok(())
}
