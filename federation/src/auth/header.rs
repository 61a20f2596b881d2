//! The `Authorization: X-Matrix` header: its grammar both ways.

use std::fmt;

/// The authentication scheme.
pub const SCHEME: &str = "X-Matrix";

/// What an `X-Matrix` header says. Nothing of it is verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct XMatrix {
    /// The server that says it sent the request.
    pub origin: String,
    /// The server that the request is for; servers older than version 1.3 of the specification leave it out.
    pub destination: Option<String>,
    /// Id of the key, with its algorithm: `ed25519:…`.
    pub key: String,
    /// The signature, in unpadded base64.
    pub signature: String,
}

/// Why a header is not an `X-Matrix` header.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// It is of another scheme.
    #[error("the scheme is not X-Matrix")]
    OtherScheme,
    /// It does not follow the grammar.
    #[error("it does not follow the grammar at byte {0}")]
    Grammar(usize),
    /// A parameter is there twice.
    #[error("the parameter `{0}` is there twice")]
    Twice(&'static str),
    /// A parameter is not there.
    #[error("the parameter `{0}` is missing")]
    Missing(&'static str),
}

impl XMatrix {
    /// Reads a header's value. Names are case insensitive, order does not matter, unknown parameters are ignored; values may be quoted,
    /// and unquoted ones may contain colons, as older servers send them.
    ///
    /// # Errors
    ///
    /// [`HeaderError`] if it is something else.
    pub fn parse(value: &str) -> Result<Self, HeaderError> {
        let mut reader = Reader { text: value.as_bytes(), at: 0 };
        if !reader.token().is_some_and(|scheme| scheme.eq_ignore_ascii_case(SCHEME.as_bytes())) {
            return Err(HeaderError::OtherScheme);
        }
        if reader.peek() != Some(b' ') {
            return Err(HeaderError::Grammar(reader.at));
        }
        let (mut origin, mut destination, mut key, mut sig, mut signature) = (None, None, None, None, None);
        loop {
            // RFC 9110, section 5.6.1: a list may have empty elements.
            reader.skip_blanks();
            while reader.take(b',') {
                reader.skip_blanks();
            }
            if reader.peek().is_none() {
                break;
            }
            let (name, value) = reader.parameter()?;
            let (slot, name) = match name.as_str() {
                "origin" => (&mut origin, "origin"),
                "destination" => (&mut destination, "destination"),
                "key" => (&mut key, "key"),
                "sig" => (&mut sig, "sig"),
                // The specification's list of parameters has this name, its example the short one, which everyone sends.
                "signature" => (&mut signature, "signature"),
                _ => {
                    reader.end_of_parameter()?;
                    continue;
                }
            };
            if slot.replace(value).is_some() {
                return Err(HeaderError::Twice(name));
            }
            reader.end_of_parameter()?;
        }
        Ok(Self {
            origin: origin.ok_or(HeaderError::Missing("origin"))?,
            destination,
            key: key.ok_or(HeaderError::Missing("key"))?,
            signature: sig.or(signature).ok_or(HeaderError::Missing("sig"))?,
        })
    }
}

/// As it is sent: one space, lower-case names, quoted values, no blanks around commas, for the sake of older servers.
impl fmt::Display for XMatrix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME} origin={}", Quoted(&self.origin))?;
        if let Some(destination) = &self.destination {
            write!(f, ",destination={}", Quoted(destination))?;
        }
        write!(f, ",key={},sig={}", Quoted(&self.key), Quoted(&self.signature))
    }
}

struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"")?;
        for character in self.0.chars() {
            if matches!(character, '"' | '\\') {
                f.write_str("\\")?;
            }
            write!(f, "{character}")?;
        }
        f.write_str("\"")
    }
}

