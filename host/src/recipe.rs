//! The inputs that a component is compiled from: its wasm file, the components fused into it, its dependencies and its
//! middleware.

use crate::componentize;
use crate::compose::Composition;
use crate::link::fuse::{Part, fuse};
use anyhow::Context as _;
use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A wasm file in memory.
#[derive(Debug, PartialEq, Eq)]
pub struct WasmFile {
    /// The path of the file.
    pub path: PathBuf,
    /// The content of the file.
    pub bytes: Vec<u8>,
    /// The BLAKE3 hash of the content, in hexadecimal.
    pub digest: String,
}

impl WasmFile {
    /// Reads a file.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let bytes = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
        Ok(Self {
            path: path.to_owned(),
            digest: blake3::hash(&bytes).to_hex().to_string(),
            bytes,
        })
    }
}

/// One component of a recipe.
#[derive(Clone, Debug)]
pub struct RecipeInput {
    /// Its id.
    pub id: String,
    /// Its file.
    pub file: Arc<WasmFile>,
    /// Its links within the recipe.
    pub links: Vec<String>,
    /// Its links that are not fused.
    pub unfused: Vec<String>,
}

/// Everything that determines the compiled component.
#[derive(Clone, Debug)]
pub struct Recipe {
    /// The component itself.
    pub root: RecipeInput,
    /// The components that are fused into it.
    pub fused: Vec<RecipeInput>,
    /// Its dependencies and middleware.
    pub composition: Composition,
    plugs: Vec<Arc<WasmFile>>,
}

impl Recipe {
    /// A recipe; reads the files of dependencies and middleware.
    pub fn new(
        root: RecipeInput,
        fused: Vec<RecipeInput>,
        composition: Composition,
    ) -> anyhow::Result<Self> {
        let plugs = composition
            .plugs()
            .map(|plug| WasmFile::read(&plug.wasm).map(Arc::new));
        let plugs = plugs.collect::<anyhow::Result<_>>()?;
        Ok(Self {
            root,
            fused,
            composition,
            plugs,
        })
    }

    /// A recipe for a single component without links.
    pub fn alone(id: &str, wasm: &Path, composition: Composition) -> anyhow::Result<Self> {
        let root = RecipeInput {
            id: id.to_owned(),
            file: Arc::new(WasmFile::read(wasm)?),
            links: Vec::new(),
            unfused: Vec::new(),
        };
        Self::new(root, Vec::new(), composition)
    }

    /// A key for the cache, in hexadecimal. Equal recipes have equal keys.
    pub fn key(&self) -> String {
        if self.fused.is_empty() && self.composition.is_empty() {
            return self.root.file.digest.clone();
        }
        let mut all = blake3::Hasher::new();
        all.update(self.root.file.digest.as_bytes());
        for plug in &self.plugs {
            all.update(plug.digest.as_bytes());
        }
        all.update(self.composition.recipe().as_bytes());
        for one in std::iter::once(&self.root).chain(&self.fused) {
            let line = format!(
                "{} {} {:?} {:?}\n",
                one.id, one.file.digest, one.links, one.unfused
            );
            all.update(line.as_bytes());
        }
        all.finalize().to_hex().to_string()
    }

    /// Produces the wasm of the component: componentizes, fuses and composes as needed.
    pub fn make(&self) -> anyhow::Result<Vec<u8>> {
        let place = || format!("reading {}", self.root.file.path.display());
        let mut made = componentize::component(&self.root.file.bytes).with_context(place)?;
        if !self.fused.is_empty() {
            made = Cow::Owned(self.fuse()?);
        }
        if !self.composition.is_empty() {
            let plugs = self.plugs.iter();
            let plugs = plugs.map(|plug| componentize::component(&plug.bytes));
            let plugs = plugs.map(|plug| plug.map(Cow::into_owned));
            let plugs: Vec<Vec<u8>> = plugs.collect::<anyhow::Result<_>>()?;
            made = Cow::Owned(self.composition.compose(&made, &plugs)?);
        }
        Ok(made.into_owned())
    }

    fn fuse(&self) -> anyhow::Result<Vec<u8>> {
        let part = |one: &RecipeInput| {
            anyhow::Ok(Part {
                id: one.id.clone(),
                wasm: componentize::component(&one.file.bytes)?.into_owned(),
                links: one.links.clone(),
                unfused: one.unfused.clone(),
            })
        };
        let all = std::iter::once(&self.root).chain(&self.fused);
        let parts = all.map(part).collect::<anyhow::Result<Vec<Part>>>()?;
        Ok(fuse(&self.root.id, &parts)?)
    }
}
