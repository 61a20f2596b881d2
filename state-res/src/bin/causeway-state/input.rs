//! Files of JSON, and places in them.

use std::{collections::BTreeMap, io::Read as _};

use serde_json::value::RawValue;

use crate::failure::{Failure, Position};

/// The longest file that is read. An event takes up some 700 bytes, so this is a room of more than a million.
pub(crate) const MAX_FILE_BYTES: usize = 1 << 30;

/// How many characters of an id or value a message repeats.
const MAX_SHOWN_CHARS: usize = 100;

/// The bytes of a file, or of standard input for `-`, if there are at most so many.
pub(crate) fn read(file: &str, max: usize) -> Result<Vec<u8>, Failure> {
    let limit = max as u64 + 1;
    let mut bytes = Vec::new();
    let read = if file == "-" {
        std::io::stdin().lock().take(limit).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(file).and_then(|opened| opened.take(limit).read_to_end(&mut bytes))
    };
    read.map_err(|error| Failure::of_file(file, error))?;
    if bytes.len() > max {
        return Err(Failure::of_file(file, format!("is longer than the {max} bytes that are read")));
    }
    Ok(bytes)
}

/// What a reader of JSON says, without its own words for the place.
fn reason(error: &serde_json::Error) -> String {
    error.to_string().split(" at line ").next().unwrap_or_default().to_owned()
}

/// A text that is looked at piece by piece.
pub(crate) struct Source<'a> {
    file: &'a str,
    text: &'a str,
}

impl<'a> Source<'a> {
    /// The text of a file.
    pub(crate) fn new(file: &'a str, bytes: &'a [u8]) -> Result<Self, Failure> {
        let text = std::str::from_utf8(bytes).map_err(|error| {
            Failure::of_file(file, "is not UTF-8 here").at(Position::of(bytes, error.valid_up_to()))
        })?;
        Ok(Source { file, text })
    }

    pub(crate) fn file(&self) -> &'a str {
        self.file
    }

    /// The outermost value, once the whole text is known to be JSON.
    pub(crate) fn root(&self) -> Result<&'a RawValue, Failure> {
        serde_json::from_str(self.text).map_err(|error| {
            Failure::of_file(self.file, format!("is not JSON: {}", reason(&error)))
                .at(Position::new(error.line(), error.column().max(1)))
        })
    }

    /// A complaint about a value, which has this path from the outermost one.
    pub(crate) fn complain(
        &self,
        value: &RawValue,
        path: impl Into<String>,
        reason: impl std::fmt::Display,
    ) -> Failure {
        self.complain_within(value, 0, path, reason)
    }

    /// A complaint about what is so many bytes into a value.
    pub(crate) fn complain_within(
        &self,
        value: &RawValue,
        bytes: usize,
        path: impl Into<String>,
        reason: impl std::fmt::Display,
    ) -> Failure {
        // Every value is a part of the text.
        let offset = (value.get().as_ptr() as usize).saturating_sub(self.text.as_ptr() as usize) + bytes;
        let path = path.into();
        let failure = Failure::of_file(self.file, reason).at(Position::of(self.text.as_bytes(), offset));
        if path.is_empty() { failure } else { failure.within(path) }
    }

    /// The members of an object.
    pub(crate) fn object(&self, value: &'a RawValue, path: &str) -> Result<BTreeMap<String, &'a RawValue>, Failure> {
        if !value.get().starts_with('{') {
            return Err(self.complain(value, path, format!("must be an object, not {}", kind(value))));
        }
        serde_json::from_str(value.get()).map_err(|error| self.unreadable(value, path, &error))
    }

    /// The elements of an array.
    pub(crate) fn array(&self, value: &'a RawValue, path: &str) -> Result<Vec<&'a RawValue>, Failure> {
        if !value.get().starts_with('[') {
            return Err(self.complain(value, path, format!("must be an array, not {}", kind(value))));
        }
        serde_json::from_str(value.get()).map_err(|error| self.unreadable(value, path, &error))
    }

    /// A complaint about what cannot be read in a value though it is JSON, as half a character in a member's name.
    fn unreadable(&self, value: &RawValue, path: &str, error: &serde_json::Error) -> Failure {
        let before: usize = value.get().split_inclusive('\n').take(error.line().saturating_sub(1)).map(str::len).sum();
        self.complain_within(value, before + error.column().saturating_sub(1), path, reason(error))
    }

    /// A string.
    pub(crate) fn string(&self, value: &RawValue, path: impl Fn() -> String) -> Result<String, Failure> {
        if !value.get().starts_with('"') {
            return Err(self.complain(value, path(), format!("must be a string, not {}", kind(value))));
        }
        serde_json::from_str(value.get()).map_err(|_| self.complain(value, path(), "is not a string of Unicode text"))
    }

    /// A member that must be there.
    pub(crate) fn needed(
        &self,
        object: &BTreeMap<String, &'a RawValue>,
        of: &RawValue,
        name: &str,
    ) -> Result<&'a RawValue, Failure> {
        object.get(name).copied().ok_or_else(|| self.complain(of, "", format!("has no `{name}`")))
    }
}

/// The path of a member.
pub(crate) fn joined(path: &str, member: &str) -> String {
    if path.is_empty() { member.to_owned() } else { format!("{path}.{member}") }
}

/// A text that came from outside, shortened for a message.
pub(crate) fn shown(text: &str) -> String {
    let mut shown: String = text.chars().take(MAX_SHOWN_CHARS).flat_map(char::escape_debug).collect();
    if text.chars().nth(MAX_SHOWN_CHARS).is_some() {
        shown.push('…');
    }
    shown
}

/// What a value is.
fn kind(value: &RawValue) -> &'static str {
    match value.get().as_bytes().first() {
        Some(b'{') => "an object",
        Some(b'[') => "an array",
        Some(b'"') => "a string",
        Some(b't' | b'f') => "a boolean",
        Some(b'n') => "null",
        _ => "a number",
    }
}
