//! The graph as SVG: callers left of whom they call, one column for each step.

use super::{Drawn, Node};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Pixels of a box, and between boxes.
const WIDTH: usize = 150;
const HEIGHT: usize = 52;
const GAP_X: usize = 110;
const GAP_Y: usize = 34;
const MARGIN: usize = 24;

/// Draws it.
pub(super) fn svg(drawn: &Drawn) -> String {
    let places = places(drawn);
    let columns = places.values().map(|(x, _)| x + 1).max().unwrap_or(1);
    let rows = places.values().map(|(_, y)| y + 1).max().unwrap_or(1);
    let (width, height) = (
        2 * MARGIN + columns * WIDTH + (columns - 1) * GAP_X,
        2 * MARGIN + rows * HEIGHT + (rows - 1) * GAP_Y,
    );
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" font-size=\"13\">\n\
         <defs><marker id=\"tip\" viewBox=\"0 0 8 8\" refX=\"8\" refY=\"4\" markerWidth=\"8\" markerHeight=\"8\" orient=\"auto\"><path d=\"M0 0L8 4L0 8z\" fill=\"#456\"/></marker></defs>\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"#fff\"/>\n"
    );
    for link in &drawn.links {
        let (Some(from), Some(to)) = (
            places.get(link.caller.as_str()),
            places.get(link.callee.as_str()),
        ) else {
            continue;
        };
        let ((x1, y1), (x2, y2)) = (corner(*from), corner(*to));
        let (x1, y1, y2) = (x1 + WIDTH, y1 + HEIGHT / 2, y2 + HEIGHT / 2);
        let (bend, dashes) = (
            GAP_X / 2,
            if link.binding == "fused" {
                ""
            } else {
                " stroke-dasharray=\"5 3\""
            },
        );
        // Writing to a String cannot fail.
        let _ = writeln!(
            svg,
            "<path d=\"M{x1} {y1}C{} {y1} {} {y2} {x2} {y2}\" fill=\"none\" stroke=\"#456\" stroke-width=\"1.5\"{dashes} marker-end=\"url(#tip)\"><title>{} to {}, {}</title></path>",
            x1 + bend,
            x2.saturating_sub(bend),
            escaped(&link.caller),
            escaped(&link.callee),
            link.binding
        );
    }
    for node in &drawn.components {
        if let Some(place) = places.get(node.id.as_str()) {
            boxed(&mut svg, node, corner(*place));
        }
    }
    svg + "</svg>\n"
}

fn boxed(svg: &mut String, node: &Node, (x, y): (usize, usize)) {
    let (middle, what) = (
        x + WIDTH / 2,
        match (node.routes.len(), node.channels.len()) {
            (routes, 0) => format!("{routes} routes"),
            (routes, channels) => format!("{routes} routes, {channels} channels"),
        },
    );
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

fn corner((column, row): (usize, usize)) -> (usize, usize) {
    (
        MARGIN + column * (WIDTH + GAP_X),
        MARGIN + row * (HEIGHT + GAP_Y),
    )
}

/// Column and row of each component: right of everybody who calls it.
fn places(drawn: &Drawn) -> BTreeMap<&str, (usize, usize)> {
    let mut columns: BTreeMap<&str, usize> = drawn
        .components
        .iter()
        .map(|node| (node.id.as_str(), 0))
        .collect();
    // Links form no cycle, so that this ends after as many rounds as there are components.
    for _ in 0..drawn.components.len() {
        for link in &drawn.links {
            let after = columns
                .get(link.caller.as_str())
                .map_or(0, |column| column + 1);
            if let Some(column) = columns.get_mut(link.callee.as_str()) {
                *column = (*column).max(after);
            }
        }
    }
    let mut rows = BTreeMap::<usize, usize>::new();
    let place = |(id, column): (&'_ str, usize), rows: &mut BTreeMap<usize, usize>| {
        let row = rows.entry(column).or_default();
        *row += 1;
        (id.to_owned(), (column, *row - 1))
    };
    let placed: BTreeMap<String, (usize, usize)> = columns
        .iter()
        .map(|(id, column)| place((id, *column), &mut rows))
        .collect();
    let known = drawn.components.iter();
    known
        .filter_map(|node| Some((node.id.as_str(), *placed.get(&node.id)?)))
        .collect()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('"', "&quot;")
}
