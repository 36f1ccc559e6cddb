//! Renames imports and exports of a component, in its bytes. Types and code stay as they are.

use std::borrow::Cow;
use std::ops::Range;
use wasmparser::{Parser, Payload};

/// Where a name stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Among the imports.
    Import,
    /// Among the exports.
    Export,
}

/// Gives imports and exports of a component the names that `new_name` returns; `None` keeps a name. The components inside it
/// keep theirs.
pub fn rename<'a>(
    wasm: &'a [u8],
    new_name: impl Fn(Place, &str) -> Option<String>,
) -> Result<Cow<'a, [u8]>, String> {
    let mut copy = Copy {
        wasm,
        out: Vec::new(),
        copied: 0,
    };
    let mut depth = 0_usize;
    for payload in Parser::new(0).parse_all(wasm) {
        match payload.map_err(|error| format!("it is not a component: {error}"))? {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentImportSection(section) if depth == 0 => {
                let range = section.range();
                let names = section.into_iter().map(|import| Ok(import?.name.name));
                copy.section(range, names, |name| new_name(Place::Import, name))?;
            }
            Payload::ComponentExportSection(section) if depth == 0 => {
                let range = section.range();
                let names = section.into_iter().map(|export| Ok(export?.name.name));
                copy.section(range, names, |name| new_name(Place::Export, name))?;
            }
            _ => {}
        }
    }
    copy.finish()
}

/// The copy of a component with other names, as far as it was made.
struct Copy<'a> {
    wasm: &'a [u8],
    out: Vec<u8>,
    copied: usize,
}

impl<'a> Copy<'a> {
    /// Copies up to the end of a section that contains names.
    fn section(
        &mut self,
        body: Range<usize>,
        names: impl Iterator<Item = wasmparser::Result<&'a str>>,
        new_name: impl Fn(&str) -> Option<String>,
    ) -> Result<(), String> {
        let part = |from: usize, to: usize| self.wasm.get(from..to).unwrap_or_default();
        let (mut renamed, mut at) = (Vec::new(), body.start);
        for name in names {
            let name = name.map_err(|error| error.to_string())?;
            let Some(new) = new_name(name) else {
                continue;
            };
            // The name is preceded by its length, in the shortest encoding, as every encoder writes it.
            let start = (name.as_ptr() as usize).saturating_sub(self.wasm.as_ptr() as usize);
            let before = start.saturating_sub(leb(name.len()).len());
            renamed.extend_from_slice(part(at, before));
            renamed.extend(leb(new.len()));
            renamed.extend_from_slice(new.as_bytes());
            at = start + name.len();
        }
        if at == body.start {
            return Ok(());
        }
        renamed.extend_from_slice(part(at, body.end));
        // A section consists of id, size and body.
        let head = body.start.saturating_sub(leb(body.len()).len());
        let before = part(self.copied, head);
        self.out.extend_from_slice(before);
        self.out.extend(leb(renamed.len()));
        self.out.extend(renamed);
        self.copied = body.end;
        Ok(())
    }

    /// The whole component.
    fn finish(mut self) -> Result<Cow<'a, [u8]>, String> {
        if self.copied == 0 {
            return Ok(Cow::Borrowed(self.wasm));
        }
        let rest = self.wasm.get(self.copied..).unwrap_or_default();
        self.out.extend_from_slice(rest);
        wasmparser::Validator::new_with_features(wasmparser::WasmFeatures::all())
            .validate_all(&self.out)
            .map_err(|error| format!("its imports and exports cannot be renamed: {error}"))?;
        Ok(Cow::Owned(self.out))
    }
}

/// Encodes an unsigned number as LEB128, the variable-length format of WebAssembly.
fn leb(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = u8::try_from(number & 0x7f).unwrap_or_default();
        number >>= 7;
        if number == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}
