//! The `files` of a component, copied into a folder of its own.

use crate::app::ComponentSpec;
use crate::manifest::schema::FileMount;
use crate::manifest::{ManifestError, Source};
use anyhow::Context as _;
use std::ops::Range;
use std::path::{Component, Path, PathBuf};

/// The deepest folder that is copied. A link that leads back into its own folder exceeds it.
const MAX_DEPTH: usize = 32;

/// Copies the files of a component into a folder of its own, as Spin does. The guest sees this snapshot, read only.
pub(super) fn files(
    spec: &ComponentSpec,
    source: &Source,
    state_dir: &Path,
) -> anyhow::Result<Option<PathBuf>> {
    if spec.files.is_empty() {
        return Ok(None);
    }
    let to = state_dir.join("files").join(&spec.id);
    if to.exists() {
        std::fs::remove_dir_all(&to).with_context(|| format!("clearing {}", to.display()))?;
    }
    let exclude = |text: &String| {
        let at = spec.source_span.clone();
        glob::Pattern::new(text).map_err(|error| {
            let message = format!("exclude_files: `{text}` is not a pattern: {error}");
            source.error(at, message, "of this component", "correct the pattern")
        })
    };
    let copier = Copier {
        source,
        root: source.folder(),
        excluded: spec
            .exclude_files
            .iter()
            .map(exclude)
            .collect::<Result<_, _>>()?,
    };
    std::fs::create_dir_all(&to).with_context(|| format!("creating {}", to.display()))?;
    for (mount, span) in &spec.files {
        match mount {
            FileMount::Glob(text) => copier.glob(text, span, &to)?,
            FileMount::Placed {
                source: from,
                destination,
            } => copier.placed((from, destination), span, &to)?,
        }
    }
    Ok(Some(to))
}

/// Copies files of the application's folder.
struct Copier<'a> {
    source: &'a Source,
    root: PathBuf,
    excluded: Vec<glob::Pattern>,
}

impl Copier<'_> {
    fn wrong(&self, span: &Range<usize>, message: String) -> ManifestError {
        let help = "write a glob, a folder, or { source = \"folder\", destination = \"/path\" }";
        self.source.error(span.clone(), message, "here", help)
    }

    /// Copies what a glob matches, or a whole folder, to the same relative paths.
    fn glob(&self, text: &str, span: &Range<usize>, to: &Path) -> anyhow::Result<()> {
        self.check_inside(text, span)?;
        let at = self.root.join(text);
        if at.is_dir() {
            return self.copy_folder(Path::new(text), &to.join(text), 0);
        }
        let matches = glob::glob(&at.to_string_lossy())
            .map_err(|error| self.wrong(span, format!("`{text}` is not a pattern: {error}")))?;
        let mut any = false;
        for path in matches {
            let path = path.with_context(|| format!("reading what `{text}` matches"))?;
            any = true;
            let relative = path.strip_prefix(&self.root).unwrap_or(&path);
            if path.is_dir() {
                // As a pattern that ends in `**`, a matched folder stands for itself; its files match on their own.
                create(&to.join(relative))?;
            } else {
                self.copy_file(relative, &to.join(relative))?;
            }
        }
        if !any {
            tracing::warn!("`{text}` in `files` matches no file");
        }
        Ok(())
    }

    /// Copies a file or a folder to a path of the guest.
    fn placed(
        &self,
        (from, destination): (&str, &str),
        span: &Range<usize>,
        to: &Path,
    ) -> anyhow::Result<()> {
        let Some(inner) = destination.strip_prefix('/') else {
            let message = format!("`{destination}` is not an absolute path");
            return Err(self.wrong(span, message).into());
        };
        if inner.split('/').any(|part| part == "..") {
            let message = format!("`{destination}` leaves the guest's root");
            return Err(self.wrong(span, message).into());
        }
        self.check_inside(from, span)?;
        let at = self.root.join(from);
        if !at.exists() {
            return Err(self
                .wrong(span, format!("there is no {}", at.display()))
                .into());
        }
        match at.is_dir() {
            true => self.copy_folder(Path::new(from), &to.join(inner), 0),
            false => self.copy_file(Path::new(from), &to.join(inner)),
        }
    }

    /// Refuses a source outside of the application's folder.
    fn check_inside(&self, text: &str, span: &Range<usize>) -> Result<(), ManifestError> {
        let mut depth = 0_usize;
        for part in Path::new(text).components() {
            match part {
                Component::Normal(_) => depth += 1,
                Component::CurDir => {}
                Component::ParentDir if depth > 0 => depth -= 1,
                Component::ParentDir | Component::RootDir | Component::Prefix(_) => {
                    let message = format!("`{text}` is outside of the application's folder");
                    return Err(self.wrong(span, message));
                }
            }
        }
        Ok(())
    }

    /// Copies a folder with all in it, empty folders too.
    fn copy_folder(&self, from: &Path, to: &Path, depth: usize) -> anyhow::Result<()> {
        let at = self.root.join(from);
        anyhow::ensure!(
            depth < MAX_DEPTH,
            "{} is more than {MAX_DEPTH} folders deep; is it a link to a folder around it?",
            at.display()
        );
        create(to)?;
        let entries = std::fs::read_dir(&at);
        for entry in entries.with_context(|| format!("reading {}", at.display()))? {
            let entry = entry.with_context(|| format!("reading {}", at.display()))?;
            let (from, to) = (from.join(entry.file_name()), to.join(entry.file_name()));
            match entry.path().is_dir() {
                true => self.copy_folder(&from, &to, depth + 1)?,
                false => self.copy_file(&from, &to)?,
            }
        }
        Ok(())
    }

    /// Copies a file, unless it is excluded.
    fn copy_file(&self, from: &Path, to: &Path) -> anyhow::Result<()> {
        let plain: PathBuf = from
            .components()
            .filter(|part| !matches!(part, Component::CurDir))
            .collect();
        if self
            .excluded
            .iter()
            .any(|pattern| pattern.matches_path(&plain))
        {
            return Ok(());
        }
        if let Some(folder) = to.parent() {
            create(folder)?;
        }
        let at = self.root.join(from);
        std::fs::copy(&at, to).with_context(|| {
            let dangling = at.is_symlink() && !at.exists();
            let hint = if dangling { ", a link to nothing" } else { "" };
            format!("copying {}{hint}", at.display())
        })?;
        Ok(())
    }
}

