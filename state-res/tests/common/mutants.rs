//! Runs the tests that docs/spec names for a clause with the clause turned off, and finds that one of them fails.

use std::{
    cell::Cell,
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook},
    sync::Once,
};

use state_res::switches::{switchable, without};

use crate::docs::Clauses;

/// Tests of this program by file and function, as docs/spec names them.
pub type Tests = BTreeMap<(&'static str, &'static str), fn()>;

/// The list of tests, by module.
#[macro_export]
macro_rules! tests_of {
    ($($module:ident: $($function:ident)*;)*) => {
        Tests::from([$($(((stringify!($module), stringify!($function)), $crate::$module::$function as fn()),)*)*])
    };
}

thread_local! {
    /// Whether this thread's panics are wanted and nothing to tell anybody about.
    static IS_QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Whether a test fails without a clause.
fn fails_without(id: &str, test: fn()) -> bool {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = take_hook();
        set_hook(Box::new(move |panic| {
            if !IS_QUIET.get() {
                before(panic);
            }
        }));
    });
    IS_QUIET.set(true);
    // What a test has at hand when it fails is gone afterwards.
    let outcome = without(id, || catch_unwind(AssertUnwindSafe(test)));
    IS_QUIET.set(false);
    outcome.is_some_and(|outcome| outcome.is_err())
}

/// Turns the clauses of these chapters off, one after the other, and expects that a test which the clause names, of those in
/// `program` (a folder of state-res/tests), fails. Prints the first that does.
pub fn every_clause_is_missed(program: &str, chapters: &[char], tests: &Tests) {
    let clauses = Clauses::read();
    let mut unnoticed = Vec::new();
    let mut table = format!("{:<8} noticed by\n", "without");
    for id in switchable().filter(|id| chapters.iter().any(|chapter| id.starts_with(*chapter))) {
        let named = clauses.tests.get(id).unwrap_or_else(|| panic!("docs/spec has no clause {id}"));
        let mut noticed = None;
        for test in named {
            let Some(file) = test.file.strip_prefix(&format!("state-res/tests/{program}/")) else { continue };
            let (_, run) = tests
                .iter()
                .find(|((of, function), _)| *of == file.trim_end_matches(".rs") && *function == test.function)
                .unwrap_or_else(|| panic!("{}::{} is not in the list of tests", test.file, test.function));
            if fails_without(id, *run) {
                noticed = Some(format!("{file}::{}", test.function));
                break;
            }
        }
        match noticed {
            Some(test) => table.push_str(&format!("{id:<8} {test}\n")),
            None => unnoticed.push(id),
        }
    }
    println!("{table}");
    assert!(unnoticed.is_empty(), "no test that they name fails without these clauses: {unnoticed:?}");
}
