//! Measures the host and the shop. Each figure stands beside those of a native axum program and a bare host; all take turns in one run.
//!
//! `cargo run --release -p localmart-benches` does not build the shop: run `cargo build --release` and `localmart build` first.
//! [`native`] is the native counterpart, [`bare`] the ceiling; [`figures`] has the measurements. [`mixed`] is a mixed load, [`swaps`] a load
//! while components are swapped, [`stress`] a load whose servers are killed, [`crowd`] orders over the number of shoppers. No result is asserted against a time.

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
    /// Rounds, in which the programs take turns.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Connections, each with one request at a time.
    #[arg(long, default_value_t = 16)]
    connections: usize,
    /// Measure this server too, with the same load: a shop with the same routes, or any address beside hello.
    #[arg(long)]
    against: Option<String>,
    /// Only figures whose name contains this.
    #[arg(long)]
    only: Option<String>,
    /// The folder for table, JSON and page.
    #[arg(long, default_value = "benches/results")]
    out: PathBuf,
}

#[derive(Subcommand)]
enum Verb {
    /// Shoppers who browse, fill carts and order. Prints the answers by status and the result of verify.
    Mixed(mixed::Mixed),
    /// Swaps components under load: good ones, then bad ones.
    Swaps(swaps::Swaps),
    /// Orders per second over the number of shoppers, on each set of stores.
    Crowd(crowd::Crowd),
    /// Load while the host, Postgres and Redis are killed. Prints the answers by status and the result of verify.
    Stress(stress::Stress),
    /// The native counterpart; the bench starts it itself.
    Native {
        /// The address to listen on.
        #[arg(long)]
        listen: SocketAddr,
        /// A state folder of the shop, with its databases.
        #[arg(long)]
        state: PathBuf,
        /// A Postgres server with the shop's databases, instead of the files.
        #[arg(long)]
        database_url: Option<String>,
    },
    /// The ceiling: hyper and wasmtime with little in between; the bench starts it itself.
    Bare {
        /// The address to listen on.
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
