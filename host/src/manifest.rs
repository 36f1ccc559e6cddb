//! Reads spin.toml in manifest version 2, as Spin 4.1 does. Unsupported settings are refused by name, with their line.
//!
//! [`schema`] contains the types, [`problem`] the errors with file, line and help, [`normal`] the normalisation of
//! shorthand notations. Nothing is resolved here.

mod normal;
pub mod problem;
pub mod schema;

pub use problem::ManifestError;
pub use schema::Manifest;

use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The text of a manifest, kept for error messages.
#[derive(Clone, Debug)]
pub struct Source {
    /// The path of the file.
    pub path: PathBuf,
    /// The content of the file.
    pub text: Arc<String>,
    /// The selected profile.
    pub profile: Option<String>,
}

impl Source {
    /// Reads a manifest file. For a directory, reads the spin.toml in it.
    pub fn read(path: &Path) -> Result<Self, ManifestError> {
        let path = if path.is_dir() {
            path.join("spin.toml")
        } else {
            path.to_owned()
        };
        let text = match std::fs::read(&path) {
            Ok(bytes) => String::from_utf8(bytes)
                .map_err(|_| no_manifest(&path, "the file is not UTF-8 text"))?,
            Err(error) => {
                return Err(ManifestError::file(
                    format!("cannot read {}: {error}", path.display()),
                    "run this in a folder with a spin.toml, or name the file with -f",
                ));
            }
        };
        if !claims_to_be_one(&text) {
            return Err(no_manifest(&path, "no line sets spin_manifest_version"));
        }
        Ok(Self {
            path,
            text: Arc::new(text),
            profile: None,
        })
    }

    /// The folder that relative paths in the manifest refer to.
    pub fn folder(&self) -> PathBuf {
        let folder = self.path.parent().map(Path::to_owned).unwrap_or_default();
        if folder.as_os_str().is_empty() {
            PathBuf::from(".")
        } else {
            folder
        }
    }

    /// Parses the manifest and normalises shorthand notations; see [`normal`].
    pub fn parse(&self) -> Result<Manifest, ManifestError> {
        self.check_version()?;
        let mut manifest: Manifest = toml::from_str(&self.text).map_err(|error| {
            let span = error.span().unwrap_or(0..0);
            self.error(
                span,
                error.message().to_owned(),
                "here",
                "see https://spinframework.dev/v4/manifest-reference",
            )
        })?;
        if let Some(profile) = &self.profile {
            normal::apply_profile(&mut manifest, self, profile)?;
        }
        normal::name_inline_components(&mut manifest, self)?;
        Ok(manifest)
    }

    /// Checks the version before anything else, because another version has another form.
    fn check_version(&self) -> Result<(), ManifestError> {
        #[derive(serde::Deserialize)]
        struct Version {
            spin_manifest_version: toml::Spanned<toml::Value>,
        }
        // What is wrong with a text that is no TOML is reported when the whole is parsed.
        let Ok(Version {
            spin_manifest_version: version,
        }) = toml::from_str(&self.text)
        else {
            return Ok(());
        };
        let (label, help) = match version.get_ref() {
            toml::Value::Integer(2) => return Ok(()),
            toml::Value::String(text) if text == "2" => {
                ("must be the number 2", "write spin_manifest_version = 2")
            }
            _ => (
                "must be 2",
                "convert the manifest to version 2: a component is a table [component.NAME], and a route is a table [[trigger.http]]",
            ),
        };
        let message = format!("manifest version {} is not supported", version.get_ref());
        Err(self.error(version.span(), message, label, help))
    }

    /// An error at a span of this file.
    pub fn error(
        &self,
        span: std::ops::Range<usize>,
        message: impl Into<String>,
        label: impl Into<String>,
        help: impl Into<String>,
    ) -> ManifestError {
        ManifestError::at(self, span, message.into(), label.into(), help.into())
    }
}

/// Whether a text says that it is a manifest. Errors show lines of a manifest; a file that was named by mistake may be a key or a
/// list of passwords, and nothing of it is shown.
fn claims_to_be_one(text: &str) -> bool {
    let text = text.trim_start_matches('\u{feff}');
    text.lines().any(|line| {
        let key = line.split_once('=').map(|(key, _)| key.trim());
        key.is_some_and(|key| key.trim_matches('"') == "spin_manifest_version")
    })
}

fn no_manifest(path: &Path, reason: &str) -> ManifestError {
    ManifestError::file(
        format!("{} is not a Spin manifest: {reason}", path.display()),
        "name the spin.toml of an application with -f; it begins with spin_manifest_version = 2",
    )
}
