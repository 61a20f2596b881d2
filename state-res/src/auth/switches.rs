//! Turning single rules off, for tests that show that some test notices. Only with the feature `rule-switches`, which
//! nothing but this package's own tests enables.

#[cfg(feature = "rule-switches")]
use std::cell::Cell;

use super::rule::Rule;
#[cfg(feature = "rule-switches")]
use crate::room_version::RoomVersion;

#[cfg(feature = "rule-switches")]
thread_local! {
    static OFF: Cell<Option<Rule>> = const { Cell::new(None) };
}

/// Whether a rule is to be applied.
#[inline(always)]
pub(super) fn on(rule: Rule) -> bool {
    #[cfg(feature = "rule-switches")]
    return OFF.get() != Some(rule);
    #[cfg(not(feature = "rule-switches"))]
    {
        let _ = rule;
        true
    }
}

/// Runs `test` as if the specification of `version` did not have the rule with this number: a rule that rejects does
/// not, a rule that allows does not, and the next one decides. Only on the calling thread. `None`, without running
/// `test`, if the version has no such rule.
#[cfg(feature = "rule-switches")]
pub fn without_rule<T>(version: RoomVersion, number: &str, test: impl FnOnce() -> T) -> Option<T> {
    /// Turns the rule on again, also when the test panics.
    struct Restore;
    impl Drop for Restore {
        fn drop(&mut self) {
            OFF.set(None);
        }
    }

    let rule = *Rule::ALL.iter().find(|rule| !number.is_empty() && rule.number(version) == number)?;
    let _restore = Restore;
    OFF.set(Some(rule));
    Some(test())
}
