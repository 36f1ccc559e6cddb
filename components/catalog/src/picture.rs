//! A generated picture for a product that has none. The same name and category always give the same picture.

use crate::domain::Product;

/// Draws an SVG of 640 × 640.
pub(crate) fn draw(product: &Product) -> String {
    let category = hash(product.draft.category.as_str());
    let own = hash(product.draft.sku.as_str());
    let hue = category % 360;
    let (back, front, dark) = (
        format!("hsl({hue}, 45%, 93%)"),
        format!("hsl({}, 55%, 58%)", (hue + own % 40) % 360),
        format!("hsl({hue}, 40%, 28%)"),
    );
    let mut svg = format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 640 640" role="img" aria-label="{label}"><rect width="640" height="640" fill="{back}"/>"#,
        label = escape(&product.draft.name)
    );
    for ring in 0..3_u64 {
        let bits = own.rotate_left(u32::try_from(ring * 17).unwrap_or_default());
        let (x, y) = (200 + bits % 240, 150 + (bits >> 9) % 220);
        let size = 80 + (bits >> 18) % 90;
        let opacity = 90 - ring * 25;
        svg.push_str(&shape((bits >> 27) % 3, x, y, size, &front, opacity));
    }
    svg.push_str(&format!(
        r#"<rect y="520" width="640" height="120" fill="{dark}"/>"#
    ));
    for (line, text) in lines(&product.draft.name).iter().enumerate() {
        let y = 570 + line * 38;
        svg.push_str(&format!(
            r#"<text x="32" y="{y}" font-family="Georgia, serif" font-size="32" fill="{back}">{}</text>"#,
            escape(text)
        ));
    }
    svg.push_str("</svg>");
    svg
}

fn shape(kind: u64, x: u64, y: u64, size: u64, fill: &str, opacity: u64) -> String {
    let paint = format!(r#"fill="{fill}" fill-opacity="0.{opacity:02}""#);
    match kind {
        0 => format!(r#"<circle cx="{x}" cy="{y}" r="{size}" {paint}/>"#),
        1 => {
            let (left, top, side) = (x - size, y - size.min(y), size * 2);
            format!(
                r#"<rect x="{left}" y="{top}" width="{side}" height="{side}" rx="28" {paint}/>"#
            )
        }
        _ => {
            let (top, side) = (y - size.min(y), size * 2);
            format!(r#"<path d="M{x} {top} l{size} {side} h-{side} z" {paint}/>"#)
        }
    }
}

/// Splits a name into at most two lines of about thirty characters.
fn lines(name: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in name.split_whitespace() {
        let long = lines.last().is_some_and(|line| {
            !line.is_empty() && line.chars().count() + word.chars().count() > 30
        });
        if long && lines.len() == 1 {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

/// FNV-1a with a final mix, so that every bit of the input affects every bit of the hash. Not for security.
fn hash(text: &str) -> u64 {
    let sum = text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let mixed = (sum ^ (sum >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed ^ (mixed >> 27)
}
