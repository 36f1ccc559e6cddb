//! The table of events in `docs/events/README.md`.

use crate::{Declarations, channel_of};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// The table of channels: kinds of events, who tells them, who reads them. Markdown.
pub fn table(all: &Declarations) -> String {
    let mut channels: BTreeMap<String, (Vec<String>, Vec<&str>)> = BTreeMap::new();
    for (noun, kind) in all.told() {
        let (kinds, tellers) = channels.entry(channel_of(kind)).or_default();
        kinds.push(format!("`{kind}`"));
        if !tellers.contains(&noun) {
            tellers.push(noun);
        }
    }
    let mut table = "| channel | types | told by | read by |\n|---|---|---|---|\n".to_owned();
    for (channel, (kinds, tellers)) in channels {
        let reads = |(noun, one): (&String, &crate::Declaration)| {
            one.hears.contains(&channel).then(|| noun.clone())
        };
        let readers: Vec<String> = all.0.iter().filter_map(reads).collect();
        // Writing to a text cannot fail.
        let _ = writeln!(
            table,
            "| `{channel}` | {} | {} | {} |",
            kinds.join(", "),
            tellers.join(", "),
            readers.join(", ")
        );
    }
    table
}
