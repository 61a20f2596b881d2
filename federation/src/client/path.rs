//! Paths and queries, encoded once and signed as they are sent.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// Everything but the unreserved characters of RFC 3986.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Builds a request target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    text: String,
    has_query: bool,
}

impl Path {
    /// Starts with this, as it is.
    pub fn new(start: &str) -> Self {
        Self { text: start.to_owned(), has_query: false }
    }

    /// Adds one segment, encoded.
    #[must_use]
    pub fn segment(mut self, segment: &str) -> Self {
        self.text.push('/');
        self.text.extend(utf8_percent_encode(segment, ENCODED));
        self
    }

    /// Adds a query parameter, encoded.
    #[must_use]
    pub fn query(mut self, name: &str, value: &str) -> Self {
        self.text.push(if self.has_query { '&' } else { '?' });
        self.has_query = true;
        self.text.push_str(name);
        self.text.push('=');
        self.text.extend(utf8_percent_encode(value, ENCODED));
        self
    }

    /// Adds a parameter once for each value.
    #[must_use]
    pub fn queries<'a>(self, name: &str, values: impl IntoIterator<Item = &'a str>) -> Self {
        values.into_iter().fold(self, |path, value| path.query(name, value))
    }

    /// Adds a query parameter if there is a value.
    #[must_use]
    pub fn maybe_query(self, name: &str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.query(name, value),
            None => self,
        }
    }

    /// The request target.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::Path;

    #[test]
    fn ids_are_encoded() {
        let path = Path::new("/v1/make_join")
            .segment("!a/b:x.org")
            .segment("@ü:x")
            .queries("ver", ["1", "a&b"])
            .query("x", "$+");
        assert_eq!(path.as_str(), "/v1/make_join/%21a%2Fb%3Ax.org/%40%C3%BC%3Ax?ver=1&ver=a%26b&x=%24%2B");
    }
}
