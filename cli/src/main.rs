//! `localmart`: one file per verb. This file only chooses the verb and shows errors.

mod app;
mod bench;
mod build;
mod bus;
mod check;
mod client;
mod clock;
mod commit;
mod completions;
mod contract;
mod control;
mod databases;
mod doctor;
mod events;
mod explain;
mod fault;
mod graph;
mod logs;
mod migrate;
mod open_files;
mod progress;
mod promote;
mod replay;
mod rollback;
mod routes;
mod secrets;
mod seed;
mod shop;
mod status;
mod swap;
mod token;
mod top;
mod traffic;
mod up;
mod verify;
mod version;
mod workers;

use clap::{CommandFactory as _, Parser, Subcommand};
use localmart_host::manifest::ManifestError;
use std::process::ExitCode;

/// A request makes and drops many small things; this gives them back faster than the system's own.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Gives memory that nobody uses any more back to the system, as after compiling.
fn give_memory_back() {
    // SAFETY: it may be called at any time; it only looks for what is free.
    unsafe { libmimalloc_sys::mi_collect(true) };
}

/// A real shop made of WebAssembly components, and the host that runs it.
#[derive(Parser)]
#[command(name = "localmart", version = version::VERSION.as_str())]
struct Command {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Build what is stale, migrate, seed an empty store, and serve.
    Up(up::Up),
    /// Build components, and fuse linked components.
    Build(build::Build),
    /// Apply the migrations that the components carry.
    Migrate(migrate::Migrate),
    /// Fill a running shop with products, categories and stock.
    Seed(seed::Seed),
    /// Play the invoices of a CSV file as orders, and compare the sums.
    Replay(replay::Replay),
    /// Show which component answers where.
    Routes(routes::Routes),
    /// Check the manifest, the components and this machine.
    Doctor(doctor::Doctor),
    /// Draw the application: who links whom, and how.
    Graph(graph::Graph),
    /// Say who answers each import of a component, and who nearly did.
    Explain(explain::Explain),
    /// Check whether a file can take a component's place.
    Check(check::Check),
    /// Put another file in a component's place while requests come in.
    Swap(swap::Swap),
    /// Give what is on trial all calls.
    Promote(promote::Promote),
    /// Go back to the generation before the last swap.
    Rollback(rollback::Rollback),
    /// Run the contract suite of a component's interface against a file.
    Test(contract::Test),
    /// Put errors, delays and traps on links and capabilities of the running shop.
    Fault(fault::FaultVerb),
    /// Show the time of the running shop, and move its test clock.
    Clock(clock::ClockVerb),
    /// Record the calls of a link into a file, and replay them against a component.
    Traffic(traffic::Traffic),
    /// Measure cold starts, calls and requests; compare files, bindings, servers.
    Bench(Box<bench::Bench>),
    /// Watch the running shop in the terminal.
    ///
    /// Shows generations, links, rates, latencies and memory. q or Esc quits; the arrow keys, Page Up, Page Down, Home and End
    /// scroll. In a pipe, one report follows the other.
    Top(top::Top),
    /// Show the components of the running shop, their generations and links.
    Status(status::Status),
    /// Print the log of the shop.
    Logs(logs::Logs),
    /// Show the secrets of this shop, making them if there are none.
    Secrets(secrets::Secrets),
    /// Look into the bus: what happened, who is behind, what was given up.
    Events(events::Events),
    /// Check the invariants I1 to I7 over the stores.
    Verify(verify::Verify),
    /// Make a token for staff, as for scripts and first steps.
    Token(token::Token),
    /// Print a completion script for a shell.
    ///
    /// bash: localmart completions bash > ~/.local/share/bash-completion/completions/localmart
    ///
    /// fish: localmart completions fish > ~/.config/fish/completions/localmart.fish
    ///
    /// zsh: localmart completions zsh > _localmart, in a folder of $fpath
    Completions(completions::Completions),
}

/// The exit code of a program that SIGPIPE ended, as shells report it.
const NOBODY_READS: i32 = 128 + 13;

/// Ends quietly when whoever read the output has gone, as in `localmart events list | head`.
fn end_when_nobody_reads() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let text = panic.payload().downcast_ref::<String>();
        let gone = |text: &String| {
            text.starts_with("failed printing to stdout") && text.contains("Broken pipe")
        };
        if text.is_some_and(gone) {
            std::process::exit(NOBODY_READS);
        }
        usual(panic);
    }));
}

fn main() -> ExitCode {
    end_when_nobody_reads();
    let result = match Command::parse().verb {
        Verb::Up(verb) => verb.run(),
        Verb::Build(verb) => verb.run(),
        Verb::Migrate(verb) => verb.run(),
        Verb::Seed(verb) => verb.run(),
        Verb::Replay(verb) => verb.run(),
        Verb::Routes(verb) => verb.run(),
        Verb::Doctor(verb) => verb.run(),
        Verb::Graph(verb) => verb.run(),
        Verb::Explain(verb) => verb.run(),
        Verb::Check(verb) => verb.run(),
        Verb::Swap(verb) => verb.run(),
        Verb::Promote(verb) => verb.run(),
        Verb::Rollback(verb) => verb.run(),
        Verb::Test(verb) => verb.run(),
        Verb::Fault(verb) => verb.run(),
        Verb::Clock(verb) => verb.run(),
        Verb::Traffic(verb) => verb.run(),
        Verb::Bench(verb) => verb.run(),
        Verb::Top(verb) => verb.run(),
        Verb::Status(verb) => verb.run(),
        Verb::Logs(verb) => verb.run(),
        Verb::Secrets(verb) => verb.run(),
        Verb::Events(verb) => verb.run(),
        Verb::Verify(verb) => verb.run(),
        Verb::Token(verb) => verb.run(),
        Verb::Completions(verb) => verb.run(Command::command()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            show(error);
            ExitCode::FAILURE
        }
    }
}

/// One readable error: with its place in the manifest if it has one.
fn show(error: anyhow::Error) {
    match error.downcast::<ManifestError>() {
        Ok(problem) => eprintln!("{:?}", miette::Report::new(problem)),
        Err(error) => eprintln!("error: {error:#}"),
    }
}
