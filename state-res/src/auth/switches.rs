//! Turning single rules off, and counting how they decide, for tests that show that some test notices and that generated
//! events reach every rule. Only with the feature `rule-switches`, which nothing but tests enables.

use super::rule::Rule;

/// Whether a rule decides: its condition holds and it is not turned off.
#[inline(always)]
pub(super) fn decides(rule: Rule, holds: bool) -> bool {
    #[cfg(feature = "rule-switches")]
    observed::count(rule, holds);
    holds && on(rule)
}

/// Whether a rule is to be applied.
#[inline(always)]
pub(super) fn on(rule: Rule) -> bool {
    #[cfg(feature = "rule-switches")]
    return observed::OFF.get() != Some(rule);
    #[cfg(not(feature = "rule-switches"))]
    {
        let _ = rule;
        true
    }
}

#[cfg(feature = "rule-switches")]
pub use self::observed::{counting_rules, without_rule};

#[cfg(feature = "rule-switches")]
mod observed {
    use std::{
        cell::{Cell, RefCell},
        collections::BTreeMap,
    };

    use super::Rule;
    use crate::room_version::RoomVersion;

    thread_local! {
        pub(super) static OFF: Cell<Option<Rule>> = const { Cell::new(None) };
        static COUNTS: RefCell<Option<BTreeMap<Rule, (u64, u64)>>> = const { RefCell::new(None) };
    }

    /// Runs `test` as if the specification of `version` did not have the rule with this number: a rule that rejects does
    /// not, a rule that allows does not, and the next one decides. Only on the calling thread. `None`, without running
    /// `test`, if the version has no such rule.
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

    /// Runs `test`, which checks events of `version`, and counts for each rule, by number and in the order of the
    /// specification, how often its condition held and how often it did not. Only on the calling thread.
    pub fn counting_rules<T>(version: RoomVersion, test: impl FnOnce() -> T) -> (T, Vec<(&'static str, u64, u64)>) {
        COUNTS.set(Some(BTreeMap::new()));
        let result = test();
        let counts = COUNTS.take().unwrap_or_default();
        let rules = Rule::ALL.iter().filter(|rule| !rule.number(version).is_empty());
        let counted = rules.map(|rule| {
            let (held, not) = counts.get(rule).copied().unwrap_or_default();
            (rule.number(version), held, not)
        });
        (result, counted.collect())
    }

    pub(super) fn count(rule: Rule, holds: bool) {
        COUNTS.with_borrow_mut(|counts| {
            if let Some(counts) = counts {
                let (held, not) = counts.entry(rule).or_default();
                *(if holds { held } else { not }) += 1;
            }
        });
    }
}
