//! Many requests at once, for verbs that go through the shop's doors.

use indicatif::{ProgressBar, ProgressStyle};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Does something `count` times with so many workers, showing how far it is; the results in their order. After a failure
/// nothing new is begun.
pub(crate) fn at_once<R: Send>(
    what: &str,
    count: usize,
    workers: usize,
    work: impl Fn(usize) -> anyhow::Result<R> + Sync,
) -> anyhow::Result<Vec<R>> {
    let bar = ProgressBar::new(count as u64);
    let style = format!("{what:<8} {{bar:30}} {{pos}}/{{len}} {{eta}}");
    bar.set_style(ProgressStyle::with_template(&style)?);
    let next = AtomicUsize::new(0);
    let worker = || -> anyhow::Result<Vec<(usize, R)>> {
        let mut done = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= count {
                return Ok(done);
            }
            let result = work(number);
            if result.is_err() {
                next.store(count, Ordering::Relaxed);
            }
            done.push((number, result?));
            bar.inc(1);
        }
    };
    let mut done = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(worker)).collect();
        let mut all = Vec::with_capacity(count);
        for worker in workers {
            let done = worker.join();
            all.extend(done.map_err(|_| anyhow::anyhow!("a worker died"))??);
        }
        Ok::<_, anyhow::Error>(all)
    })?;
    bar.finish_and_clear();
    done.sort_by_key(|(number, _)| *number);
    Ok(done.into_iter().map(|(_, result)| result).collect())
}
