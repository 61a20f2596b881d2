//! A JSON text read into a flat list of nodes that point into it.
//!
//! Numbers and plain strings are never copied or converted: their canonical form is a slice of the text. This is what keeps
//! odd numbers as they came, and what makes reading an event cheap.

use std::borrow::Cow;

use serde_json::{Map, Number, Value};

use super::{CanonicalError, MAX_INTEGER, MAX_NESTING, Numbers, decode_string, shown, write_string};
use crate::switches::{Clause, on};

/// What a node is. Strings and objects say whether their text can be copied as it is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Null,
    True,
    False,
    /// A number without fraction and exponent.
    Integer,
    /// A number with one of them.
    Float,
    /// A string without a backslash.
    Plain,
    /// A string with one.
    Escaped,
    Array,
    /// An object whose members are plain and in ascending order.
    Sorted,
    /// Any other object.
    Unsorted,
}

/// One value or member name. An object's children are its names and values alternately.
struct Node {
    kind: Kind,
    /// Where the text of a string (with its quotes) or number begins and ends.
    start: u32,
    end: u32,
    /// The index of the node after this one and all its children.
    next: u32,
}

/// JSON text and its nodes.
pub(crate) struct Document<'a> {
    text: &'a str,
    nodes: Vec<Node>,
}

/// The longest text that is read, so that offsets fit 32 bits.
const MAX_TEXT_BYTES: usize = 1 << 30;

impl<'a> Document<'a> {
    /// The outermost value.
    pub(crate) const ROOT: usize = 0;

    /// Reads a text that holds one JSON value.
    pub(crate) fn parse(json: &'a [u8]) -> Result<Self, CanonicalError> {
        Self::parse_within(json, MAX_NESTING)
    }

    /// Reads a text that holds one JSON value, nested at most so deeply.
    pub(crate) fn parse_within(json: &'a [u8], max_nesting: usize) -> Result<Self, CanonicalError> {
        if json.len() > MAX_TEXT_BYTES {
            return Err(CanonicalError::TooLong { max: MAX_TEXT_BYTES });
        }
        let text = std::str::from_utf8(json).map_err(|error| CanonicalError::NotUtf8 { at: error.valid_up_to() })?;
        let nodes = Vec::with_capacity(16 + json.len() / 16);
        let mut reader = Reader { bytes: json, at: 0, nodes, max_nesting };
        reader.value(0)?;
        reader.skip_whitespace();
        if reader.at != json.len() {
            return Err(reader.expected("the end of the text"));
        }
        Ok(Self { text, nodes: reader.nodes })
    }

    /// Whether this value is an object.
    pub(crate) fn is_object(&self, node: usize) -> bool {
        matches!(self.nodes[node].kind, Kind::Sorted | Kind::Unsorted)
    }

    /// Writes the canonical form of a value.
    pub(crate) fn write(&self, node: usize, numbers: Numbers, out: &mut Vec<u8>) -> Result<(), CanonicalError> {
        match self.nodes[node].kind {
            Kind::Null => out.extend_from_slice(b"null"),
            Kind::True => out.extend_from_slice(b"true"),
            Kind::False => out.extend_from_slice(b"false"),
            Kind::Integer | Kind::Float => self.write_number(node, numbers, out)?,
            Kind::Plain => out.extend_from_slice(self.slice(node).as_bytes()),
            Kind::Escaped => write_string(&decode_string(self.slice(node)), out),
            Kind::Array => {
                out.push(b'[');
                let (mut child, end) = self.children(node);
                let first = child;
                while child < end {
                    if child != first {
                        out.push(b',');
                    }
                    self.write(child, numbers, out)?;
                    child = self.after(child);
                }
                out.push(b']');
            }
            Kind::Sorted | Kind::Unsorted => {
                self.write_object(node, None, numbers, out)?;
            }
        }
        Ok(())
    }

