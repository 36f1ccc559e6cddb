//! Errors of guests for the log: the reason, and the stack by function. The names come from the name section of the
//! component; functions of components without it appear by number.

use wasmtime::WasmBacktrace;

/// An error of a guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuestError {
    /// The reason, from the outermost context to the root cause.
    pub reason: String,
    /// The functions of the guest, innermost first, one in each line; `None` if the error has no stack.
    pub stack: Option<String>,
}

impl From<&wasmtime::Error> for GuestError {
    fn from(error: &wasmtime::Error) -> Self {
        let backtrace = error.downcast_ref::<WasmBacktrace>();
        let backtrace = backtrace.filter(|backtrace| !backtrace.frames().is_empty());
        let text = backtrace.map(ToString::to_string);
        let causes = error.chain().map(ToString::to_string);
        let causes = causes.filter(|cause| Some(cause) != text.as_ref());
        Self {
            reason: causes.collect::<Vec<_>>().join(": "),
            stack: text.map(|text| functions(&text)),
        }
    }
}

/// The frames of a backtrace as wasmtime prints it, without numbers and offsets.
fn functions(backtrace: &str) -> String {
    // The first line is a heading, and a hint for developers of wasmtime may follow the frames.
    let lines = backtrace.lines().skip(1).map(str::trim_start);
    let frames = lines.take_while(|line| !line.starts_with("note: "));
    let names = frames.map(|line| match line.split_once(": ") {
        Some((number, frame)) if number.bytes().all(|byte| byte.is_ascii_digit()) => {
            readable(frame.split_once(" - ").map_or(frame, |(_, name)| name))
        }
        _ => readable(line),
    });
    names.collect::<Vec<_>>().join("\n")
}

/// A demangled name without the hash of the compiler.
fn readable(name: &str) -> String {
    let is_hash =
        |text: &str| text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    match name.rsplit_once("::h") {
        Some((path, hash)) if is_hash(hash) => path.to_owned(),
        _ => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stack_is_shown_by_function() {
        let printed = "error while executing at wasm backtrace:
    0:   0x6a3f - one.wasm!abort
    1:    0x12b - one.wasm!<one::Guest as one::Handler>::handle::h0123456789abcdef
    2: one.wasm!<wasm function 7>
                    at src/lib.rs:3:1
note: using the `WASMTIME_BACKTRACE_DETAILS=1` environment variable may show more debugging information";
        assert_eq!(
            functions(printed),
            "one.wasm!abort\none.wasm!<one::Guest as one::Handler>::handle\none.wasm!<wasm function 7>\nat src/lib.rs:3:1"
        );
        let error = GuestError::from(&wasmtime::Error::msg("inner").context("outer"));
        assert_eq!((error.reason.as_str(), error.stack), ("outer: inner", None));
    }
}
