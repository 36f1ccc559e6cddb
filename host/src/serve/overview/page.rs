//! The overview as an HTML page. It stands alone: one style sheet inside the page, no script, and a content security
//! policy that forbids everything else. All text from the manifest and the request is escaped.

use super::{Asked, ComponentRoutes, NOTATION, Overview, respond};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderValue, Response, StatusCode, header};
use sha2::{Digest as _, Sha256};
use std::fmt::{self, Display, Write as _};
use wasmtime_wasi_http::WasiBody;

/// The style sheet. Sizes are multiples of 4 px; both colour schemes use the same names.
const STYLE: &str = include_str!("page.css");

/// The constant parts of the page.
pub(super) struct Page {
    policy: Option<HeaderValue>,
}

impl Default for Page {
    fn default() -> Self {
        let digest = STANDARD.encode(Sha256::digest(STYLE));
        let policy = format!(
            "default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        );
        Self {
            policy: HeaderValue::from_str(&policy).ok(),
        }
    }
}

impl Page {
    /// The page as a response. With the status 404 it begins with the address that was not found, and `hint`.
    pub(super) fn response(
        &self,
        status: StatusCode,
        asked: &Asked<'_>,
        overview: &Overview,
        hint: Option<&str>,
    ) -> Response<WasiBody> {
        let missing = (status == StatusCode::NOT_FOUND).then(|| asked.shown());
        let body = render(overview, missing.as_deref(), hint);
        let mut response = respond(status, asked, "text/html; charset=utf-8", body);
        let headers = response.headers_mut();
        if let Some(policy) = &self.policy {
            headers.insert(header::CONTENT_SECURITY_POLICY, policy.clone());
        }
        let referrer = HeaderValue::from_static("no-referrer");
        headers.insert(header::REFERRER_POLICY, referrer);
        response
    }
}

fn render(overview: &Overview, missing: Option<&str>, hint: Option<&str>) -> String {
    let (name, description) = (Escaped(&overview.name), Escaped(&overview.description));
    let mut html = String::with_capacity(STYLE.len() + 4096);
    let title = match missing {
        Some(_) => format!("404 Not Found · {name}"),
        None => name.to_string(),
    };
    html += "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n";
    html += "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n";
    html += "<meta name=\"color-scheme\" content=\"light dark\">\n<link rel=\"icon\" href=\"data:,\">\n";
    // Writing to a String cannot fail.
    let _ = write!(
        html,
        "<title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n"
    );
    if let Some(path) = missing {
        let _ = write!(
            html,
            "<div class=\"missing\" role=\"status\">\n<h1>404 Not Found</h1>\n<p>There is nothing at <code>{}</code>.</p>\n",
            Escaped(path)
        );
        if let Some(hint) = hint {
            let hint = Escaped(hint);
            let _ = writeln!(
                html,
                "<p>Did you mean <a href=\"{hint}\"><code>{hint}</code></a>?</p>"
            );
        }
        html += "</div>\n";
    }
    let level = if missing.is_some() { "h2" } else { "h1" };
    let _ = write!(html, "<header>\n<{level} class=\"name\">{name}</{level}>\n");
    if !overview.description.is_empty() {
        let _ = writeln!(html, "<p>{description}</p>");
    }
    html += "</header>\n";
    for component in &overview.components {
        section(&mut html, component);
    }
    let note = match overview.components.as_slice() {
        [] => "No component has a route.",
        _ => NOTATION,
    };
    let _ = write!(
        html,
        "<footer>{}</footer>\n</main>\n</body>\n</html>\n",
        Escaped(note)
    );
    html
}

fn section(html: &mut String, component: &ComponentRoutes) {
    let (name, description) = (Escaped(&component.name), Escaped(&component.description));
    let _ = write!(html, "<section>\n<h2>{name}</h2>\n");
    if !component.description.is_empty() {
        let _ = writeln!(html, "<p>{description}</p>");
    }
    *html += "<ul>\n";
    for route in &component.routes {
        let text = Escaped(&route.text);
        let _ = match route.pattern.address() {
            Some(address) => writeln!(
                html,
                "<li><a href=\"{}\"><code>{text}</code></a></li>",
                Escaped(&address)
            ),
            None => writeln!(html, "<li><code>{text}</code></li>"),
        };
    }
    *html += "</ul>\n</section>\n";
}

/// Text that is safe inside elements and quoted attributes.
struct Escaped<'t>(&'t str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            match character {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                other => f.write_char(other)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Page, Route};
    use super::*;
    use crate::app::routes::Pattern;

    #[test]
    fn text_from_the_manifest_and_the_request_is_escaped() {
        let route = |text: &str| Route {
            text: text.to_owned(),
            pattern: Pattern::parse(text).unwrap(),
        };
        let overview = Overview {
            name: "<b>shop</b>".to_owned(),
            description: "a & b".to_owned(),
            components: vec![ComponentRoutes {
                name: "one".to_owned(),
                description: "\"quoted\"".to_owned(),
                routes: vec![route("/a/<i>/..."), route("/a/:id")],
            }],
            patterns: Vec::new(),
            page: Page::default(),
        };
        let html = render(&overview, Some("/<script>"), Some("/'x'"));
        for escaped in [
            "<title>404 Not Found · &lt;b&gt;shop&lt;/b&gt;</title>",
            "<p>a &amp; b</p>",
            "<p>&quot;quoted&quot;</p>",
            "<a href=\"/a/&lt;i&gt;\"><code>/a/&lt;i&gt;/...</code></a>",
            "<li><code>/a/:id</code></li>",
            "<code>/&lt;script&gt;</code>",
            "<a href=\"/&#39;x&#39;\">",
        ] {
            assert!(html.contains(escaped), "{escaped} is missing in:\n{html}");
        }
        assert!(!html.contains("<script") && !html.contains("<b>") && !html.contains("<i>"));
    }
}
