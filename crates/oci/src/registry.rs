//! Push to and pull from a registry. What was pulled stays in a cache by digest, and is checked against its digest on the way.
//!
//! Registries on this machine are asked over plain HTTP, as Docker does; others only if somebody says so. Credentials are those
//! of Docker: `config.json` in the folder that `DOCKER_CONFIG` names, or in `~/.docker`.

use crate::artifact::Artifact;
use crate::unpack::{locked_of, unpack};
use crate::{ALONE, APPLICATION, ARCHIVE, DATA, SINGLE, WASM, digest};
use anyhow::{Context as _, anyhow, bail, ensure};
use docker_credential::{CredentialRetrievalError, DockerCredential};
use futures::{StreamExt as _, stream};
use oci_client::client::{ClientConfig, ClientProtocol, Config, ImageLayer};
use oci_client::errors::{OciDistributionError, OciErrorCode};
use oci_client::manifest::{OciDescriptor, OciImageManifest};
use oci_client::secrets::RegistryAuth;
use oci_client::{Client, Reference};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How many layers are sent or fetched at once.
const AT_ONCE: usize = 16;
/// How long connecting to a registry may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a registry may send nothing.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(60);
/// The largest locked application and configuration, in bytes.
const MAX_APPLICATION_BYTES: u64 = 64 << 20;
/// The media type of the image configuration.
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";

/// A registry with the applications of one name.
pub struct Registry {
    client: Client,
    reference: Reference,
    auth: RegistryAuth,
}

/// Reports that so many of all layers are done.
pub type Progress<'p> = &'p (dyn Fn(usize, usize) + Sync);

/// An application in a registry, without the content of its components.
#[derive(Clone, Debug)]
pub struct Inspected {
    /// The digest of the manifest.
    pub digest: String,
    /// The manifest.
    pub manifest: OciImageManifest,
    /// The locked application.
    pub application: Value,
}

impl Inspected {
    /// The size of all layers, in bytes.
    pub fn bytes(&self) -> u64 {
        let sizes = self
            .manifest
            .layers
            .iter()
            .map(|layer| u64::try_from(layer.size));
        sizes.filter_map(Result::ok).sum()
    }

    /// The size of a layer, in bytes.
    pub fn layer_bytes(&self, digest: &str) -> Option<u64> {
        let layer = self
            .manifest
            .layers
            .iter()
            .find(|layer| layer.digest == digest)?;
        u64::try_from(layer.size).ok()
    }
}

/// What was pulled.
#[derive(Clone, Debug)]
pub struct Pulled {
    /// The digest of the manifest.
    pub digest: String,
    /// The folder with spin.toml.
    pub folder: PathBuf,
}

impl Registry {
    /// The registry of a reference, as `registry.example/shop:1.0` or `registry.example/shop@sha256:…`. `insecure` allows plain
    /// HTTP.
    ///
    /// # Errors
    /// It is no reference, or Docker's credentials cannot be read.
    pub fn of(reference: &str, insecure: bool) -> anyhow::Result<Self> {
        ensure!(
            is_reference(reference),
            "`{reference}` names no registry and repository; write registry.example/shop:1.0"
        );
        let parsed: Reference = reference
            .parse()
            .with_context(|| format!("`{reference}` is no reference"))?;
        // Whoever is first decides; another provider is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let server = parsed.resolve_registry().to_owned();
        let config = ClientConfig {
            protocol: match insecure || is_here(&server) {
                true => ClientProtocol::Http,
                false => ClientProtocol::Https,
            },
            max_concurrent_upload: AT_ONCE,
            max_concurrent_download: AT_ONCE,
            connect_timeout: Some(CONNECT_TIMEOUT),
            read_timeout: Some(SILENCE_TIMEOUT),
            user_agent: "localmart",
            platform_resolver: None,
            ..ClientConfig::default()
        };
        Ok(Self {
            client: Client::try_from(config).context("no client for registries can be made")?,
            auth: credentials(&server)?,
            reference: parsed,
        })
    }

