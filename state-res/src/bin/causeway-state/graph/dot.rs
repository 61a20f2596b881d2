//! The picture for Graphviz.

use std::fmt::Write as _;

use super::{
    picture::{Picture, Role},
    svg::in_xml,
};

/// Writes the picture as DOT.
pub(super) fn write(picture: &Picture) -> String {
    let mut out = String::from("digraph room {\n");
    let mut legend = vec![
        picture.title.clone(),
        "arrows: prev_events; dashed: auth_events".to_owned(),
        "bold frame: extremity; dashed red frame: rejected by its own auth events; dashed grey frame: not in the file"
            .to_owned(),
        "blue: all states agree; green: in the resolution, not in all states; orange: in a state, not in the resolution; \
         yellow: not in all states, resolution unknown"
            .to_owned(),
    ];
    legend.extend(picture.notes.iter().cloned());
    if !picture.conflicts.is_empty() {
        legend.push("the resolution has".to_owned());
        legend.extend(picture.conflicts.iter().cloned());
    }
    let _ = writeln!(out, "  label={};", quoted_lines(&legend, "\\l"));
    out.push_str("  labelloc=t; labeljust=l; rankdir=BT; fontname=\"monospace\"; fontsize=11;\n");
    out.push_str("  node [shape=box, style=filled, fillcolor=\"#ffffff\", fontname=\"monospace\", fontsize=10];\n");
    out.push_str("  edge [color=\"#555555\"];\n");
    for (index, node) in picture.nodes.iter().enumerate() {
        let mut style = String::from("filled");
        if !node.is_state {
            style.push_str(",rounded");
        }
        if node.is_rejected || node.is_missing {
            style.push_str(",dashed");
        }
        let fill = match node.role {
            Role::None if node.is_state => "#ffffff",
            Role::None => "#eeeeee",
            Role::Agreed => "#dbeafe",
            Role::Chosen => "#cdeccf",
            Role::NotChosen => "#ffdcb3",
            Role::Disputed => "#fff3b0",
        };
        let (color, width) = match (node.is_rejected, node.is_extremity) {
            _ if node.is_missing => ("#999999", "1"),
            (true, _) => ("#c62828", "1.5"),
            (false, true) => ("#000000", "3"),
            (false, false) => ("#666666", "1"),
        };
        let _ = writeln!(
            out,
            "  e{index} [label={}, tooltip={}, style=\"{style}\", fillcolor=\"{fill}\", color=\"{color}\", penwidth={width}];",
            quoted_lines(&node.lines, "\\n"),
            quoted(&node.details),
        );
    }
    for (from, to) in &picture.prev_edges {
        let _ = writeln!(out, "  e{from} -> e{to};");
    }
    for (from, to) in &picture.auth_edges {
        let _ = writeln!(out, "  e{from} -> e{to} [style=dashed, color=\"#7e57c2\", constraint=false, arrowsize=0.6];");
    }
    out.push_str("}\n");
    out
}

/// A string of DOT: only quotation marks and backslashes mean anything else than themselves. What draws it writes XML, and does not look whether
/// that can hold it.
fn quoted(text: &str) -> String {
    format!("\"{}\"", escaped(text))
}

fn quoted_lines(lines: &[String], end: &str) -> String {
    let lines: Vec<String> = lines.iter().map(|line| escaped(line) + end).collect();
    format!("\"{}\"", lines.concat())
}

fn escaped(text: &str) -> String {
    let text: String = text.chars().map(in_xml).collect();
    text.replace('&', "&amp;").replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
