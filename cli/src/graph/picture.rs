//! The graph as SVG, in columns: each component stands to the right of its callers.

use super::{Drawn, Node};
use localmart_measure::page::escaped;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Sizes of boxes and of the gaps between them, in pixels.
const WIDTH: usize = 150;
const HEIGHT: usize = 52;
const GAP_X: usize = 110;
const GAP_Y: usize = 34;
const MARGIN: usize = 24;

/// Height of the lane in which a link crosses a column, in pixels.
const LANE: usize = 20;

/// The positions of boxes and links, in pixels.
struct Layout<'d> {
    /// The upper left corner of each component.
    corners: BTreeMap<&'d str, (usize, usize)>,
    /// For each link, the left ends of the lanes in which it crosses columns.
    ways: Vec<Vec<(usize, usize)>>,
    width: usize,
    height: usize,
}

/// Draws the graph.
pub(super) fn svg(drawn: &Drawn) -> String {
    let layout = layout(drawn);
    let (width, height) = (layout.width, layout.height);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" font-size=\"13\">\n\
         <defs><marker id=\"tip\" viewBox=\"0 0 8 8\" refX=\"8\" refY=\"4\" markerWidth=\"8\" markerHeight=\"8\" orient=\"auto\"><path d=\"M0 0L8 4L0 8z\" fill=\"#456\"/></marker></defs>\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"#fff\"/>\n"
    );
    for (link, ways) in drawn.links.iter().zip(&layout.ways) {
        let ends = [&link.caller, &link.callee].map(|id| layout.corners.get(id.as_str()));
        let [Some((x1, y1)), Some((x2, y2))] = ends else {
            continue;
        };
        let (mut x, mut y) = (x1 + WIDTH, y1 + HEIGHT / 2);
        let mut path = format!("M{x} {y}");
        for (to, below) in ways.iter().copied().chain([(*x2, y2 + HEIGHT / 2)]) {
            let (before, after) = (x + GAP_X / 2, to.saturating_sub(GAP_X / 2));
            // Writing to a String cannot fail.
            let _ = write!(path, "C{before} {y} {after} {below} {to} {below}");
            (x, y) = (to + WIDTH, below);
            if to != *x2 {
                let _ = write!(path, "H{x}");
            }
        }
        let dashes = match link.binding == "fused" {
            true => "",
            false => " stroke-dasharray=\"5 3\"",
        };
        let _ = writeln!(
            svg,
            "<path d=\"{path}\" fill=\"none\" stroke=\"#456\" stroke-width=\"1.5\"{dashes} marker-end=\"url(#tip)\"><title>{} to {}, {}</title></path>",
            escaped(&link.caller),
            escaped(&link.callee),
            link.binding
        );
    }
    for node in &drawn.components {
        if let Some(corner) = layout.corners.get(node.id.as_str()) {
            boxed(&mut svg, node, &what(drawn, node), *corner);
        }
    }
    svg + "</svg>\n"
}

/// What calls a component, in a few words.
fn what(drawn: &Drawn, node: &Node) -> String {
    let counted = |count: usize, what: &str| match count {
        0 => None,
        1 => Some(format!("1 {what}")),
        many => Some(format!("{many} {what}s")),
    };
    let (routes, channels) = (node.routes.len(), node.channels.len());
    let parts = [counted(routes, "route"), counted(channels, "channel")];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    let decides = |link: &super::Edge| link.callee == node.id && link.binding == "policy";
    match parts.is_empty() {
        false => parts.join(", "),
        true if drawn.links.iter().any(decides) => "policy".to_owned(),
        true => "links only".to_owned(),
    }
}

fn boxed(svg: &mut String, node: &Node, what: &str, (x, y): (usize, usize)) {
    let middle = x + WIDTH / 2;
    // Writing to a String cannot fail.
    let _ = writeln!(
        svg,
        "<rect x=\"{x}\" y=\"{y}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" rx=\"8\" fill=\"#eef4fa\" stroke=\"#456\"/>\n\
         <text x=\"{middle}\" y=\"{}\" text-anchor=\"middle\" font-weight=\"bold\">{}</text>\n\
         <text x=\"{middle}\" y=\"{}\" text-anchor=\"middle\" fill=\"#567\" font-size=\"11\">{what}</text>",
        y + 22,
        escaped(&node.id),
        y + 40
    );
}

/// Places each component to the right of its callers. A link crosses a column below the components in it.
fn layout(drawn: &Drawn) -> Layout<'_> {
    let columns = columns(drawn);
    let x = |column: usize| MARGIN + column * (WIDTH + GAP_X);
    let count = columns.values().map(|column| column + 1).max().unwrap_or(1);
    let mut free = vec![MARGIN; count];
    let mut take = |column: usize, height: usize| {
        let y = free.get(column).copied().unwrap_or(MARGIN);
        if let Some(free) = free.get_mut(column) {
            *free += height;
        }
        y
    };
    let mut corners = BTreeMap::new();
    for (id, column) in &columns {
        corners.insert(*id, (x(*column), take(*column, HEIGHT + GAP_Y)));
    }
    let mut ways = Vec::new();
    for link in &drawn.links {
        let ends = [&link.caller, &link.callee].map(|id| columns.get(id.as_str()).copied());
        let passed = match ends {
            [Some(from), Some(to)] => from + 1..to,
            _ => 0..0,
        };
        ways.push(
            passed
                .map(|column| (x(column), take(column, LANE)))
                .collect(),
        );
    }
    Layout {
        corners,
        ways,
        width: x(count) - GAP_X + MARGIN,
        height: free.into_iter().max().unwrap_or(MARGIN),
    }
}

/// The column of each component.
fn columns(drawn: &Drawn) -> BTreeMap<&str, usize> {
    let ids = drawn.components.iter().map(|node| (node.id.as_str(), 0));
    let mut columns: BTreeMap<&str, usize> = ids.collect();
    // Links form no cycle, so as many rounds as there are components are enough.
    for _ in 0..drawn.components.len() {
        for link in &drawn.links {
            let caller = columns.get(link.caller.as_str());
            let after = caller.map_or(0, |column| column + 1);
            if let Some(column) = columns.get_mut(link.callee.as_str()) {
                *column = (*column).max(after);
            }
        }
    }
    columns
}