    /// Pushes an artifact; returns the reference with the digest of its manifest.
    ///
    /// # Errors
    /// The registry does not answer, or refuses.
    pub async fn push(&self, artifact: Artifact, progress: Progress<'_>) -> anyhow::Result<String> {
        ensure!(
            self.reference.digest().is_none(),
            "push to a tag: the digest follows from the content"
        );
        let operation = oci_client::RegistryOperation::Push;
        let failed = || format!("pushing to {}", self.reference);
        let access = self.client.auth(&self.reference, &self.auth, operation);
        access.await.map_err(explained).with_context(failed)?;
        let layer = |layer: crate::artifact::Layer| {
            ImageLayer::new(layer.bytes, layer.media_type.to_owned(), None)
        };
        let layers: Vec<ImageLayer> = artifact.layers.into_iter().map(layer).collect();
        let config = Config::new(artifact.config, CONFIG.to_owned(), None);
        let manifest = OciImageManifest::build(&layers, &config, Some(artifact.annotations));
        let (all, mut done) = (layers.len(), 0);
        let descriptors: Vec<String> = manifest
            .layers
            .iter()
            .map(|one| one.digest.clone())
            .collect();
        let sending = layers
            .into_iter()
            .zip(descriptors)
            .map(|(layer, digest)| async move {
                // A blob that is there already need not be sent. If this cannot be told, it is sent.
                let there = self.client.blob_exists(&self.reference, &digest).await;
                if !there.unwrap_or(false) {
                    self.client
                        .push_blob(&self.reference, layer.data, &digest)
                        .await
                        .map_err(explained)?;
                }
                anyhow::Ok(())
            });
        let mut sent = stream::iter(sending).buffer_unordered(AT_ONCE);
        while let Some(one) = sent.next().await {
            one.with_context(failed)?;
            done += 1;
            progress(done, all);
        }
        let config = self
            .client
            .push_blob(&self.reference, config.data, &manifest.config.digest);
        config.await.map_err(explained).with_context(failed)?;
        let text = serde_json::to_vec(&manifest)?;
        let manifest_digest = digest(&text);
        let kind = "application/vnd.oci.image.manifest.v1+json";
        let kind = kind.parse().context("the media type of a manifest")?;
        let pushed = self
            .client
            .push_manifest_raw(&self.reference, text, kind)
            .await;
        pushed.map_err(explained).with_context(failed)?;
        Ok(format!(
            "{}/{}@{manifest_digest}",
            self.reference.registry(),
            self.reference.repository()
        ))
    }

    /// The manifest and the locked application.
    ///
    /// # Errors
    /// There is no such application, or the registry does not answer.
    pub async fn inspect(&self) -> anyhow::Result<Inspected> {
        let (manifest, digest) = self.manifest().await?;
        let application = manifest
            .layers
            .iter()
            .find(|layer| layer.media_type == APPLICATION);
        let locked = match application {
            Some(layer) => Some(self.small(layer).await?),
            None => None,
        };
        let application = match alone(&manifest) {
            Some(alone) => alone,
            None => locked_of(locked.as_deref(), &self.small(&manifest.config).await?)?,
        };
        Ok(Inspected {
            digest,
            manifest,
            application,
        })
    }

