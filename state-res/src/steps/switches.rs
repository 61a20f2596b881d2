//! Turning single checks off, for tests that show that some test notices. Only with the feature `rule-switches`, which
//! nothing but this package's own tests enables.

#[cfg(feature = "rule-switches")]
use std::cell::Cell;

/// A check on receipt of a PDU that this crate makes itself (server-server API, "Checks performed on receipt of a PDU").
/// The others apply the authorisation rules in one state or another, and whoever has the states makes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReceiptCheck {
    /// 1: it is a valid event. Off, limits and identifiers' grammar are not looked at; a field that is missing still is.
    Format,
    /// 2: it passes signature checks.
    Signatures,
    /// 3: it passes hash checks.
    ContentHash,
}

#[cfg(feature = "rule-switches")]
thread_local! {
    static OFF: Cell<Option<ReceiptCheck>> = const { Cell::new(None) };
}

/// Whether a check is to be made.
#[inline(always)]
pub(crate) fn on(check: ReceiptCheck) -> bool {
    #[cfg(feature = "rule-switches")]
    return OFF.get() != Some(check);
    #[cfg(not(feature = "rule-switches"))]
    {
        let _ = check;
        true
    }
}

/// Runs `test` as if there were no such check. Only on the calling thread.
#[cfg(feature = "rule-switches")]
pub fn without_check<T>(check: ReceiptCheck, test: impl FnOnce() -> T) -> T {
    /// Turns the check on again, also when the test panics.
    struct Restore;
    impl Drop for Restore {
        fn drop(&mut self) {
            OFF.set(None);
        }
    }

    let _restore = Restore;
    OFF.set(Some(check));
    test()
}
