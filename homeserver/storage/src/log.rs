//! Reading the log: what was committed, in order.

use std::collections::VecDeque;

use crate::{
    BatchId, Position, Snapshot, StorageError, Topic,
    schema::{LOG, META},
    snapshot::read_position,
};

/// The name under which the last trimmed position is stored.
pub(crate) const TRIMMED: &[u8] = b"trimmed";

/// How many entries are read at a time.
const CHUNK: usize = 256;

/// A committed batch, as the log remembers it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    /// Its position.
    pub position: Position,
    /// Its id.
    pub batch: BatchId,
    /// Its topics.
    pub topics: Vec<Topic>,
}

/// The log after a position, up to the snapshot that it is read from. After a failed read it ends.
pub struct Log {
    snapshot: Snapshot,
    after: Position,
    entries: VecDeque<LogEntry>,
    done: bool,
}

impl Log {
    pub(crate) fn new(snapshot: Snapshot, after: Position) -> Result<Self, StorageError> {
        let trimmed = snapshot.get_with(META, TRIMMED, |value| value.map_or(Ok(0), read_position))??;
        if after < trimmed {
            return Err(StorageError::Trimmed { after, trimmed });
        }
        Ok(Self { snapshot, after, entries: VecDeque::new(), done: false })
    }

    /// The position up to which it reads.
    pub fn end(&self) -> Position {
        self.snapshot.position()
    }

    fn read_chunk(&mut self) -> Result<(), StorageError> {
        let start = (self.after.saturating_add(1)).to_be_bytes();
        let mut rows = self.snapshot.scan::<&[u8]>(LOG, &start..&[]);
        while self.entries.len() < CHUNK
            && let Some(row) = rows.next_with(read_entry)
        {
            self.entries.push_back(row??);
        }
        drop(rows);
        match self.entries.back() {
            Some(last) => self.after = last.position,
            None => self.done = true,
        }
        Ok(())
    }
}

impl Iterator for Log {
    type Item = Result<LogEntry, StorageError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.entries.is_empty()
            && !self.done
            && let Err(error) = self.read_chunk()
        {
            self.done = true;
            self.entries.clear();
            return Some(Err(error));
        }
        self.entries.pop_front().map(Ok)
    }
}

/// Reads a row of the log.
pub(crate) fn read_entry(key: &[u8], value: &[u8]) -> Result<LogEntry, StorageError> {
    let malformed = || StorageError::Malformed("a row of the log is malformed".to_owned());
    let position = read_position(key)?;
    let (batch, topics) = value.split_first_chunk::<16>().ok_or_else(malformed)?;
    let (topics, rest) = topics.as_chunks::<16>();
    if !rest.is_empty() {
        return Err(malformed());
    }
    Ok(LogEntry { position, batch: BatchId(*batch), topics: topics.iter().copied().map(Topic).collect() })
}
