//! Walking over text that is known to be canonical JSON, without reading it into values.
//!
//! Only for text that this crate wrote. On other text the walk ends early or gives odd slices, but never panics.

use std::borrow::Cow;

use super::write_string;

/// The members of a canonical object: each name as written, without its quotes, and the range of its value.
pub(crate) struct Members<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// One member of an object.
pub(crate) struct Member<'a> {
    /// The name as written, without its quotes; escapes are left as they are.
    pub(crate) name: &'a [u8],
    /// Where the member begins, with its name's quotation mark.
    pub(crate) start: usize,
    /// Where the value begins.
    pub(crate) value_start: usize,
    /// Where value and member end.
    pub(crate) end: usize,
    /// The value.
    pub(crate) value: &'a [u8],
}

impl<'a> Members<'a> {
    /// The members of the object that `bytes` begin with; offsets are counted from there.
    pub(crate) fn of(bytes: &'a [u8]) -> Self {
        let at = if bytes.first() == Some(&b'{') { 1 } else { bytes.len() };
        Self { bytes, at }
    }
}

impl<'a> Iterator for Members<'a> {
    type Item = Member<'a>;

    fn next(&mut self) -> Option<Member<'a>> {
        if self.bytes.get(self.at) == Some(&b',') {
            self.at += 1;
        }
        if self.bytes.get(self.at) != Some(&b'"') {
            return None;
        }
        let start = self.at;
        let name_end = end_of_value(self.bytes, start);
        let value_start = name_end + 1;
        let end = end_of_value(self.bytes, value_start);
        self.at = end;
        Some(Member {
            name: self.bytes.get(start + 1..name_end - 1)?,
            start,
            value_start,
            end,
            value: self.bytes.get(value_start..end)?,
        })
    }
}

/// The value at this path of names in a canonical object, as it stands there.
pub(crate) fn value_at<'a>(mut json: &'a [u8], path: &[&str]) -> Option<&'a [u8]> {
    for name in path {
        let mut quoted = Vec::with_capacity(name.len() + 2);
        write_string(name, &mut quoted);
        let name = quoted.get(1..quoted.len() - 1)?;
        json = Members::of(json).find(|member| member.name == name)?.value;
    }
    Some(json)
}

/// The elements of a canonical array.
pub(crate) struct Elements<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Elements<'a> {
    /// The elements of the array that `bytes` begin with.
    pub(crate) fn of(bytes: &'a [u8]) -> Self {
        let at = if bytes.first() == Some(&b'[') { 1 } else { bytes.len() };
        Self { bytes, at }
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.bytes.get(self.at) == Some(&b',') {
            self.at += 1;
        }
        let start = self.at;
        if matches!(self.bytes.get(start), None | Some(b']')) {
            return None;
        }
        self.at = end_of_value(self.bytes, start);
        self.bytes.get(start..self.at)
    }
}

/// Whether this value is an object.
pub(crate) fn is_object(value: &[u8]) -> bool {
    value.first() == Some(&b'{')
}

/// Whether this value is an array.
pub(crate) fn is_array(value: &[u8]) -> bool {
    value.first() == Some(&b'[')
}

/// Whether this value is a string.
pub(crate) fn is_string(value: &[u8]) -> bool {
    value.first() == Some(&b'"')
}

/// What a string means, from its text with quotes. The text must be a JSON string; half a surrogate pair is left out.
pub(crate) fn decode_string(quoted: &str) -> Cow<'_, str> {
    let inner = quoted.get(1..quoted.len().saturating_sub(1)).unwrap_or_default();
    let Some(first) = inner.find('\\') else {
        return Cow::Borrowed(inner);
    };
    let mut text = String::with_capacity(inner.len());
    text.push_str(&inner[..first]);
    let mut rest = &inner[first..];
    while let Some(escape) = rest.strip_prefix('\\') {
        let mut chars = escape.chars();
        match chars.next() {
            Some('b') => text.push('\u{8}'),
            Some('f') => text.push('\u{c}'),
            Some('n') => text.push('\n'),
            Some('r') => text.push('\r'),
            Some('t') => text.push('\t'),
            Some('u') => {
                let mut code = hexadecimal(&mut chars);
                if (0xD800..0xDC00).contains(&code) && chars.as_str().starts_with("\\u") {
                    chars.next();
                    chars.next();
                    let low = hexadecimal(&mut chars);
                    code = 0x10000 + ((code - 0xD800) << 10) + (low.wrapping_sub(0xDC00) & 0x3FF);
                }
                text.extend(char::from_u32(code));
            }
            Some(other) => text.push(other),
            None => {}
        }
        rest = chars.as_str();
        let plain = rest.find('\\').unwrap_or(rest.len());
        text.push_str(&rest[..plain]);
        rest = &rest[plain..];
    }
    Cow::Owned(text)
}

fn hexadecimal(chars: &mut std::str::Chars<'_>) -> u32 {
    (0..4).fold(0, |code, _| code * 16 + chars.next().and_then(|c| c.to_digit(16)).unwrap_or(0))
}

/// Where the value that begins at `at` ends.
fn end_of_value(bytes: &[u8], mut at: usize) -> usize {
    match bytes.get(at) {
        Some(b'"') => end_of_string(bytes, at),
        Some(b'{' | b'[') => {
            let mut depth = 0_usize;
            while let Some(&byte) = bytes.get(at) {
                match byte {
                    b'"' => {
                        at = end_of_string(bytes, at);
                        continue;
                    }
                    b'{' | b'[' => depth += 1,
                    b'}' | b']' => {
                        depth -= 1;
                        if depth == 0 {
                            return at + 1;
                        }
                    }
                    _ => {}
                }
                at += 1;
            }
            at
        }
        _ => {
            while !matches!(bytes.get(at), None | Some(b',' | b'}' | b']')) {
                at += 1;
            }
            at
        }
    }
}

fn end_of_string(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    loop {
        match bytes.get(at) {
            None => return bytes.len(),
            Some(b'"') => return at + 1,
            Some(b'\\') => at += 2,
            Some(_) => at += 1,
        }
    }
}
