//! Sets of the states that are being resolved.

use smallvec::SmallVec;

/// Some of the states, by their number.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct States(SmallVec<[u64; 1]>);

impl States {
    /// Adds one state.
    pub(super) fn insert(&mut self, state: usize) {
        let word = state / 64;
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        self.0[word] |= 1 << (state % 64);
    }

    /// Adds all states of another set.
    pub(super) fn extend(&mut self, other: &States) {
        if self.0.len() < other.0.len() {
            self.0.resize(other.0.len(), 0);
        }
        for (word, more) in self.0.iter_mut().zip(&other.0) {
            *word |= more;
        }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_states_than_a_word_has_bits() {
        let mut some = States::default();
        for state in [0, 63, 64, 200, 63] {
            some.insert(state);
        }
        assert_eq!(some.len(), 4);
        let mut other = States::default();
        other.insert(1);
        other.extend(&some);
        some.extend(&other);
        assert_eq!((some.len(), other.len()), (5, 5));
        assert_eq!(some, other);
    }
}
