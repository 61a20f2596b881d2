//! Choices made by bytes.

use state_res::room_version::RoomVersion;

/// Bytes that are used up one by one. When there are none left all are 0, so the first of several choices should be the plain
/// one.
pub(super) struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Bytes(bytes)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    /// A number below `end`, which is at least 1.
    pub(super) fn below(&mut self, end: usize) -> usize {
        usize::from(self.byte()) % end
    }

    /// True for `of` of 256 bytes, and not when there are none left.
    pub(super) fn sometimes(&mut self, of: u8) -> bool {
        self.byte() > 255 - of
    }

    pub(super) fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())].clone()
    }

    pub(super) fn version(&mut self) -> RoomVersion {
        // Zero, the common byte, is the newest.
        RoomVersion::ALL[RoomVersion::ALL.len() - 1 - self.below(RoomVersion::ALL.len())]
    }

    pub(super) fn rest(self) -> &'a [u8] {
        self.0
    }
}
