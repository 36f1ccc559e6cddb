//! Configuration: the variables of the manifest, read once per instance.

#[cfg(feature = "component")]
pub use variables::{milliseconds, once, text};

/// The value of `database_url` and `redis_url` that selects the embedded store instead of a server.
pub const EMBEDDED: &str = "embedded";

/// Why a component cannot start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The manifest does not define this variable, or the component has no access to it.
    #[error("the variable {0} is missing: {1}")]
    Missing(&'static str, String),
    /// The value of the variable cannot be used. The message leaves the value out: it may be a secret.
    #[error("the variable {0} is not {1}")]
    Invalid(&'static str, &'static str),
}

#[cfg(feature = "component")]
mod variables {
    use super::ConfigError;
    use localmart_kernel::time::parse_duration_ms;
    use std::cell::RefCell;
    use std::collections::BTreeMap;

    /// The value of a variable.
    pub async fn text(name: &'static str) -> Result<String, ConfigError> {
        let value = spin_sdk::variables::get(name).await;
        value.map_err(|error| ConfigError::Missing(name, error.to_string()))
    }

    /// The value of a variable, read once and cached for the life of the instance.
    pub async fn once(name: &'static str) -> Result<String, ConfigError> {
        thread_local! {
            static KNOWN: RefCell<BTreeMap<&'static str, String>> = const { RefCell::new(BTreeMap::new()) };
        }
        if let Some(value) = KNOWN.with_borrow(|known| known.get(name).cloned()) {
            return Ok(value);
        }
        let value = text(name).await?;
        KNOWN.with_borrow_mut(|known| known.insert(name, value.clone()));
        Ok(value)
    }

    /// The value of a variable that holds a duration, as `15m`, in milliseconds.
    pub async fn milliseconds(name: &'static str) -> Result<i64, ConfigError> {
        let ms = parse_duration_ms(&text(name).await?);
        ms.filter(|ms| *ms >= 0)
            .ok_or(ConfigError::Invalid(name, "a duration like 15m"))
    }
}
