//! Errors about a manifest, with file, line, reason and help.

use super::Source;
use miette::{Diagnostic, NamedSource, SourceSpan};
use std::ops::Range;

/// Why a manifest cannot be used.
#[derive(Debug, thiserror::Error, Diagnostic)]
#[error(transparent)]
#[diagnostic(transparent)]
pub struct ManifestError(Box<Problem>);

/// Boxed because it contains the text of the manifest and is rare.
#[derive(Debug, thiserror::Error, Diagnostic)]
#[error("{message}")]
struct Problem {
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
    /// An error at a span of a manifest.
    pub(super) fn at(
        source: &Source,
        span: Range<usize>,
        message: String,
        label: String,
        help: String,
    ) -> Self {
        let name = source.path.display().to_string();
        Self(Box::new(Problem {
            message,
            source_code: Some(NamedSource::new(name, source.text.as_ref().clone())),
            span: Some(span.into()),
            label,
            help,
        }))
    }

    /// An error about a whole file, which the message names.
    pub fn file(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self(Box::new(Problem {
            message: message.into(),
            source_code: None,
            span: None,
            label: String::new(),
            help: help.into(),
        }))
    }
}
