//! Redis behind one small trait, so that the stores and the bus work both in a component and in the command line.

use crate::short_lived::StoreError;

/// An argument of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Argument {
    /// A number, written in decimal.
    Number(i64),
    /// Bytes.
    Bytes(Vec<u8>),
}

/// One item of an answer. Nested lists are flattened, as in `spin:redis`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// No value.
    Nil,
    /// A number.
    Number(i64),
    /// Bytes, or the text of a status.
    Bytes(Vec<u8>),
}

impl Reply {
    /// The bytes as text.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Bytes(bytes) => std::str::from_utf8(bytes).ok(),
            _ => None,
        }
    }

    /// The number, sent as a number or as text.
    pub fn number(&self) -> Option<i64> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Bytes(_) => self.text()?.parse().ok(),
            Self::Nil => None,
        }
    }
}

/// A connection to a server. It is shared: a command must not block or change the state of the connection.
#[allow(async_fn_in_trait, reason = "components have one thread")]
pub trait Redis {
    /// Sends a command and returns its flattened answer.
    async fn send(&self, command: &str, arguments: Vec<Argument>)
    -> Result<Vec<Reply>, StoreError>;
}

impl From<&str> for Argument {
    fn from(text: &str) -> Self {
        Self::Bytes(text.as_bytes().to_vec())
    }
}

impl From<String> for Argument {
    fn from(text: String) -> Self {
        Self::Bytes(text.into_bytes())
    }
}

impl From<&[u8]> for Argument {
    fn from(bytes: &[u8]) -> Self {
        Self::Bytes(bytes.to_vec())
    }
}

impl From<i64> for Argument {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

#[cfg(target_arch = "wasm32")]
pub use server::Server;

#[cfg(target_arch = "wasm32")]
mod server {
    use super::{Argument, Redis, Reply};
    use crate::short_lived::StoreError;
    use crate::wit::redis as wit;
    use std::cell::RefCell;
    use std::rc::Rc;

    thread_local! {
        /// The connection of this instance; discarded after an error.
        static OPENED: RefCell<Option<(String, Rc<wit::Connection>)>> = const { RefCell::new(None) };
    }

    /// A Redis server, reached through `spin:redis`.
    #[derive(Clone)]
    pub struct Server {
        address: String,
    }

    impl Server {
        /// The server at `redis://host:port/number`.
        pub fn new(address: &str) -> Self {
            Self {
                address: address.to_owned(),
            }
        }

        async fn connection(&self) -> Result<Rc<wit::Connection>, StoreError> {
            let known = OPENED.with_borrow(|opened| opened.clone());
            if let Some((_, connection)) = known.filter(|(address, _)| *address == self.address) {
                return Ok(connection);
            }
            let connection = wit::Connection::open(self.address.clone()).await;
            let connection = Rc::new(connection.map_err(failed)?);
            OPENED.set(Some((self.address.clone(), connection.clone())));
            Ok(connection)
        }

        /// Publishes a message to the current subscribers of a channel.
        pub async fn publish(&self, channel: &str, payload: &str) -> Result<(), StoreError> {
            let connection = self.connection().await?;
            let sent = connection.publish(channel.to_owned(), payload.as_bytes().to_vec());
            sent.await.map_err(failed)
        }
    }

    impl Redis for Server {
        async fn send(
            &self,
            command: &str,
            arguments: Vec<Argument>,
        ) -> Result<Vec<Reply>, StoreError> {
            let connection = self.connection().await?;
            let to_wit = |argument| match argument {
                Argument::Number(number) => wit::RedisParameter::Int64(number),
                Argument::Bytes(bytes) => wit::RedisParameter::Binary(bytes),
            };
            let arguments = arguments.into_iter().map(to_wit).collect();
            let answer = connection.execute(command.to_owned(), arguments).await;
            let from_wit = |reply| match reply {
                wit::RedisResult::Nil => Reply::Nil,
                wit::RedisResult::Status(text) => Reply::Bytes(text.into_bytes()),
                wit::RedisResult::Int64(number) => Reply::Number(number),
                wit::RedisResult::Binary(bytes) => Reply::Bytes(bytes),
            };
            Ok(answer.map_err(failed)?.into_iter().map(from_wit).collect())
        }
    }

    fn failed(error: wit::Error) -> StoreError {
        OPENED.set(None);
        StoreError(error.to_string())
    }
}
