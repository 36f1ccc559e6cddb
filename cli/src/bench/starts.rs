//! Cold starts by stages. A running host loads each component again, as in `localmart swap`: once with nothing compiled, once with its
//! machine code in the cache. Then a first request goes to the new instance. With fused links, every component that contains the
//! measured one is loaded again too.

use super::Run;
use super::requests::base;
use super::variant::Hosted;
use localmart_measure::report::{Figure, Measured, Unit, ms};
use localmart_measure::server::first_byte;
use std::path::Path;

/// The stages in order: their names in the table and in the report of the host, which has no first byte.
const STAGES: [(&str, &str); 5] = [
    ("read", "read"),
    ("load", "compile"),
    ("link", "check and link"),
    ("instantiate", "warm"),
    ("first byte", ""),
];

/// Rounds by component, by variant, and by whether the component was compiled.
type Turns = Vec<Vec<f64>>;

impl Run {
    pub(super) fn starts(&mut self, prepared: &Path) -> anyhow::Result<()> {
        self.whole(prepared)?;
        let components = self.started();
        let mut hosts = Vec::new();
        for (place, variant) in self.variants.iter().enumerate() {
            let state = self.scratch.0.join(format!("starts-{place}"));
            // One core, because each core creates an instance.
            hosts.push(self.host(prepared, &state, variant, &["--threads", "1"])?);
        }
        let rounds = self.bench.rounds;
        let empty = || vec![(Turns::new(), Turns::new()); self.variants.len()];
        let mut turns: Vec<_> = components.iter().map(|_| empty()).collect();
        // The first round warms up.
        for round in 0..=rounds {
            eprintln!("cold starts, turn {round} of {rounds}");
            for (component, turns) in components.iter().zip(&mut turns) {
                let path = self.route_of(component);
                for ((variant, host), turns) in self.variants.iter().zip(&hosts).zip(turns) {
                    let Some(file) = variant.file(&self.app, component) else {
                        continue;
                    };
                    // The cache may be empty.
                    let _ = std::fs::remove_dir_all(host.state.join("aot"));
                    let compiled = staged(host, component, &file, path.as_deref())?;
                    let loaded = staged(host, component, &file, path.as_deref())?;
                    if round > 0 {
                        turns.0.push(loaded);
                        turns.1.push(compiled);
                    }
                }
            }
        }
        let groups = [
            ("Cold start of a component, its machine code kept", "load"),
            ("Cold start of a component, nothing compiled", "compile"),
        ];
        for (compiled, (group, load)) in groups.into_iter().enumerate() {
            let names: Vec<&str> = STAGES
                .iter()
                .map(|(name, _)| if *name == "load" { load } else { name })
                .collect();
            for (component, turns) in components.iter().zip(&turns) {
                let of = self.variants.iter().zip(turns).map(|(variant, turns)| {
                    let turns = if compiled == 1 { &turns.1 } else { &turns.0 };
                    // A component without a route has no first byte.
                    let names = names.get(..turns.first().map_or(0, Vec::len));
                    Measured::staged(&variant.name, names.unwrap_or_default(), turns)
                });
                let figure = Figure::new(component, Unit::Milliseconds, of.collect());
                self.add(group, figure);
            }
        }
        Ok(())
    }

    /// The time from the start of the process to the first answer.
    fn whole(&mut self, prepared: &Path) -> anyhow::Result<()> {
        if self.variants.iter().any(|one| one.replaced.is_some()) {
            return Ok(());
        }
        let mut turns: Vec<Vec<f64>> = vec![Vec::new(); self.variants.len()];
        for round in 0..=self.bench.rounds {
            for (place, (variant, turns)) in self.variants.iter().zip(&mut turns).enumerate() {
                let state = self.scratch.0.join(format!("whole-{place}"));
                // The first start compiles fused components.
                let hosted = match round {
                    0 => self.host(prepared, &state, variant, &[])?,
                    _ => self.host_in(&state, variant, &[])?,
                };
                if round > 0 {
                    turns.push(ms(hosted.server.first_answer));
                }
            }
        }
        let of = self.variants.iter().zip(turns);
        let of = of.map(|(variant, turns)| Measured::plain(&variant.name, turns));
        let name = "process start to first answer, machine code kept";
        let figure = Figure::new(name, Unit::Milliseconds, of.collect());
        self.add("Start of the application", figure);
        Ok(())
    }

    /// The components to measure.
    fn started(&self) -> Vec<String> {
        if !self.bench.components.is_empty() {
            return self.bench.components.clone();
        }
        let replaced = self.variants.iter().find_map(|one| one.replaced.as_ref());
        if let Some((component, _)) = replaced {
            return vec![component.clone()];
        }
        let specs = self.app.components.values();
        let own = specs.filter(|spec| spec.id == spec.manifest_id);
        own.map(|spec| spec.id.clone()).collect()
    }

    /// A path without parameters that a component answers.
    fn route_of(&self, component: &str) -> Option<String> {
        let routes = self.app.routes.iter();
        let mut own = routes.filter(|route| route.component() == Some(component));
        own.find_map(|route| base(&route.text))
    }
}

/// One start: the milliseconds of each stage.
fn staged(
    host: &Hosted,
    component: &str,
    file: &Path,
    path: Option<&str>,
) -> anyhow::Result<Vec<f64>> {
    let stages = host.swap(component, file)?;
    let mut turn = Vec::new();
    for (_, theirs) in STAGES.iter().filter(|(_, theirs)| !theirs.is_empty()) {
        let taken = stages.iter().find(|(name, _)| name == theirs);
        let us = taken.map_or(0, |(_, us)| *us);
        turn.push(us as f64 / 1000.0);
    }
    if let Some(path) = path {
        turn.push(ms(first_byte(host.server.address, path)?));
    }
    Ok(turn)
}
