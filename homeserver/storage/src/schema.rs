//! The table of tables: what each one holds and how it is read, from which the engine's options follow.

use crate::StorageError;

/// How a table is read and written. Tables of one pattern share the engine's structures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// Looked up by whole key, often in vain.
    Point,
    /// Scanned in key order.
    Range,
    /// Written at the end, read mostly near it.
    Append,
    /// Big or rarely read values, looked up by whole key.
    Cold,
}

/// One table. Build it as a `const`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Table {
    /// First byte of the stored keys; for ever this table's. At most [`Table::MAX_ID`].
    pub id: u8,
    /// Its name, for people.
    pub name: &'static str,
    /// What its keys are made of, for people.
    pub key: &'static str,
    /// What its values are made of, for people.
    pub value: &'static str,
    /// How it is read and written.
    pub access: Access,
}

impl Table {
    /// The highest id that a schema may use; those above are the store's own.
    pub const MAX_ID: u8 = 0xEF;
}

/// All tables of a program, and the version of their meaning.
#[derive(Clone, Copy, Debug)]
pub struct Schema {
    /// Stored with the data; a store written under a newer version is refused.
    pub version: u32,
    /// The oldest version whose data the program reads or migrates; a store written under an older one is refused.
    pub oldest: u32,
    /// The tables.
    pub tables: &'static [Table],
}

/// What the store knows about itself: name → value.
pub(crate) const META: Table = system(0xF0, "META", "name", "value", Access::Point);
/// The log: what was committed at each position.
pub(crate) const LOG: Table = system(0xF1, "LOG", "position", "batch id, topics", Access::Append);
/// Remembered conflicts.
pub(crate) const CONFLICTS: Table =
    system(0xF2, "CONFLICTS", "position, number", "batch id, table, key", Access::Append);
/// How far each durable reader of the log has come.
pub(crate) const CURSORS: Table = system(0xF3, "CURSORS", "name", "position", Access::Point);
/// Who holds a lease, and its fence; changes with the holder.
pub(crate) const LEASES: Table = system(0xF4, "LEASES", "name", "fence, owner", Access::Point);
/// Until when a lease holds; changes with each renewal.
pub(crate) const LEASE_ENDS: Table = system(0xF5, "LEASE_ENDS", "name", "fence, milliseconds", Access::Point);

const SYSTEM: [Table; 6] = [META, LOG, CONFLICTS, CURSORS, LEASES, LEASE_ENDS];

/// Tables by id.
pub(crate) struct Tables {
    by_id: Box<[Option<Table>; 256]>,
}

impl Tables {
    /// The schema's tables and the store's own.
    ///
    /// # Errors
    ///
    /// Two tables with one id, or a reserved id.
    pub(crate) fn new(schema: &Schema) -> Result<Self, StorageError> {
        let mut by_id = Box::new([None; 256]);
        for table in schema.tables {
            if table.id > Table::MAX_ID {
                return Err(StorageError::Schema(format!(
                    "table {} has the reserved id {}; ids go up to {}",
                    table.name,
                    table.id,
                    Table::MAX_ID
                )));
            }
            if let Some(Table { name, .. }) = by_id[usize::from(table.id)] {
                return Err(StorageError::Schema(format!(
                    "tables {name} and {} share the id {}",
                    table.name, table.id
                )));
            }
            by_id[usize::from(table.id)] = Some(*table);
        }
        for table in SYSTEM {
            by_id[usize::from(table.id)] = Some(table);
        }
        Ok(Self { by_id })
    }

    /// The table with this id.
    pub(crate) fn get(&self, id: u8) -> Option<Table> {
        self.by_id[usize::from(id)]
    }

    /// The access pattern of a table that is known to exist.
    pub(crate) fn access(&self, id: u8) -> Access {
        self.get(id).map_or(Access::Point, |table| table.access)
    }
}

const fn system(id: u8, name: &'static str, key: &'static str, value: &'static str, access: Access) -> Table {
    Table { id, name, key, value, access }
}
