//! The picture as SVG, laid out here.

use std::fmt::Write as _;

use super::{
    label::COLUMNS,
    layout::{Layout, Sizes, layout},
    picture::{Node, Picture, Role},
};

const MARGIN: f64 = 24.0;
const FONT_SIZE: f64 = 11.0;
/// About what a character of a fixed-width font takes at this size.
const COLUMN: f64 = 6.7;
const LINE: f64 = 14.0;
const PADDING: f64 = 7.0;
const NODE_WIDTH: f64 = COLUMNS as f64 * COLUMN + 2.0 * PADDING;
const NODE_GAP: f64 = 26.0;
const LAYER_GAP: f64 = 38.0;
/// How far to the right lines to auth events reach, at least and at most.
const MIN_BULGE: f64 = 24.0;
const MAX_BULGE: f64 = 160.0;
/// The most sentences about conflicts that are written above the picture.
const MAX_SENTENCES: usize = 30;

/// Writes the picture as SVG.
pub(super) fn write(picture: &Picture) -> String {
    let sizes = Sizes { node_width: NODE_WIDTH + NODE_GAP, line_width: NODE_GAP };
    let laid = layout(picture.nodes.len(), &picture.prev_edges, &picture.auth_order, &sizes);
    let legend = Legend::of(picture);
    let tops = tops(picture, &laid, MARGIN + legend.height);
    let bottom = tops.last().copied().unwrap_or(MARGIN + legend.height) + MARGIN;
    let room_for_auth = if picture.auth_edges.is_empty() { 0.0 } else { MAX_BULGE };
    let width = (laid.width + room_for_auth + 2.0 * MARGIN).max(legend.width + 2.0 * MARGIN);

    let mut out = String::new();
    let _ = writeln!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{bottom:.0}\" viewBox=\"0 0 {width:.0} \
         {bottom:.0}\" font-family=\"monospace\" font-size=\"{FONT_SIZE}\">"
    );
    out.push_str(STYLE);
    let _ = writeln!(out, "<title>{}</title>", escaped(&picture.title));
    let _ = writeln!(out, "<rect width=\"{width:.0}\" height=\"{bottom:.0}\" fill=\"#ffffff\"/>");
    out.push_str(&legend.text);

    let boxes: Vec<Box> = picture
        .nodes
        .iter()
        .zip(&laid.nodes)
        .map(|(node, (layer, middle))| Box { middle: MARGIN + middle, top: tops[*layer], height: height(node) })
        .collect();
    out.push_str("<g class=\"auth\">\n");
    for (from, to) in &picture.auth_edges {
        let (from, to) = (&boxes[*from], &boxes[*to]);
        let _ = writeln!(out, "<path d=\"{}\"/>", around(from, to));
    }
    out.push_str("</g>\n<g class=\"prev\">\n");
    for ((from, to), bends) in picture.prev_edges.iter().zip(&laid.bends) {
        let (from, to) = (&boxes[*from], &boxes[*to]);
        let mut points = vec![(from.middle, from.top)];
        for (layer, middle) in bends {
            // Straight through the layer, so that the line keeps clear of the nodes beside it.
            let (top, below) = (tops[*layer], tops.get(layer + 1).map_or(bottom, |next| next - LAYER_GAP));
            points.extend([(MARGIN + middle, below), (MARGIN + middle, top)]);
        }
        points.push((to.middle, to.bottom()));
        let _ = writeln!(out, "<path d=\"{}\"/>", curve(&points));
    }
    out.push_str("</g>\n");
    for (node, place) in picture.nodes.iter().zip(&boxes) {
        write_node(&mut out, node, place);
    }
    out.push_str("</svg>\n");
    out
}

