//! Errors of a manifest, which name the file, the line, what is wrong and what to do.

use super::Source;
use miette::{Diagnostic, NamedSource, SourceSpan};
use std::ops::Range;
use std::path::Path;

/// Why an application cannot be loaded.
#[derive(Debug, thiserror::Error, Diagnostic)]
#[error("{message}")]
pub struct ManifestError {
    message: String,
    #[source_code]
    source_code: Option<NamedSource<String>>,
    #[label("{label}")]
    span: Option<SourceSpan>,
    label: String,
    #[help]
    help: String,
}

impl ManifestError {
    /// An error at a place of a manifest.
    pub(super) fn at(
        source: &Source,
        span: Range<usize>,
        message: String,
        label: String,
        help: String,
    ) -> Self {
        Self {
            message,
            source_code: Some(NamedSource::new(
                source.path.display().to_string(),
                source.text.as_ref().clone(),
            )),
            span: Some(span.into()),
            label,
            help,
        }
    }

    /// An error about a whole file.
    pub fn file(_path: &Path, message: impl Into<String>, help: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            source_code: None,
            span: None,
            label: String::new(),
            help: help.into(),
        }
    }
}
