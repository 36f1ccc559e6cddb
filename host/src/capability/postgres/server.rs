//! Which connections can serve an address: those to the same server, database and user. A schema that the address sets
//! with `options=-c search_path=…` is left out, because the pool sets it on any such connection.

use localmart_connect::Trust;
use std::sync::Arc;
use tokio_postgres::Config;

/// The schema that a connection is set to; `None` is the server's default.
pub(super) type Schema = Option<Arc<str>>;

/// A server, as one guest addresses it.
#[derive(Clone)]
pub(super) struct Server {
    /// The address without the schema. Equal names mean the same server, database, user and options.
    pub(super) name: Arc<str>,
    /// The schema.
    pub(super) schema: Schema,
    /// How to connect, without the schema.
    pub(super) config: Arc<Config>,
    /// Whom to trust; `None` for a connection without TLS.
    pub(super) trust: Option<Trust>,
}

impl Server {
    /// Splits an address that was parsed to `config` and `trust`.
    pub(super) fn new(address: &str, (mut config, trust): (Config, Option<Trust>)) -> Self {
        let schema = config.get_options().and_then(schema_of).map(str::to_owned);
        let (name, schema) = match schema {
            // The name of a schema cannot stand anywhere else after such an assignment.
            Some(schema) => {
                config.options("");
                let assigned = [
                    format!("search_path%3D{schema}"),
                    format!("search_path={schema}"),
                ];
                let name = assigned.iter().fold(address.to_owned(), |name, assigned| {
                    name.replace(assigned, "")
                });
                (name.into(), Some(schema.into()))
            }
            None => (address.into(), None),
        };
        Self {
            name,
            schema,
            config: Arc::new(config),
            trust,
        }
    }
}

/// The schema, if the options set exactly one and nothing else.
fn schema_of(options: &str) -> Option<&str> {
    let assigned = options.trim().strip_prefix("-c")?.trim_start();
    let name = assigned.strip_prefix("search_path=")?;
    let mut letters = name.chars();
    let is_name = letters
        .next()
        .is_some_and(|c| c.is_ascii_lowercase() || c == '_')
        && letters.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    is_name.then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(address: &str) -> Server {
        Server::new(address, (address.parse().unwrap(), None))
    }

    #[test]
    fn schemas_of_one_server_share_connections() {
        let base = "postgres://a:b@c/d?options=-c%20search_path%3D";
        let (one, other) = (
            server(&format!("{base}one")),
            server(&format!("{base}other")),
        );
        assert_eq!(one.name, other.name);
        assert_eq!(one.schema.as_deref(), Some("one"));
        assert_eq!(one.config.get_options(), Some(""));
        let elsewhere = server("postgres://a:b@c/e?options=-c%20search_path%3Done");
        assert_ne!(one.name, elsewhere.name);
        let spaces = server("host=c user=a options='-c search_path=other'");
        assert_eq!(spaces.schema.as_deref(), Some("other"));
    }

    #[test]
    fn other_options_belong_to_the_connection() {
        for options in [
            "-c%20statement_timeout%3D5",
            "-c%20search_path%3Da%2Cb",
            "-c%20search_path%3Da%20-c%20work_mem%3D1",
            "-c%20search_path%3DA",
        ] {
            let address = format!("postgres://a@c/d?options={options}");
            let server = server(&address);
            assert_eq!(server.schema, None, "{options}");
            assert_eq!(&*server.name, address);
        }
    }
}
