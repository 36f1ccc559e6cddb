//! An application as the layers of an artifact.

use crate::locked::{Content, lock};
use crate::{APPLICATION, ARCHIVE, DATA, SINGLE, WASM, digest};
use anyhow::{Context as _, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use toml::Table;

/// Content up to this size is in the locked application itself, because registries refuse very small blobs, in bytes.
const INLINE_BYTES: usize = 128;
/// More layers than this and the files of each component become one archive. Some registries take 500 layers, one of which is
/// the locked application.
pub const MOST_LAYERS: usize = 499;

/// A layer of an artifact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// Its media type.
    pub media_type: &'static str,
    /// Its content.
    pub bytes: Vec<u8>,
}

/// An application, ready to be pushed.
#[derive(Clone, Debug)]
pub struct Artifact {
    /// The layers; the locked application is the last one.
    pub layers: Vec<Layer>,
    /// The image configuration.
    pub config: Vec<u8>,
    /// Annotations of the manifest.
    pub annotations: BTreeMap<String, String>,
}

/// Makes an artifact of the application in a folder.
///
/// # Errors
/// A file is missing, or the manifest has something that cannot be in an artifact. The text names it.
pub fn build(folder: &Path, manifest: &Table, most_layers: usize) -> anyhow::Result<Artifact> {
    let simple = assemble(folder, manifest, false)?;
    let (mut layers, locked) = match simple.0.len() > most_layers {
        true => assemble(folder, manifest, true)?,
        false => simple,
    };
    ensure!(
        layers.len() <= most_layers,
        "the application has {} layers; registries take {most_layers} beside the locked application",
        layers.len()
    );
    let annotations = annotations(&locked);
    let locked = serde_json::to_vec(&locked)?;
    // Without the label all applications would have the same image id in container runtimes.
    let labels = json!({ "com.fermyon.spin.lockedAppDigest": digest(&locked) });
    let config = json!({
        "architecture": "wasm",
        "os": "wasip1",
        "config": { "Labels": labels },
        "rootfs": { "type": "layers", "diff_ids": [] },
        "history": [],
    });
    layers.push(Layer {
        media_type: APPLICATION,
        bytes: locked,
    });
    Ok(Artifact {
        layers,
        config: serde_json::to_vec(&config)?,
        annotations,
    })
}

/// What people see of the artifact in a registry.
fn annotations(locked: &Value) -> BTreeMap<String, String> {
    let metadata = crate::locked::object(locked, "metadata");
    let names = [
        ("title", "name"),
        ("version", "version"),
        ("description", "description"),
    ];
    let texts = names.iter().filter_map(|(annotation, key)| {
        let text = metadata.get(*key)?.as_str()?;
        Some((
            format!("org.opencontainers.image.{annotation}"),
            text.to_owned(),
        ))
    });
    texts.filter(|(_, text)| !text.is_empty()).collect()
}

/// The layers without the locked application, and the locked application.
fn assemble(
    folder: &Path,
    manifest: &Table,
    archives: bool,
) -> anyhow::Result<(Vec<Layer>, Value)> {
    let mut layers = Layers::default();
    let locked = lock(manifest, |id, component| {
        let path = source(folder, id, component)?;
        let read = |path: &Path| {
            std::fs::read(path).with_context(|| {
                format!(
                    "reading {}\n  help: localmart build makes the files of components",
                    path.display()
                )
            })
        };
        let single = single_file(&path).filter(|single| single.is_file());
        let single =
            single.map(|single| Ok::<_, anyhow::Error>(layers.add(SINGLE, read(&single)?)));
        Ok(Content {
            source: json!({ "digest": layers.add(WASM, read(&path)?) }),
            single: single.transpose()?,
            files: files(folder, id, component, &mut layers, archives)?,
        })
    })?;
    Ok((layers.all, locked))
}

