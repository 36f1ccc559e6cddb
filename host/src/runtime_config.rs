//! `runtime-config.toml`: where the stores and variables of an application come from, as in Spin. Unknown keys are
//! errors, and so are Spin's keys that this host does not support.

use crate::limits;
use serde::Deserialize as _;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use toml::{Table, Value};

/// The content of a runtime configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuntimeConfig {
    /// The folder for databases and caches; a command-line option overrides it.
    pub state_dir: Option<PathBuf>,
    /// The limit for the linear memory of one instance in bytes; a command-line option overrides it.
    pub max_instance_memory: Option<usize>,
    /// The providers of variables, in the order of precedence.
    pub variables: Vec<VariablesProvider>,
    /// Key-value stores by label.
    pub key_value_stores: BTreeMap<String, KeyValueStore>,
    /// Databases by label.
    pub sqlite_databases: BTreeMap<String, PathBuf>,
    /// The limit for connections to all Postgres servers together.
    pub postgres_connections: usize,
}

/// A provider of variables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VariablesProvider {
    /// Values in the file itself.
    Static(BTreeMap<String, String>),
    /// Environment variables named prefix, `_`, and the name in upper case. A dotenv file with the same names comes
    /// second.
    Env {
        /// The prefix without the underscore.
        prefix: String,
        /// A file with lines `NAME=value`.
        dotenv: Option<PathBuf>,
    },
}

/// The backend of a key-value store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyValueStore {
    /// A file; `None` means the default file in the state folder.
    Spin(Option<PathBuf>),
    /// The URL of a Redis server.
    Redis(String),
}

impl Default for RuntimeConfig {
    fn default() -> Self {
        Self {
            state_dir: None,
            max_instance_memory: None,
            variables: Vec::new(),
            key_value_stores: BTreeMap::new(),
            sqlite_databases: BTreeMap::new(),
            postgres_connections: limits::POSTGRES_CONNECTIONS,
        }
    }
}

/// Why a runtime configuration cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}: {message}\n  help: {help}")]
pub struct RuntimeConfigError {
    file: String,
    message: String,
    help: String,
}

/// Keys of Spin that this host does not support, each with advice.
const ELSEWHERE: &[(&str, &str)] = &[
    ("llm_compute", "this host has no language models; remove it"),
    (
        "outbound_networking",
        "limit destinations with allowed_outbound_hosts",
    ),
    ("client_tls", "client certificates are not supported yet"),
    (
        "outbound_http",
        "outgoing requests have fixed limits in this host",
    ),
    (
        "outbound_redis",
        "this host shares one connection per server and core",
    ),
    ("outbound_mysql", "this host has no MySQL"),
    ("outbound_mqtt", "this host has no MQTT"),
    ("log_dir", "logs go to stderr; redirect them"),
];

impl RuntimeConfig {
    /// Reads a file.
    pub fn read(path: &Path) -> Result<Self, RuntimeConfigError> {
        let reader = Reader {
            file: path.display().to_string(),
            folder: path.parent().unwrap_or(Path::new("")).to_owned(),
        };
        let text = std::fs::read_to_string(path).map_err(|error| {
            reader.wrong(
                error.to_string(),
                "name a readable file with --runtime-config-file",
            )
        })?;
        reader.config(&text)
    }
}

struct Reader {
    file: String,
    folder: PathBuf,
}

#[derive(serde::Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
enum StoreTable {
    Spin { path: Option<PathBuf> },
    Redis { url: String },
}

#[derive(serde::Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
enum DatabaseTable {
    Spin { path: Option<PathBuf> },
}

#[derive(serde::Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
enum ProviderTable {
    Static {
        values: BTreeMap<String, String>,
    },
    Env {
        prefix: Option<String>,
        dotenv_path: Option<PathBuf>,
    },
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct PostgresTable {
    max_connections: Option<usize>,
}

impl Reader {
    fn wrong(&self, message: impl Into<String>, help: &str) -> RuntimeConfigError {
        RuntimeConfigError {
            file: self.file.clone(),
            message: message.into(),
            help: help.to_owned(),
        }
    }

