//! Levels of room versions 1 to 5 that are written with a fraction, with an exponent, or with very many digits
//! ("`m.room.power_levels` events accept values as floats"). They are read from the event's text, for a double would round them.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::power_levels::Level;
use crate::{
    canonical_json::{Document, value_at},
    pdu::Pdu,
    room_version::PowerLevelFormat,
};

/// The maps of levels in the content of `m.room.power_levels`.
pub(super) const MAPS: [&str; 3] = ["events", "notifications", "users"];

/// `value`, which the content of an `m.room.power_levels` event has at this path; where it is a number that is not an integer of
/// 64 bits, in a version that knows such levels, the integer that it counts as, or null if it counts as none.
pub(super) fn exact<'a>(event: &Pdu, value: &'a Value, path: &[&str]) -> Cow<'a, Value> {
    if takes_floats(event) && is_odd(value) {
        let spelling = value_at(event.content_json(), path).and_then(|number| std::str::from_utf8(number).ok());
        Cow::Owned(spelling.map_or(Value::Null, integer))
    } else {
        Cow::Borrowed(value)
    }
}

/// The content of an `m.room.power_levels` event with all its levels as [`exact`] gives them.
pub(super) fn exact_content(event: &Pdu) -> Cow<'_, Map<String, Value>> {
    let content = event.content();
    let mut singles = Level::ALL.into_iter().filter_map(|level| content.get(level.property()));
    let mut entries = MAPS.into_iter().filter_map(|map| content.get(map)?.as_object()).flat_map(Map::values);
    if !takes_floats(event) || !(singles.any(is_odd) || entries.any(is_odd)) {
        return Cow::Borrowed(content);
    }
    let content = Document::parse(event.content_json());
    Cow::Owned(content.map(|content| content.object_with(Document::ROOT, integer)).unwrap_or_default())
}

fn takes_floats(event: &Pdu) -> bool {
    event.version().rules().auth.power_levels == PowerLevelFormat::IntegerStringOrFloat
}

fn is_odd(value: &Value) -> bool {
    value.as_number().is_some_and(|number| number.as_i64().is_none())
}

/// What a number counts as: an integer, or null.
fn integer(number: &str) -> Value {
    truncated(number).map_or(Value::Null, Value::from)
}

/// A JSON number with its exponent applied and cut at the point; the largest or smallest of 64 bits if it is beyond them, `None` if
/// it is beyond the range of a double.
fn truncated(number: &str) -> Option<i64> {
    if number.parse::<f64>().ok()?.is_infinite() {
        return None;
    }
    let (sign, unsigned) = number.strip_prefix('-').map_or((1, number), |unsigned| (-1, unsigned));
    let (mantissa, exponent) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let mut digits = whole.bytes().chain(fraction.bytes()).map(|digit| i64::from(digit - b'0')).peekable();
    // How many digits the integer has. An exponent beyond 64 bits moves the point away from all of them.
    let beyond = if exponent.starts_with('-') { i64::MIN } else { i64::MAX };
    let mut left = exponent.parse().unwrap_or(beyond).saturating_add(whole.len() as i64);
    while left > 0 && digits.next_if_eq(&0).is_some() {
        left -= 1;
    }
    if digits.peek().is_none() {
        return Some(0);
    }
    // What is left begins with a digit other than 0, so that this ends after some twenty digits.
    let mut integer = 0_i64;
    while left > 0 {
        let digit = digits.next().unwrap_or(0);
        match integer.checked_mul(10).and_then(|tens| tens.checked_add(sign * digit)) {
            Some(more) => integer = more,
            None => return Some(if sign < 0 { i64::MIN } else { i64::MAX }),
        }
        left -= 1;
    }
    Some(integer)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use super::*;

    #[test]
    fn numbers_are_cut_as_written() {
        for (number, level) in [
            ("49.999999999999999999", Some(49)),
            ("-49.999999999999999999", Some(-49)),
            ("9007199254740993.9", Some(9_007_199_254_740_993)),
            ("9223372036854775807.9", Some(i64::MAX)),
            ("9223372036854775808", Some(i64::MAX)),
            ("-9223372036854775808.5", Some(i64::MIN)),
            ("-9223372036854775809", Some(i64::MIN)),
            ("0.00050E5", Some(50)),
            ("0.9999999999999999999999e0", Some(0)),
            ("5000e-2", Some(50)),
            ("1e18", Some(1_000_000_000_000_000_000)),
            ("1e19", Some(i64::MAX)),
            ("0e99999999999999999999", Some(0)),
            ("7e-99999999999999999999", Some(0)),
            ("1.7976931348623157e308", Some(i64::MAX)),
            ("1.8e308", None),
            ("-1e99999999999999999999", None),
        ] {
            assert_eq!(truncated(number), level, "{number}");
        }
        let nines = format!("0.{}", "9".repeat(60_000));
        assert_eq!(truncated(&nines), Some(0));
        assert_eq!(truncated(&format!("{nines}e3")), Some(999));
        assert_eq!(truncated(&format!("0.{}5e1001", "0".repeat(1000))), Some(5));
        assert_eq!(truncated(&format!("5{}e-1000", "0".repeat(1000))), Some(5));
    }
}