const STYLE: &str = "\
<style>
path { fill: none; }
.prev path { stroke: #555555; stroke-width: 1.3; marker-end: url(#prev); }
.auth path { stroke: #7e57c2; stroke-width: 0.8; stroke-dasharray: 4 3; opacity: 0.75; marker-end: url(#auth); }
rect.node { stroke: #666666; stroke-width: 1; fill: #ffffff; }
rect.message { fill: #eeeeee; }
rect.agreed { fill: #dbeafe; }
rect.chosen { fill: #cdeccf; }
rect.not-chosen { fill: #ffdcb3; }
rect.disputed { fill: #fff3b0; }
rect.missing { stroke: #999999; stroke-dasharray: 3 3; }
rect.extremity { stroke: #000000; stroke-width: 3; }
rect.rejected { stroke: #c62828; stroke-width: 1.6; stroke-dasharray: 5 3; }
text { white-space: pre; fill: #111111; }
text.type { font-weight: bold; }
text.note { fill: #b71c1c; }
text.id { fill: #555555; }
</style>
<defs>
<marker id=\"prev\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"7\" markerHeight=\"7\" orient=\"auto\"><path d=\"M0 0 L8 4 L0 8 z\" style=\"fill: #555555; stroke: none; marker-end: none\"/></marker>
<marker id=\"auth\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"7\" markerHeight=\"7\" orient=\"auto\"><path d=\"M0 0 L8 4 L0 8 z\" style=\"fill: #7e57c2; stroke: none; marker-end: none\"/></marker>
</defs>
";

/// Where an event is drawn.
struct Box {
    middle: f64,
    top: f64,
    height: f64,
}

impl Box {
    fn bottom(&self) -> f64 {
        self.top + self.height
    }
}

fn height(node: &Node) -> f64 {
    node.lines.len() as f64 * LINE + 2.0 * PADDING
}

/// Where each layer begins, and last where the picture ends.
fn tops(picture: &Picture, laid: &Layout, first: f64) -> Vec<f64> {
    let mut heights = vec![0.0_f64; laid.layers];
    for (node, (layer, _)) in picture.nodes.iter().zip(&laid.nodes) {
        heights[*layer] = heights[*layer].max(height(node));
    }
    let mut tops = Vec::with_capacity(laid.layers + 1);
    let mut top = first;
    for height in heights {
        tops.push(top);
        top += height + LAYER_GAP;
    }
    tops.push(top);
    tops
}

/// A line through these points that leaves and reaches each one upright.
fn curve(points: &[(f64, f64)]) -> String {
    let mut path = String::new();
    for (at, (x, y)) in points.iter().enumerate() {
        match at.checked_sub(1).and_then(|before| points.get(before)) {
            None => {
                let _ = write!(path, "M{x:.1} {y:.1}");
            }
            Some((from_x, _)) if (from_x - x).abs() < 0.05 => {
                let _ = write!(path, " L{x:.1} {y:.1}");
            }
            Some((from_x, from_y)) => {
                let middle = (from_y + y) / 2.0;
                let _ = write!(path, " C{from_x:.1} {middle:.1} {x:.1} {middle:.1} {x:.1} {y:.1}");
            }
        }
    }
    path
}

/// A line that leaves one box and reaches another at the right and keeps clear of what lies between, the more the farther.
fn around(from: &Box, to: &Box) -> String {
    let (from_x, to_x) = (from.middle + NODE_WIDTH / 2.0, to.middle + NODE_WIDTH / 2.0);
    let (from_y, to_y) = (from.top + from.height / 3.0, to.bottom() - to.height / 3.0);
    let bulge = from_x.max(to_x) + (MIN_BULGE + (from_y - to_y).abs() / 6.0).min(MAX_BULGE);
    format!("M{from_x:.1} {from_y:.1} C{bulge:.1} {from_y:.1} {bulge:.1} {to_y:.1} {to_x:.1} {to_y:.1}")
}

fn write_node(out: &mut String, node: &Node, place: &Box) {
    let left = place.middle - NODE_WIDTH / 2.0;
    let radius = if node.is_state { 2 } else { 10 };
    let _ = writeln!(out, "<g><title>{}</title>", escaped(&node.details));
    let _ = writeln!(
        out,
        "<rect class=\"{}\" x=\"{left:.1}\" y=\"{:.1}\" width=\"{NODE_WIDTH:.1}\" height=\"{:.1}\" rx=\"{radius}\"/>",
        classes(node),
        place.top,
        place.height
    );
    for (number, line) in node.lines.iter().enumerate() {
        let class = if number == 0 {
            " class=\"type\""
        } else if line.starts_with('$') {
            " class=\"id\""
        } else if line.starts_with('✘') {
            " class=\"note\""
        } else {
            ""
        };
        let baseline = place.top + PADDING + LINE * (number as f64 + 0.78);
        let _ = writeln!(out, "<text{class} x=\"{:.1}\" y=\"{baseline:.1}\">{}</text>", left + PADDING, escaped(line));
    }
    out.push_str("</g>\n");
}

fn classes(node: &Node) -> String {
    let mut classes = String::from("node");
    if !node.is_state {
        classes.push_str(" message");
    }
    classes.push_str(match node.role {
        Role::None => "",
        Role::Agreed => " agreed",
        Role::Chosen => " chosen",
        Role::NotChosen => " not-chosen",
        Role::Disputed => " disputed",
    });
    if node.is_missing {
        classes.push_str(" missing");
    }
    if node.is_extremity {
        classes.push_str(" extremity");
    }
    if node.is_rejected {
        classes.push_str(" rejected");
    }
    classes
}

/// What the marks mean, and what came of the conflicts.
struct Legend {
    text: String,
    width: f64,
    height: f64,
}

impl Legend {
    fn of(picture: &Picture) -> Self {
        const MARKS: [(&str, &str); 9] = [
            ("node", "state event"),
            ("node message", "other event"),
            ("node agreed", "in all states"),
            ("node chosen", "in the resolution, not in all states"),
            ("node not-chosen", "in a state (S0, S1, …), not in the resolution"),
            ("node disputed", "not in all states; the resolution is not known"),
            ("node extremity", "extremity: no accepted event follows it"),
            ("node rejected", "rejected: its own auth events do not allow it"),
            ("node missing", "not in the file: another event names it"),
        ];
        let mut legend = Legend { text: String::new(), width: 0.0, height: 0.0 };
        legend.line("type", &picture.title, 0.0);
        for note in &picture.notes {
            legend.line("note", note, 0.0);
        }
        for (class, meaning) in MARKS {
            let _ = writeln!(
                legend.text,
                "<rect class=\"{class}\" x=\"{MARGIN}\" y=\"{:.1}\" width=\"22\" height=\"11\" rx=\"2\"/>",
                MARGIN + legend.height + 2.0
            );
            legend.line("", meaning, 30.0);
        }
        for (class, meaning) in [("prev", "to its prev_events"), ("auth", "to its auth_events")] {
            let y = MARGIN + legend.height + 8.0;
            let _ = writeln!(
                legend.text,
                "<g class=\"{class}\"><path d=\"M{MARGIN} {y:.1} L{:.1} {y:.1}\"/></g>",
                MARGIN + 24.0
            );
            legend.line("", meaning, 30.0);
        }
        if !picture.conflicts.is_empty() {
            legend.height += LINE / 2.0;
            legend.line("type", "Where the states differ, the resolution has", 0.0);
            for sentence in picture.conflicts.iter().take(MAX_SENTENCES) {
                legend.line("", sentence, 0.0);
            }
            if let Some(more) = picture.conflicts.len().checked_sub(MAX_SENTENCES).filter(|more| *more > 0) {
                legend.line("", &format!("… and {more} more"), 0.0);
            }
        }
        legend.height += LINE * 2.0;
        legend
    }

    fn line(&mut self, class: &str, text: &str, indent: f64) {
        let _ = writeln!(
            self.text,
            "<text class=\"{class}\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            MARGIN + indent,
            MARGIN + self.height + LINE * 0.78,
            escaped(text)
        );
        self.width = self.width.max(indent + text.chars().count() as f64 * COLUMN);
        self.height += LINE + 2.0;
    }
}

/// What stands for a character in XML: itself, or the replacement character for those that XML cannot hold.
pub(super) fn in_xml(character: char) -> char {
    match character {
        '\n' | '\t' => character,
        '\u{fffe}' | '\u{ffff}' | '\0'..'\u{20}' => char::REPLACEMENT_CHARACTER,
        _ => character,
    }
}

/// Text of XML.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars().map(in_xml) {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            _ => escaped.push(character),
        }
    }
    escaped
}