    fn config(&self, text: &str) -> Result<RuntimeConfig, RuntimeConfigError> {
        let table: Table = text.parse().map_err(|error: toml::de::Error| {
            // The message leaves out the text of the line: a file that was named by mistake may hold a key.
            let before = error.span().and_then(|span| text.get(..span.start));
            let line = before.map_or(1, |before| before.matches('\n').count() + 1);
            let message = format!("line {line} is not TOML: {}", error.message());
            self.wrong(message, "correct this line, or name another file")
        })?;
        let mut config = RuntimeConfig::default();
        for (key, value) in table {
            match (key.as_str(), &value) {
                ("state_dir", Value::String(path)) => {
                    config.state_dir = (!path.is_empty()).then(|| PathBuf::from(path));
                }
                ("max_instance_memory", Value::Integer(bytes)) => {
                    let bytes = usize::try_from(*bytes).ok().filter(|bytes| *bytes > 0);
                    config.max_instance_memory = Some(bytes.ok_or_else(|| {
                        self.wrong(
                            "max_instance_memory is not a number of bytes",
                            "write a whole number",
                        )
                    })?);
                }
                ("variables_provider" | "config_provider", Value::Array(providers)) => {
                    for provider in providers {
                        let read = self.provider(provider.clone())?;
                        config.variables.push(read);
                    }
                }
                ("key_value_store", Value::Table(stores)) => {
                    for (label, store) in stores {
                        let read = self.store(label, store.clone())?;
                        config.key_value_stores.insert(label.clone(), read);
                    }
                }
                ("sqlite_database", Value::Table(databases)) => {
                    for (label, database) in databases {
                        let read = self.database(label, database.clone())?;
                        config.sqlite_databases.insert(label.clone(), read);
                    }
                }
                ("outbound_pg", Value::Table(_)) => {
                    let table = PostgresTable::deserialize(value.clone());
                    let table = table.map_err(|error| {
                        self.wrong(
                            format!("[outbound_pg]: {}", error.message()),
                            "the only key is max_connections",
                        )
                    })?;
                    if let Some(most) = table.max_connections.filter(|most| *most > 0) {
                        config.postgres_connections = most;
                    }
                }
                (
                    known @ ("state_dir"
                    | "max_instance_memory"
                    | "variables_provider"
                    | "config_provider"
                    | "key_value_store"
                    | "sqlite_database"
                    | "outbound_pg"),
                    _,
                ) => {
                    return Err(self.wrong(
                        format!("`{known}` has a wrong type"),
                        "see docs/reference/runtime-config.md",
                    ));
                }
                (key, _) => return Err(self.unknown(key)),
            }
        }
        Ok(config)
    }

    fn unknown(&self, key: &str) -> RuntimeConfigError {
        match ELSEWHERE.iter().find(|(known, _)| *known == key) {
            Some((_, help)) => self.wrong(format!("`{key}` is not supported by this host"), help),
            None => self.wrong(
                format!("`{key}` is not a key of a runtime configuration"),
                "see docs/reference/runtime-config.md",
            ),
        }
    }

    fn provider(&self, value: Value) -> Result<VariablesProvider, RuntimeConfigError> {
        let kind = value
            .get("type")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned();
        let help = "supported types are static and env";
        let table = ProviderTable::deserialize(value).map_err(|error| {
            self.wrong(
                format!("a variables provider of type `{kind}`: {}", error.message()),
                help,
            )
        })?;
        Ok(match table {
            ProviderTable::Static { values } => VariablesProvider::Static(values),
            ProviderTable::Env {
                prefix,
                dotenv_path,
            } => VariablesProvider::Env {
                prefix: prefix.unwrap_or_else(|| "SPIN_VARIABLE".to_owned()),
                dotenv: dotenv_path,
            },
        })
    }

    fn store(&self, label: &str, value: Value) -> Result<KeyValueStore, RuntimeConfigError> {
        let help = "supported types are spin (path) and redis (url)";
        let table = StoreTable::deserialize(value).map_err(|error| {
            self.wrong(
                format!("[key_value_store.{label}]: {}", error.message()),
                help,
            )
        })?;
        Ok(match table {
            // As in Spin, relative to the configuration file.
            StoreTable::Spin { path } => {
                KeyValueStore::Spin(path.map(|path| self.folder.join(path)))
            }
            StoreTable::Redis { url } => KeyValueStore::Redis(url),
        })
    }

