//! docs/spec and the tests name each other: every clause a test that is there, every test a clause that is there, and both the
//! same.

#![allow(missing_docs, unreachable_pub, clippy::unwrap_used, clippy::panic)]

#[path = "common/clauses.rs"]
mod clauses;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use clauses::{Clauses, Test, is_clause, root};

/// What marks a test: the clauses that it checks, in a comment before the function.
const MARKER: &str = "// clause: ";

/// The tests of a file with the clauses that each is marked with, and all its tests.
fn read_tests(file: &str) -> (BTreeMap<Test, Vec<String>>, BTreeSet<Test>) {
    let text = std::fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
    let (mut marked, mut all) = (BTreeMap::new(), BTreeSet::new());
    let (mut pending, mut is_test): (Vec<String>, bool) = (Vec::new(), false);
    for line in text.lines().map(str::trim) {
        if let Some(ids) = line.strip_prefix(MARKER) {
            pending.extend(ids.split(',').map(|id| id.trim().to_owned()));
            continue;
        }
        is_test |= line.starts_with("#[test]") || line.starts_with("#[tokio::test");
        let words = line.trim_start_matches("pub(crate) ").trim_start_matches("async ");
        let Some(function) = words.strip_prefix("fn ").and_then(|rest| rest.split(['(', '<']).next()) else { continue };
        let test = Test { file: file.to_owned(), function: function.to_owned() };
        if is_test {
            all.insert(test.clone());
        }
        if !pending.is_empty() {
            assert!(is_test, "{file}: {function} is marked with clauses and is no test");
            marked.insert(test, std::mem::take(&mut pending));
        }
        is_test = false;
    }
    assert!(pending.is_empty(), "{file}: a marker has no test after it");
    (marked, all)
}

/// Every Rust file that may have tests, from the root.
fn sources() -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![root()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
            if entry.file_type().unwrap().is_dir() {
                if !name.starts_with('.') && name != "target" {
                    folders.push(path);
                }
            } else if name.ends_with(".rs") {
                found.push(path.strip_prefix(root()).unwrap().display().to_string());
            }
        }
    }
    found
}

#[test]
fn clauses_have_one_id_each() {
    let clauses = Clauses::read();
    assert!(clauses.twice.is_empty(), "there twice: {:?}", clauses.twice);
    assert!(clauses.tests.len() > 190, "only {} clauses are found: the test no longer sees them", clauses.tests.len());
}

#[test]
fn every_clause_has_a_test() {
    let clauses = Clauses::read();
    let without: Vec<_> = clauses.tests.iter().filter(|(_, tests)| tests.is_empty()).map(|(id, _)| id).collect();
    assert!(without.is_empty(), "no test is named for {without:?}");
}

#[test]
fn tests_that_are_named_are_there() {
    let clauses = Clauses::read();
    let mut known: BTreeMap<&str, BTreeSet<Test>> = BTreeMap::new();
    for test in &clauses.named {
        assert!(root().join(Path::new(&test.file)).exists(), "there is no {}", test.file);
        let tests = known.entry(&test.file).or_insert_with(|| read_tests(&test.file).1);
        assert!(tests.contains(test), "there is no test {} in {}", test.function, test.file);
    }
}

#[test]
fn clauses_that_are_referred_to_are_there() {
    let clauses = Clauses::read();
    for (page, id) in &clauses.references {
        let section = format!("{id}.");
        let known = clauses.tests.keys().any(|clause| clause == id || clause.starts_with(&section));
        assert!(known, "{page}: there is no clause {id}");
    }
}

/// The pairs of clause and test that docs/spec names are those that the tests are marked with.
#[test]
fn tests_name_the_clauses_that_name_them() {
    let clauses = Clauses::read();
    let mut named: BTreeSet<(String, Test)> = BTreeSet::new();
    for (id, tests) in &clauses.tests {
        named.extend(tests.iter().map(|test| (id.clone(), test.clone())));
    }
    let mut marked: BTreeSet<(String, Test)> = BTreeSet::new();
    for file in sources() {
        for (test, patterns) in read_tests(&file).0 {
            for pattern in patterns {
                let beginning = pattern.trim_end_matches('*').trim_end_matches('.');
                assert!(beginning.len() == 1 || is_clause(beginning), "{file}: {pattern} is no clause");
                let matching: Vec<_> = clauses.matching(&pattern).map(str::to_owned).collect();
                assert!(!matching.is_empty(), "{file}: {} names {pattern}, which is not there", test.function);
                marked.extend(matching.into_iter().map(|id| (id, test.clone())));
            }
        }
    }
    let show = |pairs: Vec<&(String, Test)>| -> String {
        pairs.iter().map(|(id, test)| format!("\n  {id}: {}::{}", test.file, test.function)).collect()
    };
    let unmarked = show(named.difference(&marked).collect());
    let unnamed = show(marked.difference(&named).collect());
    assert!(
        unmarked.is_empty() && unnamed.is_empty(),
        "not marked in the test:{unmarked}\nnot named in docs/spec:{unnamed}"
    );
}
