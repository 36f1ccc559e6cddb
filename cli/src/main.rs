//! `localmart`: one file per command. This file only chooses the command and shows errors.

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
mod manifest;
mod migrate;
mod new;
mod oci;
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

/// Requests allocate and free many small objects, which this allocator does faster than the system's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Returns unused memory to the system, for example after compiling.
fn give_memory_back() {
    // SAFETY: it may be called at any time; it only frees unused memory.
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
    /// Build what is out of date, apply migrations, fill an empty store, and serve.
    Up(Box<up::Up>),
    /// Build components, and fuse linked components.
    Build(build::Build),
    /// Make a new service.
    New(new::New),
    /// Write the lists that come from the declarations of the components.
    Manifest(manifest::Manifest),
    /// Push the application to a registry, pull it, or look at one there.
    Oci(oci::OciVerb),
    /// Apply the migrations that the components carry.
    Migrate(migrate::Migrate),
    /// Fill a running shop with products, categories and stock.
    Seed(seed::Seed),
    /// Place the invoices of a CSV file as orders, and compare the sums.
    Replay(replay::Replay),
    /// List the routes and the component behind each.
    Routes(routes::Routes),
    /// Check the manifest, the components and this machine, and say how to fix each problem.
    Doctor(doctor::Doctor),
    /// Draw the components and their links.
    Graph(graph::Graph),
    /// Say which component satisfies each import, and why other candidates do not.
    Explain(explain::Explain),
    /// Check whether a file can replace a component.
    Check(check::Check),
    /// Replace a component of the running shop.
    Swap(swap::Swap),
    /// Give a canary all calls.
    Promote(promote::Promote),
    /// Go back to the generation before the last swap.
    Rollback(rollback::Rollback),
    /// Run the contract tests of a component's interface against a file.
    Test(contract::Test),
    /// Inject errors, delays and traps into links and stores of the running shop.
    Fault(fault::FaultVerb),
    /// Show the time of the running shop, and move its test clock.
    Clock(clock::ClockVerb),
    /// Record the calls of a link into a file, and replay them against a component.
    Traffic(traffic::Traffic),
    /// Measure cold starts, calls and requests; compare files, bindings and servers.
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
    /// Print the secrets of the shop; generate them if there are none.
    Secrets(secrets::Secrets),
    /// Read the event bus: events, lagging consumers, and events that consumers gave up.
    Events(events::Events),
    /// Check that money, stock, orders and events add up over all stores.
    Verify(verify::Verify),
    /// Print an access token for staff.
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

/// The exit code of a program that SIGPIPE terminated, as shells report it.
const BROKEN_PIPE: i32 = 128 + 13;

/// Ends quietly when the reader of the output has closed the pipe, as in `localmart events list | head`.
fn end_with_closed_pipe() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let text = panic.payload().downcast_ref::<String>();
        let gone = |text: &String| {
            text.starts_with("failed printing to stdout") && text.contains("Broken pipe")
        };
        if text.is_some_and(gone) {
            std::process::exit(BROKEN_PIPE);
        }
        usual(panic);
    }));
}

fn main() -> ExitCode {
    end_with_closed_pipe();
    let result = match Command::parse().verb {
        Verb::Up(verb) => verb.run(),
        Verb::Build(verb) => verb.run(),
        Verb::Manifest(verb) => verb.run(),
        Verb::New(verb) => verb.run(),
        Verb::Oci(verb) => verb.run(),
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

/// Prints an error, with its place in the manifest if it has one.
fn show(error: anyhow::Error) {
    match error.downcast::<ManifestError>() {
        Ok(problem) => eprintln!("{:?}", miette::Report::new(problem)),
        Err(error) => eprintln!("error: {error:#}"),
    }
}
