//! Each clause on levels, creators and the selection of auth events that can be turned off is missed by a test that it names.
//! (For the rules there is `clauses::no_rule_is_idle`, for resolution `by_the_letter::every_clause_matters`.)

use crate::{
    mutants_of::{Tests, every_clause_is_missed},
    tests_of,
};

#[test]
fn without_any_clause_a_test_fails() {
    let tests: Tests = tests_of! {
        clauses: rules_hold;
        levels: beyond_a_double creators_of_every_version levels_are_compared_as_written requirements spellings unreadable_levels_refuse users words;
        selection: nothing_else_is_looked_at selection;
    };
    every_clause_is_missed("rooms", &['D'], &tests);
}
