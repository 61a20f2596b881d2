//! Writing values and strings as canonical JSON.

use serde_json::{Map, Number, Value};

use super::{CanonicalError, MAX_INTEGER, MAX_NESTING, Numbers, shown};
use crate::switches::{Clause, on};

/// The canonical form of a value.
///
/// # Errors
/// The value is nested too deeply or has a number that `numbers` refuses.
pub fn to_vec(value: &Value, numbers: Numbers) -> Result<Vec<u8>, CanonicalError> {
    let mut out = Vec::with_capacity(256);
    write_value(value, numbers, &mut out)?;
    Ok(out)
}

/// Appends the canonical form of a value.
///
/// # Errors
/// As [`to_vec`]; what was written before the error stays in `out`.
pub fn write_value(value: &Value, numbers: Numbers, out: &mut Vec<u8>) -> Result<(), CanonicalError> {
    write_nested(value, numbers, 0, out)
}

/// Appends the canonical form of an object.
///
/// # Errors
/// As [`to_vec`]; what was written before the error stays in `out`.
pub fn write_object(object: &Map<String, Value>, numbers: Numbers, out: &mut Vec<u8>) -> Result<(), CanonicalError> {
    write_members(object, numbers, 0, out)
}

/// Appends a string with its quotes: backslash, quotation mark and control characters escaped as the grammar of the
/// appendices says, everything else as it is.
pub fn write_string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let bytes = text.as_bytes();
    let mut written = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.extend_from_slice(&bytes[written..at]);
        written = at + 1;
        match byte {
            b'\x08'..=b'\r' if !on(Clause::Escapes) => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            0x08 => out.extend_from_slice(b"\\b"),
            0x09 => out.extend_from_slice(b"\\t"),
            0x0A => out.extend_from_slice(b"\\n"),
            0x0C => out.extend_from_slice(b"\\f"),
            0x0D => out.extend_from_slice(b"\\r"),
            control => {
                const DIGITS: &[u8; 16] = b"0123456789abcdef";
                out.extend_from_slice(b"\\u00");
                out.push(DIGITS[usize::from(control >> 4)]);
                out.push(DIGITS[usize::from(control & 15)]);
            }
        }
    }
    out.extend_from_slice(&bytes[written..]);
    out.push(b'"');
}

fn write_nested(value: &Value, numbers: Numbers, depth: usize, out: &mut Vec<u8>) -> Result<(), CanonicalError> {
    if depth >= MAX_NESTING + usize::from(!on(Clause::Nesting)) && (value.is_array() || value.is_object()) {
        return Err(CanonicalError::TooDeep);
    }
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Number(number) => write_number(number, numbers, out)?,
        Value::String(text) => write_string(text, out),
        Value::Array(items) => {
            out.push(b'[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write_nested(item, numbers, depth + 1, out)?;
            }
            out.push(b']');
        }
        Value::Object(map) => {
            return write_members(map, numbers, depth, out);
        }
    }
    Ok(())
}

fn write_members(
    map: &Map<String, Value>,
    numbers: Numbers,
    depth: usize,
    out: &mut Vec<u8>,
) -> Result<(), CanonicalError> {
    let member = |index: usize, name: &str, value: &Value, out: &mut Vec<u8>| {
        if index > 0 {
            out.push(b',');
        }
        write_string(name, out);
        out.push(b':');
        write_nested(value, numbers, depth + 1, out)
    };
    out.push(b'{');
    // UTF-8 sorts by bytes as Unicode does by code points. serde_json's map is sorted so already, unless another
    // crate of the build makes it keep the order of insertion.
    if map.keys().is_sorted() {
        for (index, (name, value)) in map.iter().enumerate() {
            member(index, name, value, out)?;
        }
    } else {
        let mut members: Vec<_> = map.iter().collect();
        members.sort_unstable_by_key(|(name, _)| *name);
        for (index, (name, value)) in members.into_iter().enumerate() {
            member(index, name, value, out)?;
        }
    }
    out.push(b'}');
    Ok(())
}

fn write_number(number: &Number, numbers: Numbers, out: &mut Vec<u8>) -> Result<(), CanonicalError> {
    let text = number.to_string();
    if numbers == Numbers::Lenient || !on(Clause::Integers) {
        out.extend_from_slice(text.as_bytes());
        return Ok(());
    }
    if number.is_f64() {
        return match number.as_f64() {
            Some(float) if numbers == Numbers::Whole && float.fract() == 0.0 && on(Clause::WholeNumbers) => {
                write_whole(float, &text, out)
            }
            _ => Err(CanonicalError::NotAnInteger { number: shown(&text) }),
        };
    }
    match number.as_i64() {
        Some(integer) if (-MAX_INTEGER..=MAX_INTEGER).contains(&integer) => {
            out.extend_from_slice(text.as_bytes());
            Ok(())
        }
        _ => Err(CanonicalError::OutOfRange { number: shown(&text) }),
    }
}

/// Appends a number with a fraction or an exponent as the integer that its text means, to the last digit: a double would
/// round small fractions away.
pub(super) fn write_whole_text(text: &str, out: &mut Vec<u8>) -> Result<(), CanonicalError> {
    /// How many digits 2^53 - 1 has.
    const MAX_DIGITS: i64 = 16;

    let not_an_integer = || Err(CanonicalError::NotAnInteger { number: shown(text) });
    let out_of_range = || Err(CanonicalError::OutOfRange { number: shown(text) });
    let (decimal, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (sign, decimal) = decimal.strip_prefix('-').map_or(("", decimal), |decimal| ("-", decimal));
    let (whole, fraction) = decimal.split_once('.').unwrap_or((decimal, ""));
    let mut digits = format!("{whole}{fraction}");
    let written = digits.len();
    digits.truncate(digits.trim_end_matches('0').len());
    let significant = digits.trim_start_matches('0');
    if significant.is_empty() {
        out.push(b'0');
        return Ok(());
    }
    let Ok(exponent) = exponent.trim_start_matches('+').parse::<i64>() else {
        return if exponent.starts_with('-') { not_an_integer() } else { out_of_range() };
    };
    // How many zeros follow the significant digits. A text is much shorter than any number that could overflow here.
    let zeros = exponent.saturating_sub(fraction.len() as i64).saturating_add((written - digits.len()) as i64);
    if zeros < 0 {
        return not_an_integer();
    }
    if zeros.saturating_add(significant.len() as i64) > MAX_DIGITS {
        return out_of_range();
    }
    match format!("{significant}{}", "0".repeat(zeros as usize)).parse::<i64>() {
        Ok(integer) if integer <= MAX_INTEGER => {
            out.extend_from_slice(format!("{sign}{integer}").as_bytes());
            Ok(())
        }
        _ => out_of_range(),
    }
}

/// Appends a float without fraction as an integer; `text` is how it was spelt.
fn write_whole(float: f64, text: &str, out: &mut Vec<u8>) -> Result<(), CanonicalError> {
    if float.abs() > MAX_INTEGER as f64 {
        return Err(CanonicalError::OutOfRange { number: shown(text) });
    }
    out.extend_from_slice((float as i64).to_string().as_bytes());
    Ok(())
}
