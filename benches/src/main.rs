//! What the host and the shop cost, each figure beside a native axum program, measured in one run, in turns.
//!
//! `cargo run --release -p localmart-benches` builds nothing of the shop: run `cargo build --release` and `localmart build` before.
//! [`load`] drives a server, [`server`] starts one, [`native`] is the native counterpart, [`figures`] are the measurements, [`mixed`] is a crowd, [`stress`]
//! a crowd whose servers are killed.
//! It prints a table in Markdown; there is no timed assertion anywhere.

mod figures;
mod load;
mod mixed;
mod native;
mod server;
mod stress;

use clap::{Parser, Subcommand};
use std::net::SocketAddr;
use std::path::PathBuf;

/// Measures the host and the shop.
#[derive(Parser)]
struct Command {
    #[command(subcommand)]
    verb: Option<Verb>,
    /// Seconds that each measurement lasts.
    #[arg(long, default_value_t = 3)]
    seconds: u64,
    /// How often the programs take turns; the median counts.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Connections that ask at once.
    #[arg(long, default_value_t = 16)]
    connections: usize,
}

#[derive(Subcommand)]
enum Verb {
    /// A crowd of shoppers on one shop: browsing, filling carts, ordering. Says what was answered, and what verify says.
    Mixed(mixed::Mixed),
    /// Shoppers while the host, Postgres and Redis are killed; says what was answered, and what verify says.
    Stress(stress::Stress),
    /// The native counterpart; started by the bench itself.
    Native {
        /// Where it listens.
        #[arg(long)]
        listen: SocketAddr,
        /// A state folder of the shop, whose databases it uses.
        #[arg(long)]
        state: PathBuf,
    },
}

fn main() -> anyhow::Result<()> {
    let command = Command::parse();
    match command.verb {
        Some(Verb::Native { listen, state }) => native::serve(listen, &state),
        Some(Verb::Mixed(mixed)) => mixed.run(),
        Some(Verb::Stress(stress)) => stress.run(),
        None => figures::measure(&figures::Settings {
            seconds: command.seconds,
            rounds: command.rounds.max(1),
            connections: command.connections.max(1),
        }),
    }
}