/// Layers, each content once.
#[derive(Default)]
struct Layers {
    all: Vec<Layer>,
    known: BTreeSet<(&'static str, String)>,
}

impl Layers {
    fn add(&mut self, media_type: &'static str, bytes: Vec<u8>) -> String {
        let digest = digest(&bytes);
        if self.known.insert((media_type, digest.clone())) {
            self.all.push(Layer { media_type, bytes });
        }
        digest
    }
}

/// The file of a component.
fn source(folder: &Path, id: &str, component: &Table) -> anyhow::Result<PathBuf> {
    match component.get("source") {
        Some(toml::Value::String(file)) => Ok(folder.join(file)),
        Some(_) => bail!(
            "component.{id} has a source that is no file; localmart oci push cannot fetch it yet"
        ),
        None => bail!("component.{id} has no source"),
    }
}

/// The file of a fused component without its links: `dist/x.wasm` of `dist/fused/x.wasm`.
fn single_file(fused: &Path) -> Option<PathBuf> {
    let folder = fused.parent()?;
    (folder.file_name()? == "fused").then(|| Some(folder.parent()?.join(fused.file_name()?)))?
}

/// The entries of a component's files, with their layers.
fn files(
    folder: &Path,
    id: &str,
    component: &Table,
    layers: &mut Layers,
    archives: bool,
) -> anyhow::Result<Vec<Value>> {
    let (mut entries, mut archive) = (Vec::new(), Vec::new());
    for (path, file) in mounted(folder, id, component)? {
        let bytes = std::fs::read(&file).with_context(|| format!("reading {}", file.display()))?;
        let mut entry = json!({ "path": path, "digest": digest(&bytes) });
        if bytes.len() <= INLINE_BYTES {
            if let Some(entry) = entry.as_object_mut() {
                entry.insert("inline".to_owned(), STANDARD.encode(&bytes).into());
            }
        } else if archives {
            archive.push((path, bytes));
        } else {
            layers.add(DATA, bytes);
        }
        entries.push(entry);
    }
    if !archive.is_empty() {
        layers.add(ARCHIVE, packed(&archive)?);
    }
    Ok(entries)
}

/// The files that a component may read: the path that it sees, and where the file is.
fn mounted(
    folder: &Path,
    id: &str,
    component: &Table,
) -> anyhow::Result<BTreeMap<String, PathBuf>> {
    let texts = |key: &str| {
        let list = component.get(key).and_then(toml::Value::as_array);
        list.cloned().unwrap_or_default()
    };
    let excluded = texts("exclude_files");
    let excluded: Vec<glob::Pattern> = excluded
        .iter()
        .filter_map(|text| glob::Pattern::new(text.as_str()?).ok())
        .collect();
    let mut found = BTreeMap::new();
    let mut add = |path: PathBuf, file: PathBuf| {
        let relative = file.strip_prefix(folder).unwrap_or(&file);
        if !excluded
            .iter()
            .any(|pattern| pattern.matches_path(relative))
        {
            let path = path.to_string_lossy().trim_start_matches('/').to_owned();
            found.insert(path, file);
        }
    };
    for mount in texts("files") {
        let what = || format!("component.{id}: files = {mount}");
        if let Some(pattern) = mount.as_str() {
            let pattern = match folder.join(pattern).is_dir() {
                true => format!("{pattern}/**/*"),
                false => pattern.to_owned(),
            };
            let all = glob::glob(&folder.join(&pattern).to_string_lossy()).with_context(what)?;
            for file in all.filter_map(Result::ok).filter(|file| file.is_file()) {
                let path = file.strip_prefix(folder).with_context(what)?.to_owned();
                add(path, file);
            }
            continue;
        }
        let part = |key: &str| {
            mount
                .get(key)
                .and_then(toml::Value::as_str)
                .with_context(what)
        };
        let (from, to) = (
            folder.join(part("source")?),
            PathBuf::from(part("destination")?),
        );
        if from.is_file() {
            add(to, from);
            continue;
        }
        let all = glob::glob(&from.join("**/*").to_string_lossy()).with_context(what)?;
        for file in all.filter_map(Result::ok).filter(|file| file.is_file()) {
            let path = to.join(file.strip_prefix(&from).with_context(what)?);
            add(path, file);
        }
    }
    Ok(found)
}

/// A tar.gz of files. The same files make the same bytes.
fn packed(files: &[(String, Vec<u8>)]) -> anyhow::Result<Vec<u8>> {
    let mut archive = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::default()));
    archive.mode(tar::HeaderMode::Deterministic);
    for (path, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(u64::try_from(bytes.len())?);
        header.set_mode(0o644);
        header.set_mtime(0);
        archive.append_data(&mut header, path, bytes.as_slice())?;
    }
    Ok(archive.into_inner()?.finish()?)
}
