//! Swaps under load: shoppers first without swaps, then with swaps to good components, then to bad ones. Prints the answers and the 99th
//! percentile of each phase, the outcome of every swap, and the result of `localmart verify`.

use crate::mixed::{Answers, act, products};
use anyhow::Context as _;
use clap::Args;
use localmart_host::link::fuse::{Part, fuse};
use localmart_measure::load::{Client, Outcome, closed_loop};
use localmart_measure::server::Server;
use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Swaps under load.
#[derive(Args)]
pub(crate) struct Swaps {
    /// The number of good swaps.
    #[arg(long, default_value_t = 20)]
    swaps: usize,
    /// The time between two swaps, in seconds.
    #[arg(long, default_value_t = 2)]
    pause: u64,
    /// The number of shoppers.
    #[arg(long, default_value_t = 32)]
    clients: usize,
    /// Variables, as for localmart up.
    #[arg(long, default_value = "isolated")]
    binding: String,
    /// The binary to measure.
    #[arg(long, default_value = "target/release/localmart")]
    localmart: PathBuf,
}

/// The components that are swapped, in this order.
const COMPONENTS: [&str; 3] = ["catalog", "order", "recommendation"];
/// The bad components, and a part of the expected report of each.
const BAD: [(&str, &str); 3] = [
    ("traps", "was rolled back"),
    ("slow", "was rolled back"),
    ("renamed", "other types"),
];
/// The minimum length of a phase.
const LEAST: Duration = Duration::from_secs(10);

impl Swaps {
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .context("the bench has no repository")?;
        let (binary, manifest) = (root.join(&self.localmart), root.join("spin.toml"));
        let state = std::env::temp_dir().join(format!("localmart-swaps-{}", std::process::id()));
        let flags = ["--binding".to_owned(), self.binding.clone()];
        let shop = Server::host(&binary, &manifest, &state, "/api/products", &flags)?;
        let verb = |words: &[&str]| {
            let mut command = Command::new(&binary);
            command.args(words);
            command
        };
        let url = format!("http://{}", shop.address);
        let stores = ["-f", path(&manifest)?, "--state-dir", path(&state)?];
        let seeded = verb(&["seed", "--url", &url]).args(stores).status()?;
        anyhow::ensure!(seeded.success(), "the shop cannot be seeded");
        let listen = shop.address.to_string();
        let swap = |component: &str, file: &Path, more: &[&str]| {
            let words = [
                "swap",
                component,
                path(file)?,
                "--no-test",
                "--listen",
                &listen,
            ];
            let said = verb(&words).args(more).output()?;
            let text = [said.stdout, said.stderr].concat();
            anyhow::Ok((
                said.status.success(),
                String::from_utf8_lossy(&text).into_owned(),
            ))
        };
        let before = self.phase(&shop, &|_| std::thread::sleep(LEAST))?;
        told("undisturbed", &before);
        let good = self.phase(&shop, &|_| {
            for number in 0..self.swaps {
                let component = COMPONENTS
                    .get(number % COMPONENTS.len())
                    .copied()
                    .unwrap_or_default();
                let file = root.join(format!("dist/{component}.wasm"));
                match swap(component, &file, &[]) {
                    Ok((true, _)) => {}
                    Ok((false, said)) => eprintln!("{component}: {said}"),
                    Err(error) => eprintln!("{component}: {error:#}"),
                }
                std::thread::sleep(Duration::from_secs(self.pause));
            }
        })?;
        told(&format!("{} good swaps", self.swaps), &good);
        let ratio = good.outcome.p99.as_secs_f64() / before.outcome.p99.as_secs_f64();
        println!("p99 during swaps: {ratio:.2} times as long as before (goal: at most 2)");
        let files = bad(root, &state)?;
        let outcomes = std::sync::Mutex::new(Vec::new());
        let ill = self.phase(&shop, &|_| {
            for (what, file) in &files {
                let swapped = swap("catalog", file, &["--watch", "20s", "--max-p99-ratio", "3"]);
                if let (Ok(outcome), Ok(mut outcomes)) = (swapped, outcomes.lock()) {
                    outcomes.push((*what, outcome));
                }
            }
        })?;
        told("bad swaps", &ill);
        let outcomes = outcomes.into_inner().unwrap_or_default();
        let mut as_expected = outcomes.len() == BAD.len();
        for (what, (kept, said)) in &outcomes {
            let last = said.lines().last().unwrap_or_default();
            println!("  {what}: {last}");
            let expected = BAD.iter().find(|(known, _)| known == what);
            as_expected &= !kept && expected.is_some_and(|(_, part)| said.contains(part));
        }
        let content = verb(&["verify"]).args(stores).status()?.success();
        drop(shop);
        // If this fails, the system cleans its temporary folder.
        let _ = std::fs::remove_dir_all(&state);
        anyhow::ensure!(
            content && as_expected && good.broken() == 0,
            "a swap was not as it should be"
        );
        Ok(())
    }

    /// Runs the load for as long as `during` takes.
    fn phase(&self, shop: &Server, during: &(dyn Fn(&Self) + Sync)) -> anyhow::Result<Phase> {
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                during(self);
                over.store(true, Ordering::Relaxed);
            });
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            let answers = Rc::new(RefCell::new(Answers::new()));
            let (mut rounds, mut number) = (Vec::new(), 0);
            while !over.load(Ordering::Relaxed) {
                let (counted, first) = (answers.clone(), number);
                let outcome = runtime.block_on(async {
                    let products = products(&mut Client::connect(shop.address).await?).await?;
                    let products: Rc<[String]> = products.into();
                    let (start, clients) = (first, self.clients);
                    closed_loop(
                        shop.address,
                        clients,
                        Duration::from_secs(2),
                        async move |client: &mut Client, at| {
                            act(client, start + at, &products, &counted).await
                        },
                    )
                    .await
                })?;
                // The keys of orders contain the number, so it must be unique.
                number += 10_000_000;
                rounds.push(outcome);
            }
            rounds.sort_by_key(|outcome| outcome.p99);
            let worst = rounds.last().context("no round")?.p99;
            let middle = rounds.len() / 2;
            let outcome = rounds.into_iter().nth(middle).context("no round")?;
            let answers = answers.borrow().clone();
            Ok(Phase {
                outcome,
                worst,
                answers,
            })
        })
    }
}

