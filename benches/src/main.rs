//! What the host and the shop cost, each figure beside a native axum program and a bare host, measured in one run, in turns.
//!
//! `cargo run --release -p localmart-benches` builds nothing of the shop: run `cargo build --release` and `localmart build` before.
//! [`native`] is the native counterpart, [`bare`] the ceiling, [`figures`] are the measurements; [`mixed`] is a crowd, [`swaps`] a crowd while
//! components are swapped, [`stress`] a crowd whose servers are killed. There is no timed assertion anywhere.

mod bare;
mod crowd;
mod figures;
mod hostile;
mod mixed;
mod native;
mod stress;
mod swaps;

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
    /// How often the programs take turns.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Connections that ask at once.
    #[arg(long, default_value_t = 16)]
    connections: usize,
    /// Measure this server too, with the same load: a shop with the same routes, or an address of its own that answers like hello.
    #[arg(long)]
    against: Option<String>,
    /// Only figures whose name contains this.
    #[arg(long)]
    only: Option<String>,
    /// Where table, JSON and page go.
    #[arg(long, default_value = "benches/results")]
    out: PathBuf,
}

#[derive(Subcommand)]
enum Verb {
    /// A crowd of shoppers on one shop: browsing, filling carts, ordering. Says what was answered, and what verify says.
    Mixed(mixed::Mixed),
    /// Swaps of components while a crowd shops: good ones, then bad ones.
    Swaps(swaps::Swaps),
    /// Orders per second over the number of shoppers, on each set of stores.
    Crowd(crowd::Crowd),
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
        /// A Postgres server with the shop's databases, in place of the files.
        #[arg(long)]
        database_url: Option<String>,
    },
    /// The ceiling: hyper and wasmtime with little between; started by the bench itself.
    Bare {
        /// Where it listens.
        #[arg(long)]
        listen: SocketAddr,
        /// The application.
        #[arg(long)]
        manifest: PathBuf,
        /// Its state folder.
        #[arg(long)]
        state: PathBuf,
    },
}

fn main() -> anyhow::Result<()> {
    let command = Command::parse();
    match command.verb {
        Some(Verb::Native {
            listen,
            state,
            database_url,
        }) => native::serve(listen, &state, database_url.as_deref()),
        Some(Verb::Bare {
            listen,
            manifest,
            state,
        }) => bare::serve(listen, &manifest, &state),
        Some(Verb::Mixed(mixed)) => mixed.run(),
        Some(Verb::Crowd(crowd)) => crowd.run(),
        Some(Verb::Stress(stress)) => stress.run(),
        Some(Verb::Swaps(swaps)) => swaps.run(),
        None => figures::measure(figures::Plan {
            seconds: command.seconds,
            rounds: command.rounds.max(1),
            connections: command.connections.max(1),
            against: command.against,
            only: command.only,
            out: command.out,
        }),
    }
}
