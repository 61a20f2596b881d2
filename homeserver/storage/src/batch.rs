//! Batches: the writes that are applied together or not at all, as data.

use bytes::Bytes;
use net::World;
use smallvec::SmallVec;

use crate::{
    Position, StorageError, Table, Topic,
    encoding::{self, OpKind},
    limits,
    schema::CURSORS,
    topic::digest,
};

/// The name of a batch, chosen by its writer. A retry under the same id answers what the first try answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BatchId(pub [u8; 16]);

impl BatchId {
    /// An id that follows from what the batch is about, so that a retry after a crash finds it again.
    pub fn of(kind: &str, bytes: &[u8]) -> Self {
        Self(digest(&[b"batch", kind.as_bytes(), bytes]))
    }

    /// A random id.
    pub fn random(world: &World) -> Self {
        Self(world.random_bytes())
    }
}

/// How durable a batch is when its commit is answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Class {
    /// On disk: survives loss of power.
    #[default]
    Synced,
    /// In the log, perhaps not yet on disk: survives the end of the process, but not a loss of power at once. It waits for no
    /// sync of its own (one of batches ahead of it may be under way); the log is synced soon after.
    Logged,
}

/// A digest of a value, by which a precondition names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Version(pub [u8; 16]);

impl Version {
    /// The version of a value: 128 bits of its SHA-256.
    pub fn of(value: &[u8]) -> Self {
        Self(digest(&[value]))
    }
}

/// What became of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Outcome {
    /// Applied, at this position.
    Committed(Position),
    /// Not applied: a precondition did not hold. Read again and make a new batch, with a new id.
    Conflict(ConflictAt),
    /// Not known to be applied; a retry with the same id, once the store works again, is safe. Refusals
    /// ([`StorageError::certainly_not_applied`]) come here too.
    Unknown(StorageError),
}

impl Outcome {
    /// The position, if committed.
    pub fn position(&self) -> Option<Position> {
        match self {
            Self::Committed(position) => Some(*position),
            Self::Conflict(_) | Self::Unknown(_) => None,
        }
    }
}

/// The precondition that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConflictAt {
    /// Its table.
    pub table: Table,
    /// Its key.
    pub key: Bytes,
}

/// A key some of whose bytes the store fills with the position; see [`crate::key::Writer::position_slot`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PositionedKey {
    pub(crate) bytes: Vec<u8>,
    pub(crate) slots: SmallVec<[u32; 2]>,
}

impl From<Vec<u8>> for PositionedKey {
    /// A key without a slot (for a value that has one).
    fn from(bytes: Vec<u8>) -> Self {
        Self { bytes, slots: SmallVec::new() }
    }
}

impl From<&[u8]> for PositionedKey {
    /// A key without a slot (for a value that has one).
    fn from(bytes: &[u8]) -> Self {
        bytes.to_vec().into()
    }
}

/// A value some of whose bytes the store fills with the position (8 bytes, big-endian).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PositionedValue {
    bytes: Vec<u8>,
    slots: SmallVec<[u32; 2]>,
}

impl PositionedValue {
    /// A value whose 8 bytes from `offset` on are to be filled; what they hold is overwritten. A slot that does not lie within
    /// the value makes the batch invalid.
    pub fn with_slot(bytes: Vec<u8>, offset: usize) -> Self {
        Self { bytes, slots: SmallVec::from_slice(&[u32::try_from(offset).unwrap_or(u32::MAX)]) }
    }

    /// Marks one more slot.
    pub fn and_slot(mut self, offset: usize) -> Self {
        self.slots.push(u32::try_from(offset).unwrap_or(u32::MAX));
        self
    }
}

impl From<Vec<u8>> for PositionedValue {
    fn from(bytes: Vec<u8>) -> Self {
        Self { bytes, slots: SmallVec::new() }
    }
}

impl From<&[u8]> for PositionedValue {
    fn from(bytes: &[u8]) -> Self {
        bytes.to_vec().into()
    }
}

impl<const N: usize> From<&[u8; N]> for PositionedValue {
    fn from(bytes: &[u8; N]) -> Self {
        bytes.to_vec().into()
    }
}

impl From<PositionedKey> for PositionedValue {
    /// What [`crate::key::Writer`] built, as a value.
    fn from(PositionedKey { bytes, slots }: PositionedKey) -> Self {
        Self { bytes, slots }
    }
}

/// A precondition made elsewhere, such as a lease's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Precondition {
    pub(crate) table: Table,
    pub(crate) key: Vec<u8>,
    /// The version the key must hold; `None` if it must be absent.
    pub(crate) version: Option<Version>,
}

impl Precondition {
    /// This key holds nothing.
    pub fn absent(table: Table, key: &[u8]) -> Self {
        Self { table, key: key.to_vec(), version: None }
    }

