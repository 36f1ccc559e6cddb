//! HTTP routes as in Spin: `/exact`, `/a/:segment`, `/prefix/...`. An exact segment wins over a named one, a named
//! segment over a wildcard, and of two wildcards the longer prefix wins. [`nearest`] finds the route that somebody meant.

pub mod nearest;

use std::cmp::Reverse;

/// A parsed route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    segments: Vec<Segment>,
    wildcard: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    Exact(String),
    Named(String),
}

/// The variable parts of a matched path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Matched<'p> {
    /// The values of named segments.
    pub named: Vec<(&'p str, String)>,
    /// The part that the wildcard matched, with its leading slash; empty without a wildcard.
    pub rest: String,
}

impl Pattern {
    /// Parses a route of the manifest.
    pub fn parse(text: &str) -> Result<Self, String> {
        let inner = text.strip_prefix('/').ok_or("it does not begin with /")?;
        let (inner, wildcard) = match inner
            .strip_suffix("...")
            .or_else(|| inner.strip_suffix('*'))
        {
            Some(before) if before.is_empty() || before.ends_with('/') => {
                (before.trim_end_matches('/'), true)
            }
            Some(_) => return Err("... must follow a /".to_owned()),
            None => (inner, false),
        };
        let mut segments = Vec::new();
        for part in inner.split('/').filter(|part| !part.is_empty()) {
            segments.push(match part.strip_prefix(':') {
                Some("") => return Err("a `:` without a name".to_owned()),
                Some(name) => Segment::Named(name.to_owned()),
                None if part.contains("...") || part.contains('*') => {
                    return Err("... may only stand at the end".to_owned());
                }
                None => Segment::Exact(part.to_owned()),
            });
        }
        Ok(Self { segments, wildcard })
    }

    /// Whether two routes match exactly the same paths.
    pub fn clashes(&self, other: &Self) -> bool {
        let same = |pair: (&Segment, &Segment)| match pair {
            (Segment::Exact(a), Segment::Exact(b)) => a == b,
            (Segment::Named(_), Segment::Named(_)) => true,
            _ => false,
        };
        self.wildcard == other.wildcard
            && self.segments.len() == other.segments.len()
            && self.segments.iter().zip(&other.segments).all(same)
    }

    /// An address that the route matches: the shortest one, if no segment is named.
    pub fn address(&self) -> Option<String> {
        let mut address = String::new();
        for segment in &self.segments {
            match segment {
                Segment::Exact(text) => address += &format!("/{text}"),
                Segment::Named(_) => return None,
            }
        }
        Some(if address.is_empty() {
            "/".to_owned()
        } else {
            address
        })
    }

    /// Whether the first segment of the route is this text.
    pub fn begins_with(&self, text: &str) -> bool {
        matches!(self.segments.first(), Some(Segment::Exact(first)) if first == text)
    }

    /// The sort key of a route; routes with lower keys are tried first.
    pub fn rank(&self) -> impl Ord + use<> {
        let kinds: Vec<bool> = self
            .segments
            .iter()
            .map(|s| matches!(s, Segment::Named(_)))
            .collect();
        (self.wildcard, Reverse(self.segments.len()), kinds)
    }

    /// Matches a path.
    pub fn matches(&self, path: &str) -> Option<Matched<'_>> {
        let mut matched = Matched::default();
        let mut rest = path.strip_prefix('/')?;
        for (at, segment) in self.segments.iter().enumerate() {
            if at > 0 {
                rest = rest.strip_prefix('/')?;
            }
            let end = rest.find('/').unwrap_or(rest.len());
            let (part, behind) = rest.split_at_checked(end)?;
            match segment {
                Segment::Exact(text) if text == part => {}
                Segment::Named(name) if !part.is_empty() => {
                    matched.named.push((name, part.to_owned()))
                }
                _ => return None,
            }
            rest = behind;
        }
        if self.wildcard {
            let whole = self.segments.is_empty();
            matched.rest = if whole {
                path.to_owned()
            } else {
                rest.to_owned()
            };
            (whole || rest.is_empty() || rest.starts_with('/')).then_some(matched)
        } else {
            matches!(rest, "" | "/").then_some(matched)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choose<'a>(routes: &[&'a str], path: &str) -> Option<&'a str> {
        let mut patterns: Vec<_> = routes
            .iter()
            .map(|text| (Pattern::parse(text).unwrap(), *text))
            .collect();
        patterns.sort_by_key(|(pattern, _)| pattern.rank());
        patterns
            .iter()
            .find(|(pattern, _)| pattern.matches(path).is_some())
            .map(|(_, text)| *text)
    }

    #[test]
    fn the_most_exact_route_answers() {
        let routes = [
            "/...",
            "/api/products/...",
            "/api/products/:id/reviews",
            "/api/products",
            "/api/:noun",
            "/api/products/new",
        ];
        for (path, route) in [
            ("/", "/..."),
            ("/x/y", "/..."),
            ("/api/products", "/api/products"),
            ("/api/products/", "/api/products"),
            ("/api/products/1", "/api/products/..."),
            ("/api/products/new", "/api/products/new"),
            ("/api/products/1/reviews", "/api/products/:id/reviews"),
            ("/api/productsx", "/api/:noun"),
            ("/api/orders", "/api/:noun"),
        ] {
            assert_eq!(choose(&routes, path), Some(route), "{path}");
        }
        assert_eq!(choose(&["/a"], "/b"), None);
        assert_eq!(choose(&["/a/:b"], "/a/"), None);
    }

    #[test]
    fn named_segments_and_wildcards_are_captured() {
        let pattern = Pattern::parse("/a/:b/...").unwrap();
        let matched = pattern.matches("/a/x/y/z").unwrap();
        assert_eq!(matched.named, [("b", "x".to_owned())]);
        assert_eq!(matched.rest, "/y/z");
    }

    #[test]
    fn equivalent_routes_clash() {
        let clash = |a, b| {
            Pattern::parse(a)
                .unwrap()
                .clashes(&Pattern::parse(b).unwrap())
        };
        assert!(clash("/a/:x", "/a/:y"));
        assert!(clash("/a/...", "/a/*"));
        assert!(!clash("/a/:x", "/a/b"));
        assert!(!clash("/a", "/a/..."));
        for bad in ["a", "/a...", "/.../a", "/:"] {
            assert!(Pattern::parse(bad).is_err(), "{bad}");
        }
    }
}
