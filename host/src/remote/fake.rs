//! Answers of a component from a file, so that its callers run without it. The file has the format of a recording
//! ([`crate::record`]); one written by hand needs only some of its members.

use crate::link::fit;
use crate::link::function::{LinkFunction, is_context};
use crate::link::not_answered::{Answered, NotAnswered};
use anyhow::{Context as _, bail};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use wasmtime::component::Val;
use wasmtime::component::types::Type;

/// The beginning of a call's context in WAVE.
const CONTEXT: &str = "{trace-parent:";

/// One line of a file.
#[derive(Debug, Deserialize)]
struct Line {
    /// The called component.
    callee: String,
    /// The interface, with its version.
    interface: String,
    /// The function.
    function: String,
    /// The arguments in WAVE; without them the answer is for all arguments.
    arguments: Option<Vec<String>>,
    /// The answer in WAVE, empty if the function returns nothing; null if the component does not answer.
    answer: Option<String>,
}

/// A component that a file answers for.
#[derive(Debug)]
pub struct Fake {
    file: PathBuf,
    interfaces: BTreeSet<String>,
    /// By interface and function.
    functions: BTreeMap<(String, String), Answers>,
}

/// The answers of one function.
#[derive(Debug, Default)]
struct Answers {
    /// In the order of the file.
    all: Vec<Answer>,
    /// The number of calls.
    calls: AtomicUsize,
}

#[derive(Debug)]
struct Answer {
    /// The line in the file; the first is 1.
    line: usize,
    /// Without the context.
    arguments: Option<Vec<String>>,
    text: Option<String>,
}

/// The components that files answer for.
pub type Fakes = BTreeMap<String, Arc<Fake>>;

/// Reads files of answers.
pub fn read(files: &[PathBuf]) -> anyhow::Result<Fakes> {
    let mut fakes = BTreeMap::<String, Fake>::new();
    for file in files {
        for (component, fake) in read_one(file)? {
            if let Some(known) = fakes.get(&component) {
                bail!(
                    "both {} and {} have answers of `{component}`; put them into one file",
                    known.file.display(),
                    file.display()
                );
            }
            fakes.insert(component, fake);
        }
    }
    let fakes = fakes.into_iter();
    Ok(fakes.map(|(id, fake)| (id, Arc::new(fake))).collect())
}

fn read_one(file: &Path) -> anyhow::Result<BTreeMap<String, Fake>> {
    let text =
        std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
    let mut fakes = BTreeMap::<String, Fake>::new();
    for (place, text) in text.lines().enumerate() {
        if text.trim().is_empty() {
            continue;
        }
        let number = place + 1;
        let line: Line = serde_json::from_str(text)
            .with_context(|| format!("{}:{number} is no recorded call", file.display()))?;
        let fake = fakes.entry(line.callee).or_insert_with(|| Fake {
            file: file.to_owned(),
            interfaces: BTreeSet::new(),
            functions: BTreeMap::new(),
        });
        fake.interfaces.insert(line.interface.clone());
        let without_context = |mut arguments: Vec<String>| {
            arguments.retain(|argument| !argument.starts_with(CONTEXT));
            arguments
        };
        let function = (line.interface, line.function);
        fake.functions
            .entry(function)
            .or_default()
            .all
            .push(Answer {
                line: number,
                arguments: line.arguments.map(without_context),
                text: line.answer,
            });
    }
    if fakes.is_empty() {
        bail!("{} has no answers", file.display());
    }
    Ok(fakes)
}

impl Fake {
    /// The interface of the file that matches an import best.
    pub fn best(&self, import: &str) -> Option<&str> {
        fit::best(import, self.interfaces.iter().map(String::as_str))
    }

    /// Whether all answers of a function have its type. The error names the line.
    pub fn fits(&self, interface: &str, name: &str, result: Option<&Type>) -> Result<(), String> {
        let Some(answers) = self.function(interface, name) else {
            return Ok(());
        };
        for answer in &answers.all {
            if let Some(text) = &answer.text {
                self.value(answer, text, result)?;
            }
        }
        Ok(())
    }

    fn function(&self, interface: &str, name: &str) -> Option<&Answers> {
        self.functions.get(&(interface.to_owned(), name.to_owned()))
    }

    fn value(&self, answer: &Answer, text: &str, ty: Option<&Type>) -> Result<Vec<Val>, String> {
        let Some(ty) = ty else {
            return Ok(Vec::new());
        };
        let value = wasm_wave::from_str::<Val>(ty, text).map_err(|error| {
            format!(
                "{}:{}: the answer does not have the type of the function: {error}",
                self.file.display(),
                answer.line
            )
        })?;
        Ok(vec![value])
    }

    /// The answer of a call: of a line with the same arguments, or else of one without arguments, or else of any line of
    /// the function. Several such lines take turns.
    pub fn call(&self, function: &LinkFunction, params: &[Val]) -> Answered<Vec<Val>> {
        let nothing = |reason: &str| {
            let (name, file) = (&function.name, self.file.display());
            Err(NotAnswered::Unavailable(format!("{file} {reason} {name}")))
        };
        let interface = self.best(&function.interface);
        let answers = interface.and_then(|interface| self.function(interface, &function.name));
        let Some(answers) = answers else {
            return nothing("has no answer of");
        };
        let asked = params.iter().filter(|value| !is_context(value));
        let asked: Vec<String> = asked
            .filter_map(|value| wasm_wave::to_string(value).ok())
            .collect();
        let with = |arguments: Option<&Vec<String>>| {
            let same = |answer: &&Answer| answer.arguments.as_ref() == arguments;
            answers.all.iter().filter(same).collect::<Vec<_>>()
        };
        let mut fitting = with(Some(&asked));
        if fitting.is_empty() {
            fitting = with(None);
        }
        if fitting.is_empty() {
            fitting = answers.all.iter().collect();
        }
        let turn = answers.calls.fetch_add(1, Ordering::Relaxed) % fitting.len().max(1);
        match fitting.get(turn).map(|answer| (answer, &answer.text)) {
            Some((answer, Some(text))) => self
                .value(answer, text, function.result.as_ref())
                .map_err(NotAnswered::Mismatch),
            _ => nothing("says that there is no answer of"),
        }
    }
}
