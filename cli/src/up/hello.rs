//! The commands that `localmart up` suggests once the application serves. They are made from the routes, and contain no
//! secret.

use localmart_host::app::App;
use std::io::Write;

/// A route, and the query with which it is a good first request.
const FIRST_REQUEST: (&str, &str) = ("/api/products/...", "/api/products?limit=3");

/// A route that only staff may read, and the query with which it lists everything.
const STAFF_REQUEST: (&str, &str) = ("/api/orders/...", "/api/orders?all=true");

/// The addresses and commands to suggest.
pub(super) struct Suggestions {
    /// What a first request asks for; `None` if no route can be requested as it is.
    first: Option<String>,
    /// What needs a token.
    staff: Option<&'static str>,
}

impl Suggestions {
    /// The suggestions for an application.
    pub(super) fn of(app: &App) -> Self {
        let has = |text: &str| app.routes.iter().any(|route| route.text == text);
        let (route, request) = FIRST_REQUEST;
        let first = match (has(route), app.tool.is_some()) {
            (true, _) => Some(request.to_owned()),
            // The host answers there if no component does.
            (false, true) => Some("/".to_owned()),
            (false, false) => app.routes.iter().find_map(|route| route.pattern.address()),
        };
        let (route, request) = STAFF_REQUEST;
        Self {
            first,
            staff: (app.tool.is_some() && has(route)).then_some(request),
        }
    }

    /// Writes the suggestions for an application that serves at `base`.
    pub(super) fn write(&self, out: &mut impl Write, base: &str) -> std::io::Result<()> {
        let program = program(std::env::args().next());
        writeln!(
            out,
            "Open {base} in a browser, or try these commands in a second terminal:"
        )?;
        if let Some(path) = &self.first {
            writeln!(out, "  curl -s '{base}{path}'")?;
        }
        writeln!(out, "  {program} top")?;
        match self.staff {
            Some(path) => writeln!(
                out,
                "  curl -s '{base}{path}' -H \"authorization: Bearer $({program} token --role staff)\""
            ),
            None => writeln!(out, "  {program} status"),
        }
    }
}

/// This program as a shell command, as it was called itself: with `cargo run` it is not on the path.
fn program(called: Option<String>) -> String {
    let called = called.unwrap_or_else(|| "localmart".to_owned());
    let is_plain = |c: char| c.is_alphanumeric() || "/._-+~".contains(c);
    match called.chars().all(is_plain) {
        true => called,
        false => format!("'{}'", called.replace('\'', "'\\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_named_as_it_was_called() {
        for (called, command) in [
            (Some("target/release/localmart"), "target/release/localmart"),
            (Some("/opt/my shop/localmart"), "'/opt/my shop/localmart'"),
            (Some("it's"), "'it'\\''s'"),
            (None, "localmart"),
        ] {
            assert_eq!(program(called.map(str::to_owned)), command);
        }
    }
}