    /// Writes the canonical form of an object without the member `except`, and returns that member's value.
    pub(crate) fn write_object(
        &self,
        node: usize,
        except: Option<&str>,
        numbers: Numbers,
        out: &mut Vec<u8>,
    ) -> Result<Option<usize>, CanonicalError> {
        let mut excepted = None;
        let mut is_first = true;
        let mut member = |name: usize, key: &str, out: &mut Vec<u8>| {
            if except == Some(key) {
                excepted = Some(name + 1);
                return Ok(());
            }
            if !is_first {
                out.push(b',');
            }
            is_first = false;
            self.write(name, numbers, out)?;
            out.push(b':');
            self.write(name + 1, numbers, out)
        };
        out.push(b'{');
        if self.nodes[node].kind == Kind::Sorted {
            let (mut name, end) = self.children(node);
            while name < end {
                member(name, plain(self.slice(name)), out)?;
                name = self.after(name + 1);
            }
        } else {
            let members = self.members(node);
            for (index, (key, name)) in members.iter().enumerate() {
                // The sort is stable, so the last of several members of one name is the one that was written last.
                let other = if on(Clause::LastMember) { index.checked_add(1) } else { index.checked_sub(1) };
                if other.and_then(|other| members.get(other)).is_some_and(|(other, _)| other == key) {
                    continue;
                }
                member(*name, key, out)?;
            }
        }
        out.push(b'}');
        Ok(excepted)
    }

    /// An object as serde_json has it; empty if the value is not an object. A number beyond the range of a double becomes the
    /// double nearest to it.
    pub(crate) fn object(&self, node: usize) -> Map<String, Value> {
        self.object_with(node, |text| Value::Number(number(text)))
    }

    /// An object as serde_json has it, but for its numbers, which become what `number` makes of their text; empty if the value is
    /// not an object.
    pub(crate) fn object_with(&self, node: usize, number: impl Fn(&str) -> Value + Copy) -> Map<String, Value> {
        if !self.is_object(node) {
            return Map::new();
        }
        let (mut name, end) = self.children(node);
        let mut map = Map::new();
        while name < end {
            map.insert(decode_string(self.slice(name)).into_owned(), self.value_with(name + 1, number));
            name = self.after(name + 1);
        }
        map
    }

    fn value_with(&self, node: usize, number: impl Fn(&str) -> Value + Copy) -> Value {
        match self.nodes[node].kind {
            Kind::Null => Value::Null,
            Kind::True => Value::Bool(true),
            Kind::False => Value::Bool(false),
            Kind::Integer | Kind::Float => number(self.slice(node)),
            Kind::Plain | Kind::Escaped => Value::String(decode_string(self.slice(node)).into_owned()),
            Kind::Array => {
                let mut items = Vec::new();
                let (mut child, end) = self.children(node);
                while child < end {
                    items.push(self.value_with(child, number));
                    child = self.after(child);
                }
                Value::Array(items)
            }
            Kind::Sorted | Kind::Unsorted => Value::Object(self.object_with(node, number)),
        }
    }

    /// An object's members, sorted by name, members of equal names in the order in which they came.
    fn members(&self, node: usize) -> Vec<(Cow<'a, str>, usize)> {
        let (mut name, end) = self.children(node);
        let mut members = Vec::with_capacity(16);
        while name < end {
            members.push((decode_string(self.slice(name)), name));
            name = self.after(name + 1);
        }
        if on(Clause::MemberOrder) {
            members.sort_by(|(a, _), (b, _)| a.cmp(b));
        }
        members
    }

    fn write_number(&self, node: usize, numbers: Numbers, out: &mut Vec<u8>) -> Result<(), CanonicalError> {
        let text = self.slice(node);
        if numbers == Numbers::Lenient || !on(Clause::Integers) {
            out.extend_from_slice(text.as_bytes());
            return Ok(());
        }
        if self.nodes[node].kind == Kind::Integer {
            return match text.parse::<i64>() {
                Ok(0) if on(Clause::NegativeZero) => {
                    out.push(b'0');
                    Ok(())
                }
                Ok(integer) if (-MAX_INTEGER..=MAX_INTEGER).contains(&integer) => {
                    out.extend_from_slice(text.as_bytes());
                    Ok(())
                }
                _ => Err(CanonicalError::OutOfRange { number: shown(text) }),
            };
        }
        if numbers == Numbers::Whole && on(Clause::WholeNumbers) {
            return super::write::write_whole_text(text, out);
        }
        Err(CanonicalError::NotAnInteger { number: shown(text) })
    }