    /// This key holds the value with this version.
    pub fn version(table: Table, key: &[u8], version: Version) -> Self {
        Self { table, key: key.to_vec(), version: Some(version) }
    }
}

/// Puts, deletes and range deletes, with preconditions and topics: applied together or not at all.
///
/// Writes apply in the order in which they were added. Preconditions are about what is there before the batch. A call that breaks
/// a declared limit makes the batch invalid, which the commit reports.
#[derive(Clone, Debug)]
pub struct Batch {
    pub(crate) id: BatchId,
    pub(crate) made_at: Option<Position>,
    pub(crate) class: Class,
    /// Encoded preconditions; see [`crate::encoding`].
    pub(crate) preconditions: Vec<u8>,
    /// Encoded writes, keys beginning with their table's id; the position is filled in here.
    pub(crate) ops: Vec<u8>,
    /// Offsets in `ops` at which the position goes.
    pub(crate) slots: SmallVec<[u32; 4]>,
    pub(crate) topics: SmallVec<[Topic; 4]>,
    /// Which table ids occur, so that unknown ones are found without walking the writes.
    pub(crate) tables: [u64; 4],
    /// The first broken limit.
    pub(crate) invalid: Option<String>,
}

impl Batch {
    /// An empty batch.
    pub fn new(id: BatchId) -> Self {
        Self {
            id,
            made_at: None,
            class: Class::Synced,
            preconditions: Vec::new(),
            ops: Vec::new(),
            slots: SmallVec::new(),
            topics: SmallVec::new(),
            tables: [0; 4],
            invalid: None,
        }
    }

    /// An empty batch with a random id.
    pub fn with_random_id(world: &World) -> Self {
        Self::new(BatchId::random(world))
    }

    /// Its id.
    pub fn id(&self) -> BatchId {
        self.id
    }

    /// States the log's position when the id was chosen. A writer that may retry much later sets it before its first try, and the
    /// store refuses a retry that it can no longer recognise instead of applying the batch twice. Without it a batch is taken for
    /// a new one once its id is no longer remembered ([`limits::REMEMBERED_POSITIONS`]).
    pub fn made_at(&mut self, position: Position) -> &mut Self {
        self.made_at = Some(position);
        self
    }

    /// How durable it is to be when the commit is answered.
    pub fn class(&mut self, class: Class) -> &mut Self {
        self.class = class;
        self
    }

    /// Applies only if this key holds nothing.
    pub fn require_absent(&mut self, table: Table, key: &[u8]) -> &mut Self {
        self.add_precondition(table, key, None)
    }

    /// Applies only if this key still holds the value with this version. Never name a value with a position in it: nobody could
    /// prepare the next batch before this one is committed.
    pub fn require_version(&mut self, table: Table, key: &[u8], version: Version) -> &mut Self {
        self.add_precondition(table, key, Some(version))
    }

    /// Applies only if this holds.
    pub fn require(&mut self, precondition: &Precondition) -> &mut Self {
        self.add_precondition(precondition.table, &precondition.key, precondition.version)
    }

    /// Writes a value.
    pub fn put(&mut self, table: Table, key: &[u8], value: &[u8]) -> &mut Self {
        if self.check_table(table) {
            self.put_unchecked(table, key, value);
        }
        self
    }

    /// Writes a value, after the position has been filled into the marked slots of key and value.
    pub fn put_at_position(
        &mut self,
        table: Table,
        key: impl Into<PositionedKey>,
        value: impl Into<PositionedValue>,
    ) -> &mut Self {
        let (key, value) = (key.into(), value.into());
        if !self.check_table(table)
            || !self.check_slots(&key.slots, &key.bytes)
            || !self.check_slots(&value.slots, &value.bytes)
        {
            return self;
        }
        if let Some((key_at, value_at)) = self.put_unchecked(table, &key.bytes, &value.bytes) {
            self.slots.extend(key.slots.iter().map(|slot| slot + key_at));
            self.slots.extend(value.slots.iter().map(|slot| slot + value_at));
        }
        self
    }

    /// Removes a key, if it is there.
    pub fn delete(&mut self, table: Table, key: &[u8]) -> &mut Self {
        if self.check_table(table) {
            self.delete_unchecked(table, key);
        }
        self
    }

    /// Removes all keys from `start` on and before `end`; an empty `end` is the end of the table.
    pub fn delete_range(&mut self, table: Table, start: &[u8], end: &[u8]) -> &mut Self {
        if self.check_table(table) && self.check_key(table, start) && self.check_key(table, end) {
            encoding::write_op(
                &mut self.ops,
                OpKind::DeleteRange,
                table.id,
                start,
                Some(&encoding::range_end(table.id, end)),
            );
            self.check_size();
        }
        self
    }

    /// Wakes the subscribers of this topic once the batch is committed.
    pub fn topic(&mut self, topic: Topic) -> &mut Self {
        if !self.topics.contains(&topic) {
            if self.topics.len() < limits::MAX_TOPICS {
                self.topics.push(topic);
            } else {
                self.refuse(|| format!("it has more than {} topics", limits::MAX_TOPICS));
            }
        }
        self
    }

