//! Turning single checks off, for tests that show that some test notices. Only with the feature `rule-switches`, which
//! nothing but tests enables.

#[cfg(feature = "rule-switches")]
use std::cell::Cell;

/// A check on receipt of a PDU that needs the room (server-server API, "Checks performed on receipt of a PDU"). The three before these are in
/// `state_res::steps`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReceiptCheck {
    /// 4: by the event's auth events.
    AuthEvents,
    /// 5: by the state before the event.
    StateBefore,
    /// 6: by the room's current state.
    CurrentState,
    /// 7: by the room's policy server.
    PolicyServer,
}

#[cfg(feature = "rule-switches")]
thread_local! {
    static OFF: Cell<Option<ReceiptCheck>> = const { Cell::new(None) };
}

/// Whether a check is to be made.
#[inline(always)]
pub(super) fn on(check: ReceiptCheck) -> bool {
    #[cfg(feature = "rule-switches")]
    return OFF.get() != Some(check);
    #[cfg(not(feature = "rule-switches"))]
    {
        let _ = check;
        true
    }
}

/// Runs `test` as if there were no such check. Only on the calling thread, which is where a simulation runs its servers.
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