    fn slice(&self, node: usize) -> &'a str {
        let Node { start, end, .. } = self.nodes[node];
        &self.text[start as usize..end as usize]
    }

    fn children(&self, node: usize) -> (usize, usize) {
        (node + 1, self.nodes[node].next as usize)
    }

    fn after(&self, node: usize) -> usize {
        self.nodes[node].next as usize
    }
}

/// The contents of a string without escapes, from its text with quotes.
fn plain(quoted: &str) -> &str {
    quoted.get(1..quoted.len() - 1).unwrap_or_default()
}

fn number(text: &str) -> Number {
    if let Ok(integer) = text.parse::<i64>() {
        return integer.into();
    }
    if let Ok(integer) = text.parse::<u64>() {
        return integer.into();
    }
    let float = text.parse::<f64>().unwrap_or_default().clamp(f64::MIN, f64::MAX);
    Number::from_f64(float).unwrap_or_else(|| 0.into())
}

/// Reads values one after the other.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    nodes: Vec<Node>,
    max_nesting: usize,
}

impl Reader<'_> {
    fn value(&mut self, depth: usize) -> Result<(), CanonicalError> {
        self.skip_whitespace();
        match self.bytes.get(self.at) {
            Some(b'"') => self.string(),
            Some(b'{') => self.object(depth),
            Some(b'[') => self.array(depth),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b'n') => self.word(b"null", Kind::Null),
            Some(b't') => self.word(b"true", Kind::True),
            Some(b'f') => self.word(b"false", Kind::False),
            _ => Err(self.expected("a value")),
        }
    }

    fn object(&mut self, depth: usize) -> Result<(), CanonicalError> {
        let node = self.open(Kind::Sorted, depth)?;
        let mut previous: Option<usize> = None;
        self.skip_whitespace();
        if self.take(b'}') {
            self.close(node);
            return Ok(());
        }
        loop {
            self.skip_whitespace();
            if self.bytes.get(self.at) != Some(&b'"') {
                return Err(self.expected("a member's name in quotes"));
            }
            let name = self.nodes.len();
            self.string()?;
            let is_in_order = self.nodes[name].kind == Kind::Plain
                && previous.is_none_or(|previous| self.contents(previous) < self.contents(name));
            if !is_in_order {
                self.nodes[node].kind = Kind::Unsorted;
            }
            previous = Some(name);
            self.skip_whitespace();
            if !self.take(b':') {
                return Err(self.expected("a colon"));
            }
            self.value(depth + 1)?;
            self.skip_whitespace();
            if self.take(b'}') {
                self.close(node);
                return Ok(());
            }
            if !self.take(b',') {
                return Err(self.expected("a comma or a closing brace"));
            }
        }
    }

    fn array(&mut self, depth: usize) -> Result<(), CanonicalError> {
        let node = self.open(Kind::Array, depth)?;
        self.skip_whitespace();
        if self.take(b']') {
            self.close(node);
            return Ok(());
        }
        loop {
            self.value(depth + 1)?;
            self.skip_whitespace();
            if self.take(b']') {
                self.close(node);
                return Ok(());
            }
            if !self.take(b',') {
                return Err(self.expected("a comma or a closing bracket"));
            }
        }
    }

    fn open(&mut self, kind: Kind, depth: usize) -> Result<usize, CanonicalError> {
        if depth >= self.max_nesting + usize::from(!on(Clause::Nesting)) {
            return Err(CanonicalError::TooDeep);
        }
        self.at += 1;
        self.nodes.push(Node { kind, start: 0, end: 0, next: 0 });
        Ok(self.nodes.len() - 1)
    }

    fn close(&mut self, node: usize) {
        self.nodes[node].next = self.nodes.len() as u32;
    }

    fn leaf(&mut self, kind: Kind, start: usize) {
        let next = self.nodes.len() as u32 + 1;
        self.nodes.push(Node { kind, start: start as u32, end: self.at as u32, next });
    }

    fn word(&mut self, word: &'static [u8], kind: Kind) -> Result<(), CanonicalError> {
        if !self.bytes[self.at..].starts_with(word) {
            return Err(self.expected("a value"));
        }
        let start = self.at;
        self.at += word.len();
        self.leaf(kind, start);
        Ok(())
    }

    fn string(&mut self) -> Result<(), CanonicalError> {
        let start = self.at;
        let mut kind = Kind::Plain;
        self.at += 1;
        loop {
            let rest = self.bytes.get(self.at..).unwrap_or_default();
            self.at += rest.iter().position(|&byte| ENDS_PLAIN[usize::from(byte)]).unwrap_or(rest.len());
            match self.bytes.get(self.at) {
                Some(b'"') => {
                    self.at += 1;
                    self.leaf(kind, start);
                    return Ok(());
                }
                Some(b'\\') => {
                    kind = Kind::Escaped;
                    self.escape()?;
                }
                Some(_) => return Err(self.expected("a control character to be escaped")),
                None => return Err(self.expected("a closing quotation mark")),
            }
        }
    }

    fn escape(&mut self) -> Result<(), CanonicalError> {
        self.at += 1;
        match self.bytes.get(self.at) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                self.at += 1;
                Ok(())
            }
            Some(b'u') => {
                self.at += 1;
                match self.four_digits()? {
                    0xD800..=0xDBFF => {
                        let is_pair =
                            self.take(b'\\') && self.take(b'u') && matches!(self.four_digits()?, 0xDC00..=0xDFFF);
                        if is_pair { Ok(()) } else { Err(self.expected("the second half of a surrogate pair")) }
                    }
                    0xDC00..=0xDFFF => Err(self.expected("the first half of a surrogate pair")),
                    _ => Ok(()),
                }
            }
            _ => Err(self.expected("an escape sequence")),
        }
    }

    fn four_digits(&mut self) -> Result<u32, CanonicalError> {
        let mut code = 0;
        for _ in 0..4 {
            let digit = self.bytes.get(self.at).and_then(|&byte| char::from(byte).to_digit(16));
            let Some(digit) = digit else {
                return Err(self.expected("four hexadecimal digits"));
            };
            code = code * 16 + digit;
            self.at += 1;
        }
        Ok(code)
    }

    fn number(&mut self) -> Result<(), CanonicalError> {
        let start = self.at;
        let mut kind = Kind::Integer;
        self.take(b'-');
        if !self.take(b'0') {
            self.digits()?;
        }
        if self.take(b'.') {
            kind = Kind::Float;
            self.digits()?;
        }
        if self.take(b'e') || self.take(b'E') {
            kind = Kind::Float;
            let _ = self.take(b'+') || self.take(b'-');
            self.digits()?;
        }
        self.leaf(kind, start);
        Ok(())
    }

    fn digits(&mut self) -> Result<(), CanonicalError> {
        let start = self.at;
        while self.bytes.get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
        if self.at == start { Err(self.expected("a digit")) } else { Ok(()) }
    }

    fn take(&mut self, byte: u8) -> bool {
        let is_next = self.bytes.get(self.at) == Some(&byte);
        self.at += usize::from(is_next);
        is_next
    }

    fn skip_whitespace(&mut self) {
        while matches!(self.bytes.get(self.at), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.at += 1;
        }
    }

    fn contents(&self, node: usize) -> &[u8] {
        let Node { start, end, .. } = self.nodes[node];
        &self.bytes[start as usize + 1..end as usize - 1]
    }

    fn expected(&self, expected: &'static str) -> CanonicalError {
        CanonicalError::Syntax { expected, at: self.at }
    }
}

/// Bytes that end a run of characters which a string may hold as they are.
static ENDS_PLAIN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 0x20 {
        table[byte] = true;
        byte += 1;
    }
    table[b'"' as usize] = true;
    table[b'\\' as usize] = true;
    table
};
