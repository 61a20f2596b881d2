//! Canonical JSON: the one encoding of a JSON value that is hashed and signed.
//!
//! Specification: appendices, "Canonical JSON". The shortest UTF-8 encoding, members sorted by code point, integers only.
//! Room versions 1 to 5 do not enforce the last point: there numbers go into hashes as they came, so [`canonicalise`] works
//! on the text and never through a number type. Two members of one name: the last one counts, as in most JSON readers.

mod document;
mod scan;
mod write;

use serde_json::{Map, Value};

pub(crate) use document::Document;
pub(crate) use scan::{Elements, Member, Members, decode_string, is_array, is_object, is_string, value_at};
pub use write::{to_vec, write_object, write_string, write_value};

/// How many levels arrays and objects may be nested, the outermost included. With what is around an event in an answer, that stays within the
/// 128 levels that many JSON readers take.
pub const MAX_NESTING: usize = 120;

/// The largest integer of canonical JSON, 2^53 - 1; the smallest is its negative.
pub const MAX_INTEGER: i64 = (1 << 53) - 1;

/// Which numbers are accepted, and how they are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Numbers {
    /// Every number, as it came: events of room versions 1 to 5. From text the digits stay as they are (`1e3`, `1.0`); from
    /// a [`serde_json::Value`] a float is written as serde_json writes it.
    Lenient,
    /// Integers within ±(2^53-1) without fraction or exponent: events from room version 6 on. `-0` is the integer zero and
    /// is written `0`.
    Strict,
    /// Numbers whose value is an integer within ±(2^53-1), however they were spelt: `1e10` is written `10000000000`, as in
    /// the specification's example. For JSON other than events.
    Whole,
}

/// Why JSON has no canonical form.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CanonicalError {
    /// Not UTF-8.
    #[error("the JSON is not UTF-8 at byte {at}")]
    NotUtf8 {
        /// Offset in bytes.
        at: usize,
    },
    /// Not JSON.
    #[error("not JSON: {expected} at byte {at}")]
    Syntax {
        /// What would have been right there.
        expected: &'static str,
        /// Offset in bytes.
        at: usize,
    },
    /// Nested deeper than the bound, which is [`MAX_NESTING`] for everything but requests.
    #[error("nested too deeply")]
    TooDeep,
    /// Longer than this crate reads.
    #[error("longer than {max} bytes")]
    TooLong {
        /// The limit in bytes.
        max: usize,
    },
    /// A number that is no integer.
    #[error("the number {number} is not an integer, as canonical JSON requires")]
    NotAnInteger {
        /// The number as it came, shortened.
        number: String,
    },
    /// An integer outside ±(2^53-1).
    #[error("the integer {number} is outside the range from -(2^53)+1 to (2^53)-1")]
    OutOfRange {
        /// The number as it came, shortened.
        number: String,
    },
}

impl CanonicalError {
    /// Whether the input was not JSON at all (`M_NOT_JSON`), rather than JSON that may not be used (`M_BAD_JSON`).
    #[must_use]
    pub const fn is_syntax(&self) -> bool {
        matches!(self, Self::NotUtf8 { .. } | Self::Syntax { .. })
    }
}

/// Reads a JSON object of any numbers: one that no double can hold, which events of room versions 1 to 5 may have, appears as the
/// nearest double.
///
/// # Errors
/// The text is not JSON. (Of other JSON than an object the result is empty.)
pub fn read_object(json: &[u8]) -> Result<Map<String, Value>, CanonicalError> {
    Ok(Document::parse(json)?.object(Document::ROOT))
}

/// The canonical form of JSON text.
///
/// # Errors
/// The text is not UTF-8 or not JSON, nested too deeply, or has a number that `numbers` refuses.
pub fn canonicalise(json: &[u8], numbers: Numbers) -> Result<Vec<u8>, CanonicalError> {
    canonicalise_within(json, numbers, MAX_NESTING)
}

/// As [`canonicalise`], with another bound than [`MAX_NESTING`]: a signed request may carry an event that is refused for
/// its depth without being refused itself. Each level takes stack.
///
/// # Errors
/// As [`canonicalise`].
pub fn canonicalise_within(json: &[u8], numbers: Numbers, max_nesting: usize) -> Result<Vec<u8>, CanonicalError> {
    let document = Document::parse_within(json, max_nesting)?;
    let mut out = Vec::with_capacity(json.len());
    document.write(Document::ROOT, numbers, &mut out)?;
    Ok(out)
}

/// How much of a number an error repeats.
const MAX_SHOWN_CHARS: usize = 40;

fn shown(number: &str) -> String {
    number.chars().take(MAX_SHOWN_CHARS).collect()
}
