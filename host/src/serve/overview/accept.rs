//! Content negotiation: which form of an answer the `accept` headers of a request prefer (RFC 9110, section 12.5.1).

use http::{HeaderMap, header};

/// The form of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// `text/plain`.
    Text,
    /// `text/html`.
    Html,
    /// `application/json` or `application/problem+json`.
    Json,
}

/// How closely a media range names a form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Precision {
    Anything,
    Type,
    Subtype,
}

/// One media range of an `accept` header.
struct Range<'h> {
    kind: &'h str,
    subtype: &'h str,
    quality: f32,
}

impl<'h> Range<'h> {
    fn parse(text: &'h str) -> Option<Self> {
        let mut parts = text.split(';').map(str::trim);
        let (kind, subtype) = parts.next()?.split_once('/')?;
        let quality = parts.find_map(|part| part.strip_prefix("q=").or(part.strip_prefix("Q=")));
        // An invalid quality counts as none.
        let quality = quality.and_then(|quality| quality.parse().ok());
        Some(Self {
            kind,
            subtype,
            quality: quality.unwrap_or(1.0),
        })
    }

    fn precision(&self, form: Form) -> Option<Precision> {
        let is = |text: &str, other: &str| text.eq_ignore_ascii_case(other);
        let kind = match form {
            Form::Text | Form::Html => "text",
            Form::Json => "application",
        };
        let named = match form {
            Form::Text => is(self.subtype, "plain"),
            Form::Html => is(self.subtype, "html"),
            Form::Json => is(self.subtype, "json") || is(self.subtype, "problem+json"),
        };
        match (self.kind, self.subtype) {
            ("*", "*") => Some(Precision::Anything),
            (own, "*") if is(own, kind) => Some(Precision::Type),
            (own, _) if is(own, kind) && named => Some(Precision::Subtype),
            _ => None,
        }
    }
}

/// The preferred form. `None` if the client accepts anything, or nothing that the host has. Of two forms with the same
/// quality the more precisely named one is preferred, then the one that is named first.
pub(super) fn preferred(headers: &HeaderMap) -> Option<Form> {
    let values = headers.get_all(header::ACCEPT).into_iter();
    let values = values.filter_map(|value| value.to_str().ok());
    let ranges: Vec<Range<'_>> = values
        .flat_map(|value| value.split(','))
        .filter_map(Range::parse)
        .collect();
    let mut best: Option<(f32, Precision, usize, Form)> = None;
    for form in [Form::Text, Form::Html, Form::Json] {
        // The most precise range that names a form decides about it.
        let matching = ranges.iter().enumerate();
        let matching = matching.filter_map(|(place, range)| {
            Some((range.precision(form)?, usize::MAX - place, range.quality))
        });
        let decisive = matching.max_by_key(|(precision, place, _)| (*precision, *place));
        let Some((precision, place, quality)) = decisive.filter(|(_, _, quality)| *quality > 0.0)
        else {
            continue;
        };
        let is_better = best.is_none_or(|(known, known_precision, known_place, _)| {
            let order = quality.total_cmp(&known);
            let order = order.then((precision, place).cmp(&(known_precision, known_place)));
            order.is_gt()
        });
        if is_better {
            best = Some((quality, precision, place, form));
        }
    }
    best.filter(|(_, precision, _, _)| *precision > Precision::Anything)
        .map(|(_, _, _, form)| form)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn the_form_with_the_highest_quality_is_preferred() {
        let browser =
            "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8";
        for (accept, form) in [
            ("", None),
            ("*/*", None),
            ("image/png", None),
            ("nonsense", None),
            (browser, Some(Form::Html)),
            ("text/plain", Some(Form::Text)),
            ("text/*", Some(Form::Text)),
            ("TEXT/HTML", Some(Form::Html)),
            ("application/json", Some(Form::Json)),
            ("application/problem+json", Some(Form::Json)),
            ("application/*", Some(Form::Json)),
            ("application/json, text/plain, */*", Some(Form::Json)),
            ("text/html;q=0.5, application/json;q=0.6", Some(Form::Json)),
            ("text/html; level=1; q=0.5, text/plain", Some(Form::Text)),
            ("text/html;q=0, text/*", Some(Form::Text)),
            ("text/html;q=0", None),
            ("*/*, text/html", Some(Form::Html)),
            ("*/*, text/html;q=0.1", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
            assert_eq!(preferred(&headers), form, "{accept}");
        }
        let mut headers = HeaderMap::new();
        assert_eq!(preferred(&headers), None);
        headers.append(header::ACCEPT, HeaderValue::from_static("text/plain;q=0.1"));
        headers.append(header::ACCEPT, HeaderValue::from_static("text/html"));
        assert_eq!(preferred(&headers), Some(Form::Html));
    }
}
