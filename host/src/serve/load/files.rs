//! The `files` of a component, copied into a folder of its own.

use crate::app::ComponentSpec;
use crate::manifest::Source;
use crate::manifest::schema::FileMount;
use anyhow::Context as _;
use std::path::{Path, PathBuf};

/// Copies the files of a component into a folder of its own, as Spin does. The guest sees this snapshot, read only.
pub(super) fn files(
    spec: &ComponentSpec,
    source: &Source,
    state_dir: &Path,
) -> anyhow::Result<Option<PathBuf>> {
    if spec.files.is_empty() {
        return Ok(None);
    }
    let (from, to) = (source.folder(), state_dir.join("files").join(&spec.id));
    if to.exists() {
        std::fs::remove_dir_all(&to).with_context(|| format!("clearing {}", to.display()))?;
    }
    let excluded: Vec<glob::Pattern> = spec
        .exclude_files
        .iter()
        .filter_map(|text| glob::Pattern::new(text).ok())
        .collect();
    let keep = |path: &Path| !excluded.iter().any(|pattern| pattern.matches_path(path));
    for (mount, span) in &spec.files {
        let wrong = |message: String| {
            source.error(
                span.clone(),
                message,
                "here",
                "write a glob, or { source = \"folder\", destination = \"/path\" }",
            )
        };
        match mount {
            FileMount::Glob(text) => {
                let pattern = from.join(text);
                let matches = glob::glob(&pattern.to_string_lossy())
                    .map_err(|error| wrong(error.to_string()))?;
                let mut any = false;
                for path in matches.filter_map(Result::ok).filter(|path| path.is_file()) {
                    any = true;
                    let relative = path.strip_prefix(&from).unwrap_or(&path).to_owned();
                    if keep(&relative) {
                        copy(&path, &to.join(&relative))?;
                    }
                }
                if !any {
                    return Err(wrong(format!("`{text}` matches no file")).into());
                }
            }
            FileMount::Placed {
                source: place,
                destination,
            } => {
                let Some(inner) = destination.strip_prefix('/') else {
                    return Err(wrong(format!("`{destination}` is not an absolute path")).into());
                };
                if inner.split('/').any(|part| part == "..") {
                    return Err(wrong(format!("`{destination}` leaves the guest's root")).into());
                }
                let place = from.join(place);
                if !place.exists() {
                    return Err(wrong(format!("there is no {}", place.display())).into());
                }
                copy_all(&place, &to.join(inner))?;
            }
        }
    }
    std::fs::create_dir_all(&to)?;
    Ok(Some(to))
}

fn copy_all(from: &Path, to: &Path) -> anyhow::Result<()> {
    if from.is_file() {
        return copy(from, to);
    }
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        copy_all(&entry.path(), &to.join(entry.file_name()))?;
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    if let Some(folder) = to.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::copy(from, to)
        .with_context(|| format!("copying {} to {}", from.display(), to.display()))?;
    Ok(())
}