    fn database(&self, label: &str, value: Value) -> Result<PathBuf, RuntimeConfigError> {
        let help = "the supported type is spin (path)";
        let table = DatabaseTable::deserialize(value).map_err(|error| {
            self.wrong(
                format!("[sqlite_database.{label}]: {}", error.message()),
                help,
            )
        })?;
        let DatabaseTable::Spin { path } = table;
        // As in Spin, relative to the working directory.
        path.ok_or_else(|| {
            self.wrong(
                format!("[sqlite_database.{label}] has no path"),
                "in-memory databases are not supported; name a file",
            )
        })
    }
}

impl VariablesProvider {
    /// The value of a variable, if this provider has one. A missing file has no values.
    pub fn get(&self, name: &str) -> Option<String> {
        match self {
            Self::Static(values) => values.get(name).cloned(),
            Self::Env { prefix, dotenv } => {
                let name = format!("{prefix}_{}", name.to_ascii_uppercase());
                let written = || {
                    let text = std::fs::read_to_string(dotenv.as_ref()?).ok()?;
                    value_in(&text, &name)
                };
                std::env::var(&name).ok().or_else(written)
            }
        }
    }
}

/// The value of a name in `NAME=value` lines, without surrounding quotes.
fn value_in(text: &str, name: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let line = line.trim().strip_prefix("export ").unwrap_or(line.trim());
        let (known, value) = line.split_once('=')?;
        let value = value.trim();
        let bare = ['"', '\'']
            .iter()
            .find_map(|quote| value.strip_prefix(*quote)?.strip_suffix(*quote));
        (known.trim() == name).then(|| bare.unwrap_or(value).to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<RuntimeConfig, String> {
        let reader = Reader {
            file: "runtime-config.toml".into(),
            folder: PathBuf::from("/config"),
        };
        reader.config(text).map_err(|error| error.to_string())
    }

    #[test]
    fn the_keys_of_spin_are_read() {
        let config = read(
            "state_dir = \"s\"\nmax_instance_memory = 1000\n\
             [[variables_provider]]\ntype = \"static\"\nvalues = { a = \"1\" }\n\
             [[variables_provider]]\ntype = \"env\"\nprefix = \"MY\"\ndotenv_path = \".env\"\n\
             [key_value_store.default]\ntype = \"redis\"\nurl = \"redis://h:1\"\n\
             [key_value_store.file]\ntype = \"spin\"\npath = \"kv.db\"\n\
             [sqlite_database.x]\ntype = \"spin\"\npath = \"x.db\"\n\
             [outbound_pg]\nmax_connections = 7\n",
        )
        .unwrap();
        assert_eq!(config.state_dir, Some("s".into()));
        assert_eq!(
            (config.max_instance_memory, config.postgres_connections),
            (Some(1000), 7)
        );
        assert_eq!(config.variables[0].get("a").as_deref(), Some("1"));
        assert_eq!(
            config.key_value_stores["default"],
            KeyValueStore::Redis("redis://h:1".into())
        );
        assert_eq!(
            config.key_value_stores["file"],
            KeyValueStore::Spin(Some("/config/kv.db".into()))
        );
        assert_eq!(config.sqlite_databases["x"], PathBuf::from("x.db"));
    }

    #[test]
    fn errors_name_the_key() {
        for (text, named) in [
            ("x = 1", "`x` is not a key"),
            (
                "[llm_compute]\ntype = \"spin\"",
                "`llm_compute` is not supported",
            ),
            (
                "[[variables_provider]]\ntype = \"vault\"\nurl = \"u\"",
                "of type `vault`",
            ),
            (
                "[key_value_store.a]\ntype = \"azure_cosmos\"",
                "[key_value_store.a]",
            ),
            (
                "[sqlite_database.a]\ntype = \"libsql\"\nurl = \"u\"",
                "[sqlite_database.a]",
            ),
            ("[sqlite_database.a]\ntype = \"spin\"", "has no path"),
            ("[outbound_pg]\nmin = 1", "[outbound_pg]"),
            ("state_dir = 1", "wrong type"),
            ("a = [", "TOML"),
        ] {
            let said = read(text).unwrap_err();
            assert!(said.contains(named) && said.contains("help"), "{said}");
        }
    }

    #[test]
    fn dotenv_lines_are_values() {
        let text = "# no\nexport MY_A = \"x y\"\nMY_B='z'\nMY_C=plain # not a comment\n";
        assert_eq!(value_in(text, "MY_A").as_deref(), Some("x y"));
        assert_eq!(value_in(text, "MY_B").as_deref(), Some("z"));
        assert_eq!(value_in(text, "MY_D"), None);
    }
}