    /// Pulls the application into the cache, as far as it is not there.
    ///
    /// # Errors
    /// There is no such application, the registry does not answer, or content does not have its digest.
    pub async fn pull(&self, cache: &Path, progress: Progress<'_>) -> anyhow::Result<Pulled> {
        let known = |digest: &str| Pulled {
            digest: digest.to_owned(),
            folder: cache.join("applications").join(file_name(digest)),
        };
        // What a digest means never changes, so a registry that is away does not matter.
        if let Some(pinned) = self.reference.digest().map(known)
            && pinned.folder.join("spin.toml").is_file()
        {
            return Ok(pinned);
        }
        let Inspected {
            digest: found,
            manifest,
            application,
        } = self.inspect().await?;
        let pulled = known(&found);
        if pulled.folder.join("spin.toml").is_file() {
            return Ok(pulled);
        }
        let blobs = cache.join("blobs");
        std::fs::create_dir_all(&blobs).with_context(|| format!("making {}", blobs.display()))?;
        let wanted = [WASM, SINGLE, DATA, ARCHIVE, ALONE];
        let layers = manifest.layers.iter();
        let layers = layers.filter(|layer| wanted.contains(&layer.media_type.as_str()));
        // The same content may be listed twice, with two types.
        let layers: BTreeMap<&str, &OciDescriptor> =
            layers.map(|layer| (layer.digest.as_str(), layer)).collect();
        let all = layers.len();
        let fetching = layers.values().map(|layer| self.fetch(layer, &blobs));
        let mut fetched = stream::iter(fetching).buffer_unordered(AT_ONCE).enumerate();
        while let Some((number, one)) = fetched.next().await {
            one.with_context(|| format!("pulling {}", self.reference))?;
            progress(number + 1, all);
        }
        let blob = |digest: &str| blobs.join(file_name(digest));
        let archives = layers.values().filter(|layer| layer.media_type == ARCHIVE);
        let archives: Vec<PathBuf> = archives.map(|layer| blob(&layer.digest)).collect();
        std::fs::create_dir_all(cache.join("applications"))?;
        unpack(&application, &pulled.folder, &blob, &archives)
            .with_context(|| format!("the application {}", self.reference))?;
        Ok(pulled)
    }

    async fn manifest(&self) -> anyhow::Result<(OciImageManifest, String)> {
        let answer = self.client.pull_image_manifest(&self.reference, &self.auth);
        let (manifest, found) = answer
            .await
            .map_err(explained)
            .with_context(|| format!("pulling {}", self.reference))?;
        if let Some(pinned) = self.reference.digest() {
            ensure!(
                pinned == found,
                "{} has the digest {found}, not the one that was asked for",
                self.reference
            );
        }
        Ok((manifest, found))
    }

    /// A blob that is kept in memory.
    async fn small(&self, layer: &OciDescriptor) -> anyhow::Result<Vec<u8>> {
        let size = u64::try_from(layer.size).unwrap_or(u64::MAX);
        ensure!(
            size <= MAX_APPLICATION_BYTES,
            "{} has {size} bytes",
            layer.media_type
        );
        let mut bytes = Vec::new();
        let pulled = self
            .client
            .pull_blob(&self.reference, layer, &mut bytes)
            .await;
        pulled
            .map_err(explained)
            .with_context(|| format!("pulling {}", self.reference))?;
        ensure!(
            digest(&bytes) == layer.digest,
            "a layer does not have the digest {}",
            layer.digest
        );
        Ok(bytes)
    }

    /// Brings a blob into the cache. Its file has the digest as its name once its content has it.
    async fn fetch(&self, layer: &OciDescriptor, blobs: &Path) -> anyhow::Result<()> {
        let file = blobs.join(file_name(&layer.digest));
        if file.is_file() {
            return Ok(());
        }
        let unfinished = blobs.join(format!(
            "{}.{}",
            file_name(&layer.digest),
            std::process::id()
        ));
        let mut out = tokio::fs::File::create(&unfinished).await?;
        let pulled = self.client.pull_blob(&self.reference, layer, &mut out);
        if let Err(error) = pulled.await {
            std::fs::remove_file(&unfinished)?;
            return Err(explained(error));
        }
        out.sync_all().await?;
        let found = digest(&std::fs::read(&unfinished)?);
        if found != layer.digest {
            std::fs::remove_file(&unfinished)?;
            bail!("a layer has the digest {found}, not {}", layer.digest);
        }
        // Unpacked applications share the file.
        let mut permissions = std::fs::metadata(&unfinished)?.permissions();
        permissions.set_readonly(true);
        std::fs::set_permissions(&unfinished, permissions)?;
        std::fs::rename(&unfinished, &file)?;
        Ok(())
    }
}

