//! Custom sections of components. They are read at every depth of a composition.

use wasmparser::{Parser, Payload};

/// The payload of a custom section.
pub type Section = Vec<u8>;

/// All custom sections with a name, in a component and in the components inside it.
pub fn read(wasm: &[u8], name: &str) -> Result<Vec<Section>, String> {
    let mut found = Vec::new();
    for payload in Parser::new(0).parse_all(wasm) {
        if let Payload::CustomSection(section) = payload.map_err(|error| error.to_string())?
            && section.name() == name
        {
            found.push(section.data().to_vec());
        }
    }
    Ok(found)
}

/// Appends a custom section to a component.
pub fn append(wasm: &[u8], name: &str, data: &[u8]) -> Vec<u8> {
    let mut payload = Vec::with_capacity(name.len() + data.len() + 8);
    leb128(&mut payload, name.len());
    payload.extend_from_slice(name.as_bytes());
    payload.extend_from_slice(data);
    let mut out = Vec::with_capacity(wasm.len() + payload.len() + 8);
    out.extend_from_slice(wasm);
    out.push(0);
    leb128(&mut out, payload.len());
    out.extend(payload);
    out
}

/// Appends an unsigned LEB128 number, the format of lengths in WebAssembly.
fn leb128(out: &mut Vec<u8>, mut value: usize) {
    loop {
        let low = u8::try_from(value & 0x7f).unwrap_or_default();
        value >>= 7;
        if value == 0 {
            out.push(low);
            return;
        }
        out.push(low | 0x80);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_appended_section_is_read() {
        let empty_component = b"\0asm\x0d\0\x01\0";
        let data = vec![7; 300];
        let wasm = append(empty_component, "localmart:test", &data);
        assert_eq!(read(&wasm, "localmart:test").unwrap(), [data]);
        assert!(read(&wasm, "other").unwrap().is_empty());
        assert!(read(b"nonsense", "x").is_err());
    }
}