/// The results of a phase.
struct Phase {
    /// The p99 of the median round.
    outcome: Outcome,
    /// The p99 of the worst round.
    worst: Duration,
    answers: Answers,
}

impl Phase {
    /// The number of answers with a status of 500 or more.
    fn broken(&self) -> u64 {
        let broken = self
            .answers
            .iter()
            .filter(|((_, status), _)| *status >= 500);
        broken.map(|(_, count)| count).sum()
    }
}

fn told(name: &str, phase: &Phase) {
    let all: u64 = phase.answers.values().sum();
    println!(
        "{name}: {:.0} actions/s, p50 {:.1?}, p99 {:.1?} (worst two seconds {:.1?}); {} of {all} answers were 500 or more",
        phase.outcome.per_second,
        phase.outcome.p50,
        phase.outcome.p99,
        phase.worst,
        phase.broken()
    );
}

/// Catalogs, each with one fault.
fn bad(root: &Path, folder: &Path) -> anyhow::Result<Vec<(&'static str, PathBuf)>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo)
        .current_dir(root)
        .args([
            "build",
            "--target",
            "wasm32-wasip2",
            "--profile",
            "component",
        ])
        .args(["--package", "middle", "--package", "hindrance"])
        .status()?;
    anyhow::ensure!(built.success(), "the guest does not build");
    let guest = std::fs::read(root.join("target/wasm32-wasip2/component/hindrance.wasm"))?;
    let catalog = std::fs::read(root.join("dist/catalog.wasm"))?;
    let mut files = Vec::new();
    for (what, _) in BAD {
        let wasm = match what {
            "renamed" => replaced(&catalog, "published", "publishad"),
            what => {
                let hindered = format!("{:<24}", format!("hindrance:{what}"));
                let part = |id: &str, wasm: Vec<u8>, links: &[&str]| Part {
                    id: id.to_owned(),
                    wasm,
                    links: links.iter().map(ToString::to_string).collect(),
                    unfused: Vec::new(),
                };
                let guest = replaced(&guest, &format!("{:<24}", "hindrance:none"), &hindered);
                let parts = [
                    part("hindrance", guest, &["catalog"]),
                    part("catalog", catalog.clone(), &[]),
                ];
                fuse("hindrance", &parts)?
            }
        };
        let file = folder.join(format!("{what}.wasm"));
        std::fs::write(&file, wasm)?;
        files.push((what, file));
    }
    Ok(files)
}

/// A copy of the bytes in which every occurrence of a text is replaced by another of the same length.
fn replaced(bytes: &[u8], before: &str, after: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((first, behind)) = rest.split_first() {
        match rest.strip_prefix(before.as_bytes()) {
            Some(behind) => {
                out.extend_from_slice(after.as_bytes());
                rest = behind;
            }
            None => {
                out.push(*first);
                rest = behind;
            }
        }
    }
    out
}

fn path(path: &Path) -> anyhow::Result<&str> {
    path.to_str().context("a path that is no text")
}