/// What went wrong at a registry, for people.
fn explained(error: OciDistributionError) -> anyhow::Error {
    let unknown = |code: &OciErrorCode| {
        use OciErrorCode::{BlobUnknown, ManifestUnknown, NameUnknown, NotFound};
        matches!(code, BlobUnknown | ManifestUnknown | NameUnknown | NotFound)
    };
    match &error {
        OciDistributionError::RequestError(reason) if reason.is_connect() => {
            anyhow!("the registry cannot be reached: {}", innermost(reason))
        }
        OciDistributionError::ImageManifestNotFoundError(_) => {
            anyhow!("it is not known to the registry")
        }
        OciDistributionError::RegistryError { envelope, .. }
            if envelope.errors.iter().any(|one| unknown(&one.code)) =>
        {
            anyhow!("it is not known to the registry")
        }
        OciDistributionError::UnauthorizedError { .. }
        | OciDistributionError::AuthenticationFailure(_) => {
            anyhow!(
                "the registry refuses access; log in as for Docker, for example with docker login"
            )
        }
        _ => error.into(),
    }
}

/// The cause of an error that has no cause itself.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

/// The application of a component that was pushed alone: one route for everything.
fn alone(manifest: &OciImageManifest) -> Option<Value> {
    let [layer] = manifest.layers.as_slice() else {
        return None;
    };
    (layer.media_type == ALONE).then(|| {
        json!({
            "metadata": { "name": "component" },
            "triggers": [{ "trigger_type": "http", "trigger_config": { "route": "/...", "component": "component" } }],
            "components": [{ "id": "component", "source": { "digest": layer.digest } }],
        })
    })
}

/// Whether a text is a reference rather than a file: it has a registry with a dot, a port or `localhost`.
pub fn is_reference(text: &str) -> bool {
    let (server, path) = text.split_once('/').unwrap_or((text, ""));
    let server = server.contains('.') || server.contains(':') || server == "localhost";
    let names_server = server && !text.starts_with(['.', '/']) && !path.is_empty();
    names_server && text.parse::<Reference>().is_ok()
}

/// Whether a registry is on this machine.
fn is_here(server: &str) -> bool {
    let host = match server.rsplit_once(':') {
        Some((host, _)) => host,
        None => server,
    };
    let address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

fn credentials(server: &str) -> anyhow::Result<RegistryAuth> {
    match docker_credential::get_credential(server) {
        Ok(DockerCredential::UsernamePassword(user, password)) => {
            Ok(RegistryAuth::Basic(user, password))
        }
        Ok(DockerCredential::IdentityToken(_)) => {
            bail!(
                "the credentials of {server} are an identity token, which is not supported; log in with a password"
            )
        }
        Err(
            CredentialRetrievalError::ConfigNotFound
            | CredentialRetrievalError::NoCredentialConfigured
            | CredentialRetrievalError::ConfigReadError,
        ) => Ok(RegistryAuth::Anonymous),
        Err(error) => bail!("Docker's credentials of {server} cannot be read: {error}"),
    }
}

/// A digest as the name of a file.
fn file_name(digest: &str) -> String {
    digest.replace(':', "-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_is_told_from_a_file() {
        for text in [
            "127.0.0.1:5000/shop:1.0",
            "localhost/shop",
            "ghcr.io/a/b@sha256:0123456789012345678901234567890123456789012345678901234567890123",
        ] {
            assert!(is_reference(text), "{text}");
        }
        for text in [
            "spin.toml",
            "./a.b/spin.toml",
            "folder/spin.toml",
            "/tmp/spin.toml",
            "ghcr.io",
            "a b:1/x",
        ] {
            assert!(!is_reference(text), "{text}");
        }
    }

    #[test]
    fn only_registries_of_this_machine_are_asked_without_tls() {
        for server in [
            "localhost",
            "localhost:5000",
            "127.0.0.1:5000",
            "[::1]:5000",
        ] {
            assert!(is_here(server), "{server}");
        }
        for server in ["ghcr.io", "10.0.0.1:5000", "localhost.example"] {
            assert!(!is_here(server), "{server}");
        }
    }
}
