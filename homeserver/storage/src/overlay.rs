//! What the batches ahead in the same group write, as far as the preconditions of those behind them can see it.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, DefaultHasher},
};

use bytes::Bytes;

use crate::encoding::{OpKind, Ops};

/// Writes that are not yet in the engine.
#[derive(Default)]
pub(crate) struct Overlay {
    /// The value of each key written; `None` if deleted.
    keys: HashMap<Bytes, Option<Bytes>, BuildHasherDefault<DefaultHasher>>,
    /// Deleted ranges; keys written after one are in `keys`.
    ranges: Vec<(Bytes, Bytes)>,
}

impl Overlay {
    /// Adds a batch's writes, whose position has been filled in.
    pub(crate) fn add(&mut self, ops: &Bytes) {
        // What builders made and decoders checked holds no errors.
        for op in Ops::new(ops).flatten() {
            let key = ops.slice(op.key.0..op.key.1);
            let value = ops.slice(op.value.0..op.value.1);
            match op.kind {
                OpKind::Put => {
                    self.keys.insert(key, Some(value));
                }
                OpKind::Delete => {
                    self.keys.insert(key, None);
                }
                OpKind::DeleteRange => {
                    self.keys.retain(|written, _| *written < key || *written >= value);
                    self.ranges.push((key, value));
                }
            }
        }
    }

    /// What a key holds: `None` if these writes do not touch it, `Some(None)` if they delete it.
    pub(crate) fn get(&self, key: &[u8]) -> Option<Option<&[u8]>> {
        if let Some(value) = self.keys.get(key) {
            return Some(value.as_deref());
        }
        self.ranges.iter().any(|(start, end)| **start <= *key && *key < **end).then_some(None)
    }
}
