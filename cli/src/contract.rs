//! `localmart test`: runs the contract suite of an interface against any component, on temporary stores. There is one suite for each
//! WIT package. It checks what every component that exports the interface must do, however it is implemented.
//!
//! [`subject`] is the component under test. The suites have the names of their packages.

mod cart;
mod catalog;
mod discount;
mod inventory;
mod order;
mod payment;
mod ranking;
mod recommendation;
mod shipping_rate;
mod subject;
mod tax;
mod user;

use crate::app::AppOptions;
use anyhow::{Context as _, bail};
use clap::Args;
use std::path::PathBuf;
use subject::Subject;

/// Runs the contract suite of a component's interface against a file.
#[derive(Args)]
pub(crate) struct Test {
    /// The file of the component to test.
    file: PathBuf,
    /// The component whose contract the file must keep.
    #[arg(long = "as", value_name = "COMPONENT")]
    component: String,
    #[command(flatten)]
    app: AppOptions,
}

/// One thing that every component with an interface must do.
struct Case {
    name: &'static str,
    check: fn(&Subject) -> anyhow::Result<()>,
}

/// The suites by component.
const SUITES: &[(&str, &[Case])] = &[
    ("cart", cart::CASES),
    ("catalog", catalog::CASES),
    ("discount", discount::CASES),
    ("inventory", inventory::CASES),
    ("order", order::CASES),
    ("payment", payment::CASES),
    ("ranking", ranking::CASES),
    ("recommendation", recommendation::CASES),
    ("shipping-rate", shipping_rate::CASES),
    ("tax", tax::CASES),
    ("user", user::CASES),
];

impl Test {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let suite = SUITES.iter().find(|(name, _)| *name == self.component);
        let Some((_, cases)) = suite else {
            let known: Vec<&str> = SUITES.iter().map(|(name, _)| *name).collect();
            bail!(
                "there is no contract suite for `{}`; there are suites for {}",
                self.component,
                known.join(", ")
            );
        };
        let file = self.file.canonicalize();
        let file = file.with_context(|| format!("there is no {}", self.file.display()))?;
        let subject = Subject::start(&self.app, &self.component, &file)?;
        let mut failed = 0;
        for case in *cases {
            match (case.check)(&subject) {
                Ok(()) => println!("ok     {}", case.name),
                Err(error) => {
                    failed += 1;
                    println!("FAILED {}: {error:#}", case.name);
                }
            }
        }
        match failed {
            0 => {
                println!(
                    "{} keeps the contract of {}",
                    self.file.display(),
                    self.component
                );
                Ok(())
            }
            1 => bail!("1 of {} cases failed", cases.len()),
            many => bail!("{many} of {} cases failed", cases.len()),
        }
    }
}
