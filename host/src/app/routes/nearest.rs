//! Finds the route that somebody probably meant, for an address that no route matches.

use super::{Pattern, Segment};

/// Segments of an address that are compared; longer addresses get no hint.
const MAX_SEGMENTS: usize = 16;
/// The length of a segment that is compared, in bytes; longer segments get no hint.
const MAX_SEGMENT_BYTES: usize = 64;
/// How similar each segment must be at least, from 0 to 1.
const MIN_SEGMENT: f64 = 0.6;
/// How similar the whole must be at least, from 0 to 1.
const MIN_WHOLE: f64 = 0.75;
/// The similarity of any segment to a named one.
const NAMED: f64 = 0.7;
/// The factor for each segment at the beginning of the route that the address leaves out.
const LEFT_OUT: f64 = 0.9;

/// The address that is most similar to `path` and matches one of the routes.
pub fn nearest<'p>(patterns: impl Iterator<Item = &'p Pattern>, path: &str) -> Option<String> {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let too_long = |part: &&str| part.len() > MAX_SEGMENT_BYTES;
    if parts.is_empty() || parts.len() > MAX_SEGMENTS || parts.iter().any(too_long) {
        return None;
    }
    let candidates = patterns.flat_map(|pattern| {
        let parts = &parts;
        (0..pattern.segments.len()).filter_map(move |skipped| pattern.compare(parts, skipped))
    });
    let best = candidates.max_by(|(a, _), (b, _)| a.total_cmp(b));
    best.map(|(_, address)| address)
}

impl Pattern {
    /// The similarity of an address without the first `skipped` segments of the route, and the corrected address.
    fn compare(&self, parts: &[&str], skipped: usize) -> Option<(f64, String)> {
        let (before, own) = self.segments.split_at_checked(skipped)?;
        let rest = match parts.split_at_checked(own.len()) {
            Some((_, rest)) if rest.is_empty() || self.wildcard => rest,
            _ => return None,
        };
        let mut address = String::new();
        for segment in before {
            match segment {
                Segment::Exact(text) => address += &format!("/{text}"),
                Segment::Named(_) => return None,
            }
        }
        let mut whole = 1.0;
        for (segment, part) in own.iter().zip(parts) {
            let (similar, text) = match segment {
                Segment::Exact(text) => {
                    let similar = strsim::normalized_damerau_levenshtein(text, part);
                    (similar, text.as_str())
                }
                Segment::Named(_) => (NAMED, *part),
            };
            if similar < MIN_SEGMENT {
                return None;
            }
            whole *= similar;
            address += &format!("/{text}");
        }
        for _ in before {
            whole *= LEFT_OUT;
        }
        for part in rest {
            address += &format!("/{part}");
        }
        (whole >= MIN_WHOLE).then_some((whole, address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hint_corrects_the_address_and_keeps_the_rest() {
        let routes = [
            "/api/goods/...",
            "/api/books/...",
            "/api/goods/:id/notes",
            "/hooks",
        ];
        let patterns = routes.map(|text| Pattern::parse(text).unwrap());
        for (path, hint) in [
            ("/api/good", Some("/api/goods")),
            ("/api/godos/7", Some("/api/goods/7")),
            ("/goods", Some("/api/goods")),
            ("/goods/7/x", Some("/api/goods/7/x")),
            ("/apis/books/", Some("/api/books")),
            ("/hook", Some("/hooks")),
            ("/api/orders", None),
            ("/api", None),
            ("/hooks/more", None),
            ("/nowhere", None),
            ("/", None),
            ("", None),
        ] {
            let found = nearest(patterns.iter(), path);
            assert_eq!(found.as_deref(), hint, "{path}");
        }
        let long = format!("/api/{}", "a".repeat(100_000));
        assert_eq!(nearest(patterns.iter(), &long), None);
        let deep = "/a".repeat(50_000);
        assert_eq!(nearest(patterns.iter(), &deep), None);
    }
}