struct Reader<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> bool {
        let there = self.peek() == Some(byte);
        self.at += usize::from(there);
        there
    }

    fn skip_blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t')) {
            self.at += 1;
        }
    }

    fn run(&mut self, belongs: impl Fn(u8) -> bool) -> Option<&'a [u8]> {
        let start = self.at;
        while self.peek().is_some_and(&belongs) {
            self.at += 1;
        }
        (self.at > start).then(|| &self.text[start..self.at])
    }

    fn token(&mut self) -> Option<&'a [u8]> {
        self.run(is_token_byte)
    }

    /// `name = value`; the name in lower case.
    fn parameter(&mut self) -> Result<(String, String), HeaderError> {
        let name = self.token().ok_or(HeaderError::Grammar(self.at))?.to_ascii_lowercase();
        self.skip_blanks();
        if !self.take(b'=') {
            return Err(HeaderError::Grammar(self.at));
        }
        self.skip_blanks();
        let start = self.at;
        let value = if self.take(b'"') {
            self.quoted()?
        } else {
            self.run(|byte| is_token_byte(byte) || byte == b':').ok_or(HeaderError::Grammar(self.at))?.to_vec()
        };
        let value = String::from_utf8(value).map_err(|_| HeaderError::Grammar(start))?;
        // Tokens are ASCII.
        let name = String::from_utf8(name).map_err(|_| HeaderError::Grammar(start))?;
        Ok((name, value))
    }

    /// The rest of a quoted string, unescaped.
    fn quoted(&mut self) -> Result<Vec<u8>, HeaderError> {
        let mut value = Vec::new();
        loop {
            match self.peek() {
                None => return Err(HeaderError::Grammar(self.at)),
                Some(b'"') => {
                    self.at += 1;
                    return Ok(value);
                }
                Some(b'\\') => {
                    self.at += 1;
                    value.push(self.peek().ok_or(HeaderError::Grammar(self.at))?);
                    self.at += 1;
                }
                Some(byte) => {
                    value.push(byte);
                    self.at += 1;
                }
            }
        }
    }

    /// After a parameter come blanks, then a comma or the end.
    fn end_of_parameter(&mut self) -> Result<(), HeaderError> {
        self.skip_blanks();
        match self.peek() {
            None | Some(b',') => Ok(()),
            Some(_) => Err(HeaderError::Grammar(self.at)),
        }
    }
}

/// RFC 9110, section 5.6.2.
fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn header(destination: Option<&str>) -> XMatrix {
        XMatrix {
            origin: "origin.hs.example.com".into(),
            destination: destination.map(Into::into),
            key: "ed25519:key1".into(),
            signature: "ABCDEF+/".into(),
        }
    }

    #[test]
    fn what_is_sent_is_what_the_specification_shows() {
        let sent = header(Some("destination.hs.example.com")).to_string();
        assert_eq!(
            sent,
            r#"X-Matrix origin="origin.hs.example.com",destination="destination.hs.example.com",key="ed25519:key1",sig="ABCDEF+/""#
        );
        assert_eq!(XMatrix::parse(&sent).unwrap(), header(Some("destination.hs.example.com")));
    }

    #[test]
    fn every_form_of_the_grammar_is_read() {
        for text in [
            r#"X-Matrix origin="origin.hs.example.com",key="ed25519:key1",sig="ABCDEF+/""#,
            r#"x-matrix origin=origin.hs.example.com,key=ed25519:key1,sig="ABCDEF+/""#,
            r#"X-Matrix   KEY="ed25519:key1" ,	Sig="ABCDEF+/" , Origin="origin.hs.example.com""#,
            r#"X-Matrix origin="origin.hs.example.com",key="ed25519:key1",sig="ABCDEF+/",other=thing,third="a,b=\"c\"""#,
            r#"X-Matrix origin="origin\.hs.example.com",key="ed\25519:key1",sig="ABCDEF+\/""#,
            r#"X-Matrix , origin = "origin.hs.example.com",, key="ed25519:key1",signature="ABCDEF+/", "#,
        ] {
            assert_eq!(XMatrix::parse(text), Ok(header(None)), "{text}");
        }
    }

    #[test]
    fn quoting_round_trips_what_needs_escapes() {
        let odd = XMatrix { origin: "a\"b\\c".into(), ..header(Some("[::1]:8448")) };
        assert_eq!(XMatrix::parse(&odd.to_string()).unwrap(), odd);
    }

    #[test]
    fn other_things_are_refused() {
        use HeaderError::{Grammar, Missing, OtherScheme, Twice};
        for (text, error) in [
            ("", OtherScheme),
            ("Bearer abc", OtherScheme),
            ("X-Matrix", Grammar(8)),
            ("X-Matrixorigin=a", OtherScheme),
            ("X-Matrix\torigin=a", Grammar(8)),
            ("X-Matrix origin", Grammar(15)),
            ("X-Matrix origin=", Grammar(16)),
            ("X-Matrix origin=\"a", Grammar(18)),
            ("X-Matrix origin=\"a\\", Grammar(19)),
            ("X-Matrix origin=\"a\"key=b", Grammar(19)),
            ("X-Matrix origin=a b", Grammar(18)),
            ("X-Matrix =a", Grammar(9)),
            ("X-Matrix origin=a,origin=b,key=c,sig=d", Twice("origin")),
            ("X-Matrix key=c,sig=d", Missing("origin")),
            ("X-Matrix origin=a,sig=d", Missing("key")),
            ("X-Matrix origin=a,key=d", Missing("sig")),
            ("X-Matrix origin=a,key=d,sig=a/b", Grammar(29)),
        ] {
            assert_eq!(XMatrix::parse(text), Err(error), "{text}");
        }
    }
}
