//! The running shop that a verb talks to.

use clap::Args;
use localmart_host::control::client::Host;
use std::net::SocketAddr;

/// Which running shop.
#[derive(Args, Clone, Debug)]
pub(crate) struct Which {
    /// The address that it serves; needed only where several run.
    #[arg(long)]
    listen: Option<SocketAddr>,
}

impl Which {
    pub(crate) fn host(&self) -> anyhow::Result<Host> {
        Host::find(self.listen.map(|address| address.port()))
    }
}

/// The beginning of a hash, enough to tell it from others.
pub(crate) fn short(digest: &str) -> &str {
    digest.get(..12).unwrap_or(digest)
}