fn create(folder: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::{ResolveOptions, resolve};
    use std::sync::Arc;

    /// Copies `files` of a small application; the guest's files by path.
    fn copied(name: &str, files: &str) -> Result<Vec<String>, String> {
        let root = std::env::temp_dir().join(format!("files-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&root);
        std::fs::create_dir_all(root.join("app/site/empty")).unwrap();
        for file in ["app/site/a.txt", "app/site/.env", "app/b.txt", "secret.txt"] {
            std::fs::write(root.join(file), file).unwrap();
        }
        std::os::unix::fs::symlink("nowhere", root.join("app/dangling")).unwrap();
        std::fs::create_dir(root.join("app/round")).unwrap();
        std::os::unix::fs::symlink(".", root.join("app/round/again")).unwrap();
        let text = format!(
            "spin_manifest_version = 2\n[application]\nname = \"a\"\n[[trigger.http]]\nroute = \"/...\"\ncomponent = \"a\"\n[component.a]\nsource = \"a.wasm\"\n{files}\n"
        );
        let source = Source {
            path: root.join("app/spin.toml"),
            text: Arc::new(text),
            profile: None,
        };
        let app = resolve(source, &ResolveOptions::default());
        let app = app.map_err(|error| error.to_string())?;
        let spec = app.components.get("a").unwrap();
        let copied = super::files(spec, &app.source, &root.join("state"));
        let copied = copied.map_err(|error| format!("{error:#}"));
        let listed = copied.map(|folder| list(&folder.unwrap()));
        std::fs::remove_dir_all(&root).unwrap();
        listed
    }

    fn list(folder: &Path) -> Vec<String> {
        let pattern = folder.join("**/*");
        let options = glob::MatchOptions::default();
        let found = glob::glob_with(&pattern.to_string_lossy(), options).unwrap();
        let relative = |path: PathBuf| path.strip_prefix(folder).unwrap().display().to_string();
        let mut found: Vec<String> = found.map(|path| relative(path.unwrap())).collect();
        found.sort();
        found
    }

    #[test]
    fn folders_globs_and_exclusions_do_what_spin_does() {
        for (name, files, expected) in [
            (
                "glob",
                "files = [\"site/*.txt\"]",
                &["site", "site/a.txt"][..],
            ),
            (
                "folder",
                "files = [\"site\"]",
                &["site", "site/.env", "site/a.txt", "site/empty"],
            ),
            (
                "placed",
                "files = [{ source = \"site\", destination = \"/x\" }]\nexclude_files = [\"site/.env\"]",
                &["x", "x/a.txt", "x/empty"],
            ),
            (
                "excluded",
                "files = [{ source = \"./site\", destination = \"/\" }]\nexclude_files = [\"**/.env\"]",
                &["a.txt", "empty"],
            ),
            ("nothing", "files = [\"*.none\"]", &[]),
        ] {
            assert_eq!(copied(name, files).unwrap(), expected, "{name}");
        }
    }

    #[test]
    fn what_cannot_be_copied_is_named() {
        for (name, files, part) in [
            (
                "pattern",
                "files = [\"b.txt\"]\nexclude_files = [\"a[\"]",
                "`a[` is not a pattern",
            ),
            (
                "parent",
                "files = [\"../secret.txt\"]",
                "outside of the application's folder",
            ),
            (
                "outside",
                "files = [{ source = \"site/../..\", destination = \"/x\" }]",
                "outside of the application's folder",
            ),
            (
                "absolute",
                "files = [{ source = \"/etc\", destination = \"/x\" }]",
                "outside",
            ),
            (
                "dangling",
                "files = [\"dangling\"]",
                "app/dangling, a link to nothing",
            ),
            (
                "round",
                "files = [\"round\"]",
                "is it a link to a folder around it?",
            ),
        ] {
            let refused = copied(name, files).unwrap_err();
            assert!(refused.contains(part), "{name}: {refused}");
        }
    }
}
