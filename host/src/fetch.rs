//! Downloads components that the manifest names by URL into the state folder, once, and verifies their digest.

use crate::limits;
use anyhow::{Context as _, ensure};
use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// The URL of a file and its expected digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteSource {
    url: String,
    /// SHA-256 in lower-case hexadecimal.
    digest: String,
}

impl RemoteSource {
    /// Parses `url` and `digest = "sha256:…"`. The error says what is wrong.
    pub fn parse(url: &str, digest: &str) -> Result<Self, String> {
        if !url.starts_with("https://") && !url.starts_with("http://") {
            return Err(format!(
                "`{url}` is not an address like https://example.com/a.wasm"
            ));
        }
        let digits = digest.strip_prefix("sha256:").unwrap_or_default();
        if digits.len() != 64 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(format!(
                "`{digest}` is not a digest: sha256: and 64 hexadecimal digits"
            ));
        }
        Ok(Self {
            url: url.to_owned(),
            digest: digits.to_ascii_lowercase(),
        })
    }

    /// The path of the downloaded file in a folder.
    pub fn place(&self, folder: &Path) -> PathBuf {
        folder.join(format!("{}.wasm", self.digest))
    }

    /// Downloads the file into a folder unless it is already there. A file with a wrong digest is not kept.
    pub fn fetch(&self, folder: &Path) -> anyhow::Result<PathBuf> {
        let place = self.place(folder);
        if place.is_file() {
            return Ok(place);
        }
        let config = ureq::Agent::config_builder().timeout_global(Some(limits::FETCH_TIMEOUT));
        let agent: ureq::Agent = config.build().into();
        let answer = agent.get(&self.url).call();
        let mut answer = answer.with_context(|| format!("downloading {}", self.url))?;
        let mut bytes = Vec::new();
        let mut body = answer.body_mut().as_reader().take(limits::FETCH_BYTES + 1);
        body.read_to_end(&mut bytes)
            .with_context(|| format!("downloading {}", self.url))?;
        let most = limits::FETCH_BYTES;
        ensure!(
            bytes.len() as u64 <= most,
            "{} is larger than {most} bytes",
            self.url
        );
        let mut digest = String::new();
        for byte in Sha256::digest(&bytes) {
            // Writing to a String cannot fail.
            let _ = write!(digest, "{byte:02x}");
        }
        ensure!(
            digest == self.digest,
            "{} has the digest sha256:{digest}, which differs from the manifest",
            self.url
        );
        std::fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
        let unfinished = place.with_extension(format!("{}.part", std::process::id()));
        std::fs::write(&unfinished, &bytes)
            .with_context(|| format!("writing {}", unfinished.display()))?;
        std::fs::rename(&unfinished, &place)?;
        Ok(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invalid_addresses_and_digests_are_refused() {
        let digest = format!("sha256:{}", "0".repeat(64));
        assert!(RemoteSource::parse("https://example.com/a.wasm", &digest).is_ok());
        assert!(RemoteSource::parse("ftp://example.com/a.wasm", &digest).is_err());
        assert!(RemoteSource::parse("https://example.com/a.wasm", "sha256:00").is_err());
        assert!(
            RemoteSource::parse(
                "https://example.com/a.wasm",
                &digest.replace("sha256", "md5")
            )
            .is_err()
        );
    }
}
