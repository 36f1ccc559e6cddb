//! The version that `localmart --version` prints, with the commit.

use crate::commit::checked_out;
use std::path::Path;
use std::sync::LazyLock;

/// The version, and in parentheses the commit if it is known.
pub(crate) static VERSION: LazyLock<String> = LazyLock::new(|| {
    let number = env!("CARGO_PKG_VERSION");
    match option_env!("LOCALMART_BUILD_COMMIT") {
        Some("") => number.to_owned(),
        Some(commit) => format!("{number} ({commit})"),
        // The build script does not set it in a debug build.
        None => match checked_out(&Path::new(env!("CARGO_MANIFEST_DIR")).join("..")) {
            (Some(commit), _) => format!("{number} (debug build, checkout at {commit})"),
            (None, _) => format!("{number} (debug build)"),
        },
    }
});