    /// Remembers how far the named reader of the log has come; read back with [`crate::Store::cursor`].
    pub fn set_cursor(&mut self, name: &str, position: Position) -> &mut Self {
        if self.check_name(name) {
            self.put_unchecked(CURSORS, name.as_bytes(), &position.to_be_bytes());
        }
        self
    }

    /// Forgets the named reader of the log, so that it no longer holds up trimming.
    pub fn remove_cursor(&mut self, name: &str) -> &mut Self {
        if self.check_name(name) {
            self.delete_unchecked(CURSORS, name.as_bytes());
        }
        self
    }

    /// Whether it writes nothing and wakes nobody.
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty() && self.topics.is_empty()
    }

    /// Bytes of its encoded form.
    pub fn encoded_len(&self) -> usize {
        encoding::batch_len(self)
    }

    /// The batch as bytes, in the encoding of [`Batch::ENCODING_VERSION`].
    pub fn encode(&self) -> Vec<u8> {
        encoding::encode_batch(self)
    }

    /// Reads a batch from its bytes; checks lengths, limits and slots, not whether the tables exist (the commit does).
    ///
    /// # Errors
    ///
    /// [`StorageError::Malformed`] with what is wrong; a newer encoding is refused.
    pub fn decode(bytes: &[u8]) -> Result<Self, StorageError> {
        encoding::decode_batch(bytes)
    }

    /// The version of the encoding that [`Batch::encode`] writes.
    pub const ENCODING_VERSION: u8 = 1;

    /// [`Batch::put`] for the store's own tables too. Gives where key and value begin.
    pub(crate) fn put_unchecked(&mut self, table: Table, key: &[u8], value: &[u8]) -> Option<(u32, u32)> {
        if value.len() > limits::MAX_VALUE_BYTES {
            self.refuse(|| {
                format!(
                    "a value for {} has {} bytes; the limit is {}",
                    table.name,
                    value.len(),
                    limits::MAX_VALUE_BYTES
                )
            });
            return None;
        }
        if !self.check_key(table, key) {
            return None;
        }
        let places = encoding::write_op(&mut self.ops, OpKind::Put, table.id, key, Some(value));
        self.check_size();
        Some(places)
    }

    /// [`Batch::delete`] for the store's own tables too.
    pub(crate) fn delete_unchecked(&mut self, table: Table, key: &[u8]) {
        if self.check_key(table, key) {
            encoding::write_op(&mut self.ops, OpKind::Delete, table.id, key, None);
            self.check_size();
        }
    }

    fn add_precondition(&mut self, table: Table, key: &[u8], version: Option<Version>) -> &mut Self {
        if self.check_key(table, key) {
            encoding::write_precondition(&mut self.preconditions, table.id, key, version);
            self.check_size();
        }
        self
    }

    fn check_table(&mut self, table: Table) -> bool {
        if table.id > Table::MAX_ID {
            self.refuse(|| format!("table {} is the store's own", table.name));
        }
        table.id <= Table::MAX_ID
    }

    fn check_key(&mut self, table: Table, key: &[u8]) -> bool {
        self.tables[usize::from(table.id / 64)] |= 1 << (table.id % 64);
        if key.len() > limits::MAX_KEY_BYTES {
            self.refuse(|| {
                format!("a key of {} has {} bytes; the limit is {}", table.name, key.len(), limits::MAX_KEY_BYTES)
            });
        }
        key.len() <= limits::MAX_KEY_BYTES
    }

    fn check_slots(&mut self, slots: &[u32], bytes: &[u8]) -> bool {
        let fit = slots.len() <= limits::MAX_SLOTS && slots.iter().all(|&slot| slot as usize + 8 <= bytes.len());
        if !fit {
            self.refuse(|| format!("position slots {slots:?} do not fit into {} bytes", bytes.len()));
        }
        fit
    }

    fn check_name(&mut self, name: &str) -> bool {
        if name.len() > limits::MAX_NAME_BYTES {
            self.refuse(|| format!("a name has {} bytes; the limit is {}", name.len(), limits::MAX_NAME_BYTES));
        }
        name.len() <= limits::MAX_NAME_BYTES
    }

    /// Stops an endless builder before it eats the memory; the exact limit is checked when committing.
    fn check_size(&mut self) {
        if self.ops.len() + self.preconditions.len() > limits::MAX_BATCH_BYTES {
            self.refuse(|| format!("it is bigger than {} bytes", limits::MAX_BATCH_BYTES));
            self.ops.clear();
            self.preconditions.clear();
            self.slots.clear();
        }
    }

    pub(crate) fn refuse(&mut self, why: impl FnOnce() -> String) {
        if self.invalid.is_none() {
            self.invalid = Some(why());
        }
    }
}
