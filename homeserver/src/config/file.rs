//! Keys from a TOML file, with the line of each.

use super::value::Raw;
use super::{Loading, Origin, Problem, keys};
use std::ops::Range;
use std::path::Path;
use toml::de::{DeTable, DeValue};

/// The largest file that is read.
const MAX_BYTES: u64 = 1 << 20;

/// Sets every key in the file at `path`, or notes what is wrong.
pub(super) fn read(path: &Path, loading: &mut Loading) {
    match text_of(path) {
        Ok(text) => read_text(path, &text, loading),
        Err(why) => loading.problems.push(Problem {
            origin: Origin::File(path.to_owned(), None),
            key: None,
            why,
            is_of_value: false,
        }),
    }
}

fn text_of(path: &Path) -> Result<String, String> {
    let size = std::fs::metadata(path).map_err(|error| format!("this file cannot be read: {error}"))?.len();
    if size > MAX_BYTES {
        return Err(format!("a configuration file of {size} bytes is too large: at most {MAX_BYTES} are read"));
    }
    let bytes = std::fs::read(path).map_err(|error| format!("this file cannot be read: {error}"))?;
    String::from_utf8(bytes).map_err(|_| "this file is not UTF-8 text".to_owned())
}

/// As [`read`], for text that is already there.
pub(super) fn read_text(path: &Path, text: &str, loading: &mut Loading) {
    let at = |span: Option<Range<usize>>| Origin::File(path.to_owned(), span.map(|span| line_of(text, span.start)));
    let document = match DeTable::parse(text) {
        Ok(document) => document,
        Err(error) => {
            let why = format!("this is not TOML: {}", error.message());
            loading.problems.push(Problem { origin: at(error.span()), key: None, why, is_of_value: false });
            return;
        }
    };
    for (section, value) in document.get_ref() {
        let name = section.get_ref().as_ref();
        let origin = at(Some(section.span()));
        let DeValue::Table(table) = value.get_ref() else {
            let why = "keys stand in sections: put it under the [section] that it belongs to".to_owned();
            loading.problem(origin, name, why);
            continue;
        };
        if !keys::SECTIONS.iter().any(|known| known.name == name) {
            let why = match super::nearest(name, keys::SECTIONS.iter().map(|known| known.name)) {
                Some(near) => format!("there is no such section; did you mean [{near}]?"),
                None => "there is no such section; `causeway config sample` lists all".to_owned(),
            };
            loading.problem(origin, name, why);
            continue;
        }
        for (key, value) in table {
            let path = format!("{name}.{}", key.get_ref());
            loading.set(&path, &Raw::Toml(value.get_ref()), at(Some(key.span())));
        }
    }
}

/// The line, from 1, of a byte offset.
fn line_of(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}
