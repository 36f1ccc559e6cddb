//! Fuses a component with its links into one file, for plain Spin and for `up --binding fused`.

use super::stale::modified;
use super::{Project, write};
use anyhow::Context as _;
use localmart_host::link::fuse::{Part, fuse};
use std::time::SystemTime;

impl Project<'_> {
    /// Fuses a component with its links, and with the links of those.
    pub(super) fn fuse(&self, id: &str, parts: &[String], begun: SystemTime) -> anyhow::Result<()> {
        let (mut read, mut newest) = (Vec::new(), begun);
        for part in parts {
            let path = self.part(part);
            newest = modified(&path).map_or(newest, |time| newest.max(time));
            let wasm =
                std::fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
            read.push(Part {
                id: part.clone(),
                wasm,
                links: self.links.get(part).cloned().unwrap_or_default(),
                unfused: Vec::new(),
            });
        }
        let component = self.manifest.component.get(id);
        let table = component.and_then(|component| component.get_ref().tool.get("localmart"));
        let fused = fuse(id, &read).map_err(|error| {
            let linked = self.links.get(id).cloned().unwrap_or_default();
            let help = format!("these are the links: {id} → {}", linked.join(", "));
            self.source.error(
                table.map(toml::Spanned::span).unwrap_or_default(),
                error.to_string(),
                "these links",
                help,
            )
        })?;
        write(&self.fused(id), &fused, newest)
    }
}
