//! What is wrong with the input, and where.

use std::fmt;

/// Why there is no answer: the file, the place in it as line and column or as a path of members, and the reason.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    file: String,
    position: Option<Position>,
    path: Option<String>,
    reason: String,
}

/// A line and a column (in characters), both counted from 1.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Position {
    line: usize,
    column: usize,
}

impl Position {
    /// Where the byte at this offset is. Of text that is not UTF-8 the bytes before it are.
    pub(crate) fn of(text: &[u8], offset: usize) -> Self {
        let before = text.get(..offset).unwrap_or(text);
        let line_start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        let column = String::from_utf8_lossy(before.get(line_start..).unwrap_or_default()).chars().count() + 1;
        Position { line, column }
    }

    /// As serde_json counts.
    pub(crate) fn new(line: usize, column: usize) -> Self {
        Position { line, column }
    }
}

impl Failure {
    /// About a file as a whole.
    pub(crate) fn of_file(file: &str, reason: impl fmt::Display) -> Self {
        let file = if file == "-" { "standard input" } else { file };
        Failure { file: file.to_owned(), position: None, path: None, reason: reason.to_string() }
    }

    pub(crate) fn at(mut self, position: Position) -> Self {
        self.position = Some(position);
        self
    }

    pub(crate) fn within(mut self, path: impl Into<String>) -> Self {
        self.path = Some(path.into());
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(Position { line, column }) = self.position {
            write!(f, ":{line}:{column}")?;
        }
        if let Some(path) = &self.path {
            write!(f, ": {path}")?;
        }
        write!(f, ": {}", self.reason)
    }
}
