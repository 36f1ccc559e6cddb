//! An artifact as a folder with spin.toml, which every command of this host reads like any other application.

use crate::digest;
use crate::locked::{list, text, unlock};
use anyhow::{Context as _, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::read::GzDecoder;
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Component, Path, PathBuf};

/// The largest file in an archive, in bytes.
const MAX_FILE_BYTES: u64 = 1 << 30;

/// Writes an application to a folder that does not exist yet. `blob` finds the file of a digest, and `archives` are the layers
/// that hold files as archives.
///
/// # Errors
/// The application is not valid, its content is missing or has another digest, or the folder cannot be written.
pub fn unpack(
    locked: &Value,
    folder: &Path,
    blob: &dyn Fn(&str) -> PathBuf,
    archives: &[PathBuf],
) -> anyhow::Result<()> {
    let archived = archives.iter().map(|archive| read_archive(archive));
    let archived: Vec<BTreeMap<String, Vec<u8>>> = archived.collect::<Result<_, _>>()?;
    // A folder that is written half would be taken for a whole one.
    let unfinished = folder.with_extension(format!("new-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&unfinished);
    std::fs::create_dir_all(&unfinished)
        .with_context(|| format!("making {}", unfinished.display()))?;
    let manifest = unlock(locked, |id, component| {
        ensure!(is_name(id), "`{id}` is no id of a component");
        let source = place_source(&unfinished, id, component, blob)?;
        let files = place_files(&unfinished, id, component, blob, &archived)?;
        Ok((source, files))
    })?;
    let text =
        toml::to_string(&manifest).context("the application cannot be written as a manifest")?;
    std::fs::write(unfinished.join("spin.toml"), text)?;
    match std::fs::rename(&unfinished, folder) {
        // Another process unpacked the same artifact meanwhile.
        Err(_) if folder.join("spin.toml").is_file() => Ok(std::fs::remove_dir_all(&unfinished)?),
        renamed => renamed.with_context(|| format!("making {}", folder.display())),
    }
}

fn place_source(
    folder: &Path,
    id: &str,
    component: &Value,
    blob: &dyn Fn(&str) -> PathBuf,
) -> anyhow::Result<String> {
    let source = component
        .get("source")
        .context("a component has no source")?;
    let whole = content(source, blob).with_context(|| format!("the component {id}"))?;
    let single = component
        .pointer("/metadata/localmart/single")
        .and_then(Value::as_str);
    let place = match single {
        Some(digest) => {
            let single = content(&serde_json::json!({ "digest": digest }), blob)?;
            put(&single, &folder.join("dist").join(format!("{id}.wasm")))?;
            format!("dist/fused/{id}.wasm")
        }
        None => format!("dist/{id}.wasm"),
    };
    put(&whole, &folder.join(&place))?;
    Ok(place)
}

fn place_files(
    folder: &Path,
    id: &str,
    component: &Value,
    blob: &dyn Fn(&str) -> PathBuf,
    archived: &[BTreeMap<String, Vec<u8>>],
) -> anyhow::Result<Vec<toml::Value>> {
    let files = list(component, "files");
    if files.is_empty() {
        return Ok(Vec::new());
    }
    let place = format!("files/{id}");
    for file in &files {
        let path = text(file, "path")?;
        let inside = inside(&path).with_context(|| format!("{path} is no path of a file"))?;
        let wanted = file.get("digest").and_then(Value::as_str);
        let mut found = archived.iter().filter_map(|archive| archive.get(wanted?));
        let content = match found.next() {
            Some(bytes) => Where::Bytes(bytes.clone()),
            None => content(file, blob).with_context(|| format!("the file {path} of {id}"))?,
        };
        put(&content, &folder.join(&place).join(inside))?;
    }
    let mount = toml::Table::from_iter([
        ("source".to_owned(), place.into()),
        ("destination".to_owned(), "/".into()),
    ]);
    Ok(vec![toml::Value::Table(mount)])
}

/// Where content is.
enum Where {
    File(PathBuf),
    Bytes(Vec<u8>),
}

fn content(of: &Value, blob: &dyn Fn(&str) -> PathBuf) -> anyhow::Result<Where> {
    let wanted = of.get("digest").and_then(Value::as_str);
    if let Some(inline) = of.get("inline").and_then(Value::as_str) {
        let bytes = STANDARD
            .decode(inline)
            .context("its inline content is no base64")?;
        if let Some(wanted) = wanted {
            ensure!(
                digest(&bytes) == wanted,
                "its inline content does not have the digest {wanted}"
            );
        }
        return Ok(Where::Bytes(bytes));
    }
    let wanted = wanted.context("it has neither a digest nor inline content")?;
    let file = blob(wanted);
    ensure!(file.is_file(), "no layer has the digest {wanted}");
    Ok(Where::File(file))
}

fn put(content: &Where, place: &Path) -> anyhow::Result<()> {
    if let Some(parent) = place.parent() {
        std::fs::create_dir_all(parent)?;
    }
    let written = match content {
        Where::Bytes(bytes) => std::fs::write(place, bytes),
        // A second name costs no space. The cache may be on another file system.
        Where::File(file) => {
            std::fs::hard_link(file, place).or_else(|_| std::fs::copy(file, place).map(drop))
        }
    };
    written.with_context(|| format!("writing {}", place.display()))
}

/// The files of an archive, by digest.
fn read_archive(archive: &Path) -> anyhow::Result<BTreeMap<String, Vec<u8>>> {
    let file = std::fs::File::open(archive)?;
    let mut found = BTreeMap::new();
    for entry in tar::Archive::new(GzDecoder::new(file)).entries()? {
        let entry = entry.context("an archive of files cannot be read")?;
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let mut bytes = Vec::new();
        entry.take(MAX_FILE_BYTES).read_to_end(&mut bytes)?;
        found.insert(digest(&bytes), bytes);
    }
    Ok(found)
}

/// A path below a folder; `None` if it leads out of it.
fn inside(path: &str) -> Option<PathBuf> {
    let mut inside = PathBuf::new();
    for part in Path::new(path).components() {
        match part {
            Component::Normal(name) => inside.push(name),
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir | Component::Prefix(_) => return None,
        }
    }
    (inside.file_name().is_some()).then_some(inside)
}

fn is_name(id: &str) -> bool {
    !id.is_empty()
        && id
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}

/// The locked application among the layers of an artifact. Older artifacts have it as their configuration.
///
/// # Errors
/// There is none, or it is no JSON.
pub fn locked_of(layer: Option<&[u8]>, config: &[u8]) -> anyhow::Result<Value> {
    let text = layer.unwrap_or(config);
    let locked: Value =
        serde_json::from_slice(text).context("the locked application is no JSON")?;
    if locked.get("components").is_none() {
        bail!(
            "it is no Spin application: there is no layer of the type {}",
            crate::APPLICATION
        );
    }
    Ok(locked)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may stop at once")]

    use super::*;
    use crate::artifact::{Artifact, MOST_LAYERS, build};
    use crate::{APPLICATION, ARCHIVE};

    fn scratch(name: &str) -> PathBuf {
        let folder =
            std::env::temp_dir().join(format!("localmart-oci-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    fn application(folder: &Path) -> toml::Table {
        let files = [
            ("dist/fused/web.wasm", vec![1; 300]),
            ("dist/web.wasm", vec![2; 300]),
            ("assets/long.css", vec![b'c'; 200]),
            ("assets/more.css", vec![b'd'; 200]),
            ("assets/short.txt", b"hi".to_vec()),
            ("assets/no.map", vec![b'm'; 200]),
        ];
        for (path, bytes) in files {
            let path = folder.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
        let manifest = r#"
            spin_manifest_version = 2
            application = { name = "a" }
            trigger = { http = [{ route = "/...", component = "web" }] }
            variables = {}
            [component.web]
            source = "dist/fused/web.wasm"
            files = [{ source = "assets", destination = "/a" }]
            exclude_files = ["**/*.map"]
        "#;
        manifest.parse().unwrap()
    }

    fn unpacked(artifact: &Artifact, folder: &Path) -> anyhow::Result<()> {
        let blobs = scratch("blobs");
        let (mut locked, mut archives) = (None, Vec::new());
        for layer in &artifact.layers {
            let file = blobs.join(digest(&layer.bytes).replace(':', "-"));
            std::fs::write(&file, &layer.bytes).unwrap();
            match layer.media_type {
                APPLICATION => locked = Some(layer.bytes.clone()),
                ARCHIVE => archives.push(file),
                _ => {}
            }
        }
        let locked = locked_of(locked.as_deref(), &artifact.config)?;
        unpack(
            &locked,
            folder,
            &|digest| blobs.join(digest.replace(':', "-")),
            &archives,
        )
    }

    #[test]
    fn an_artifact_is_the_application_again_with_and_without_archives() {
        let folder = scratch("from");
        let manifest = application(&folder);
        for (most, archives) in [(MOST_LAYERS, 0), (3, 1)] {
            let artifact = build(&folder, &manifest, most).unwrap();
            let count = artifact
                .layers
                .iter()
                .filter(|layer| layer.media_type == ARCHIVE)
                .count();
            assert_eq!(count, archives);
            let to = scratch("to").join("app");
            unpacked(&artifact, &to).unwrap();
            let read = |path: &str| std::fs::read(to.join(path)).unwrap();
            assert_eq!(read("dist/fused/web.wasm"), [1; 300]);
            assert_eq!(read("dist/web.wasm"), [2; 300]);
            assert_eq!(read("files/web/a/long.css"), [b'c'; 200]);
            assert_eq!(read("files/web/a/short.txt"), b"hi");
            assert!(!to.join("files/web/a/no.map").exists());
            let manifest: toml::Table = std::fs::read_to_string(to.join("spin.toml"))
                .unwrap()
                .parse()
                .unwrap();
            let files = manifest
                .get("component")
                .and_then(|all| all.get("web")?.get("files"));
            assert!(
                files.unwrap().to_string().contains("files/web"),
                "{manifest}"
            );
        }
        assert!(
            build(&folder, &manifest, 1)
                .unwrap_err()
                .to_string()
                .contains("layers")
        );
        // The same application is the same artifact.
        let twice = [0, 1].map(|_| build(&folder, &manifest, 3).unwrap().layers);
        assert!(twice.windows(2).all(|pair| pair.first() == pair.last()));
    }

    #[test]
    fn a_file_cannot_leave_the_folder_and_content_must_have_its_digest() {
        let place = |files: Value, to: &str| {
            let locked = serde_json::json!({
                "metadata": {}, "components": [{ "id": "web", "source": { "inline": "AA==" }, "files": files }],
            });
            unpack(&locked, &scratch(to).join("app"), &|_| PathBuf::new(), &[])
                .map_err(|error| format!("{error:#}"))
        };
        let out = place(
            serde_json::json!([{ "path": "../x", "inline": "AA==" }]),
            "out",
        )
        .unwrap_err();
        assert!(out.contains("../x is no path of a file"), "{out}");
        let other = serde_json::json!([{ "path": "x", "inline": "AA==", "digest": "sha256:0" }]);
        let other = place(other, "other").unwrap_err();
        assert!(
            other.contains("does not have the digest sha256:0"),
            "{other}"
        );
        let lost = place(
            serde_json::json!([{ "path": "x", "digest": "sha256:0" }]),
            "lost",
        )
        .unwrap_err();
        assert!(lost.contains("no layer has the digest sha256:0"), "{lost}");
        place(
            serde_json::json!([{ "path": "/x/y", "inline": "AA==" }]),
            "good",
        )
        .unwrap();
    }
}
