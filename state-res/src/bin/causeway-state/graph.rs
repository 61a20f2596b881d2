//! `causeway-state graph`.

use serde_json::json;

mod dot;
mod label;
mod layout;
mod picture;
mod svg;

use self::picture::Picture;

use crate::{
    arguments::{Arguments, Usage},
    failure::Failure,
    input::{self, MAX_FILE_BYTES, Source},
    keys::Keys,
    room::{Room, States},
};

/// The most events that are drawn unless another number is asked for: some 30 MB of SVG, about what a browser still shows.
/// Drawing itself only takes time in proportion.
const MAX_DRAWN_EVENTS: usize = 50_000;

/// What is to be drawn, and where to.
pub(crate) struct Wanted {
    format: Format,
    out: Option<String>,
    auth: AuthEdges,
    max_events: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Format {
    Dot,
    Svg,
}

/// Whose auth events are drawn.
#[derive(Clone, Copy, PartialEq, Eq)]
enum AuthEdges {
    None,
    /// Those of events in conflict and of rejected ones.
    Some,
    All,
}

impl Wanted {
    pub(crate) fn of(arguments: &Arguments) -> Result<Self, Usage> {
        let wrong = |sentence: &str| Err(Usage::new(sentence, Some("graph")));
        let out = arguments.option("--out").map(str::to_owned);
        let format = match arguments.option("--format") {
            Some(_) if out.is_some() => return wrong("--out writes both formats, so --format makes no sense with it"),
            None | Some("dot") => Format::Dot,
            Some("svg") => Format::Svg,
            Some(_) => return wrong("--format must be dot or svg"),
        };
        let auth = match arguments.option("--auth") {
            None | Some("some") => AuthEdges::Some,
            Some("all") => AuthEdges::All,
            Some("none") => AuthEdges::None,
            Some(_) => return wrong("--auth must be some, all or none"),
        };
        let max_events = match arguments.option("--max-events").map(str::parse) {
            None => MAX_DRAWN_EVENTS,
            Some(Ok(max)) => max,
            Some(Err(_)) => return wrong("--max-events must be a number"),
        };
        Ok(Wanted { format, out, auth, max_events })
    }
}

/// Draws a file's graph.
pub(crate) fn run(file: &str, keys: Option<&str>, wanted: &Wanted) -> Result<String, Failure> {
    let keys = keys.map(Keys::read).transpose()?;
    let bytes = input::read(file, MAX_FILE_BYTES)?;
    let room = Room::read(Source::new(file, &bytes)?, keys.as_ref(), States::Optional)?;
    let picture = Picture::of(&room, wanted.auth, wanted.max_events);
    let Some(prefix) = &wanted.out else {
        return Ok(match wanted.format {
            Format::Dot => dot::write(&picture),
            Format::Svg => svg::write(&picture),
        });
    };
    let (dot, svg) = (format!("{prefix}.dot"), format!("{prefix}.svg"));
    for (name, text) in [(&dot, dot::write(&picture)), (&svg, svg::write(&picture))] {
        std::fs::write(name, text).map_err(|error| Failure::of_file(name, error))?;
    }
    Ok(json!({ "dot": dot, "svg": svg }).to_string())
}
