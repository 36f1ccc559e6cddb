//! The cache of compiled components on disk, keyed by their content and by the engine that compiled them.

use crate::recipe::Recipe;
use anyhow::Context as _;
use std::hash::{Hash as _, Hasher as _};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use wasmtime::Engine;
use wasmtime::component::Component;

/// A folder of compiled components. Only this host may write to it: what lies there is run as machine code.
#[derive(Clone, Debug)]
pub struct AotCache {
    folder: Option<PathBuf>,
}

/// A component that can be instantiated, and what it took to get there.
pub struct Compiled {
    /// The component.
    pub component: Component,
    /// Whether it came from the cache.
    pub cached: bool,
    /// How long reading, compiling or loading took.
    pub time: Duration,
}

impl AotCache {
    /// A cache in a folder, or none.
    pub fn new(folder: Option<PathBuf>) -> Self {
        Self { folder }
    }

    /// Loads what a recipe makes, compiling it if this engine has not seen this content.
    pub fn load(&self, engine: &Engine, recipe: &Recipe) -> anyhow::Result<Compiled> {
        let start = Instant::now();
        let folder = self.folder.as_ref();
        let entry = folder.map(|folder| folder.join(name(engine, &recipe.key())));
        if let Some(entry) = &entry
            && entry.exists()
        {
            // SAFETY: the file was written by `store` below in a folder that only this user may write to, and its name
            // binds it to this engine; wasmtime checks its own header besides.
            match unsafe { Component::deserialize_file(engine, entry) } {
                Ok(component) => {
                    return Ok(Compiled {
                        component,
                        cached: true,
                        time: start.elapsed(),
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, entry = %entry.display(), "a compiled component is compiled again")
                }
            }
        }
        let component = Component::new(engine, recipe.make()?).map_err(anyhow::Error::from);
        let component =
            component.with_context(|| format!("compiling {}", recipe.root.file.path.display()))?;
        let mut component = component;
        if let Some(entry) = &entry {
            match store(&component, entry) {
                // Mapped from its file it takes memory for what runs of it, and shares that with other processes.
                // SAFETY: as above; the file was written just now.
                Ok(()) => match unsafe { Component::deserialize_file(engine, entry) } {
                    Ok(mapped) => component = mapped,
                    Err(error) => {
                        tracing::warn!(%error, entry = %entry.display(), "a compiled component cannot be read back")
                    }
                },
                Err(error) => {
                    tracing::warn!(%error, entry = %entry.display(), "a compiled component could not be kept")
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
    let folder = entry.parent().context("the cache has no folder")?;
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
