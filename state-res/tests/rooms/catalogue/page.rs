//! `docs/attacks.md` names every attack of the catalogue, and nothing that is not there.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

fn tests_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")
}

/// The tests in a file.
fn tests_in(file: &Path) -> Vec<String> {
    let text = fs::read_to_string(file).unwrap();
    let mut tests = Vec::new();
    let mut is_test = false;
    for line in text.lines().map(str::trim) {
        let item = line.trim_start_matches("pub(crate) ").strip_prefix("fn ");
        if let (true, Some(name)) = (is_test, item.and_then(|rest| rest.split('(').next())) {
            tests.push(name.to_owned());
        }
        is_test = line == "#[test]" || (is_test && line.starts_with("#["));
    }
    tests
}

/// `file::test` for every test of the catalogue but this one.
fn catalogue() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(tests_folder().join("rooms/catalogue")).unwrap() {
        let path = entry.unwrap().path();
        let family = path.file_stem().unwrap().to_str().unwrap();
        if family != "page" {
            names.extend(tests_in(&path).into_iter().map(|test| format!("{family}::{test}")));
        }
    }
    names
}

/// What stands on the page as `file::test`.
fn named() -> BTreeSet<String> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/attacks.md");
    let text = fs::read_to_string(page).unwrap();
    let is_name = |span: &&str| {
        span.split_once("::").is_some_and(|(file, test)| {
            [file, test]
                .iter()
                .all(|part| part.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'))
        })
    };
    text.split('`').skip(1).step_by(2).filter(is_name).map(str::to_owned).collect()
}

#[test]
fn names_every_attack() {
    let (catalogue, named) = (catalogue(), named());
    assert!(catalogue.len() > 30, "the tests of the catalogue are no longer found");
    let missing: Vec<_> = catalogue.difference(&named).collect();
    assert!(missing.is_empty(), "docs/attacks.md does not name {missing:?}");
    for name in named.difference(&catalogue) {
        let (file, test) = name.split_once("::").unwrap();
        let exists = ["rooms", "rooms/properties", "events"].iter().any(|folder| {
            let path = tests_folder().join(folder).join(format!("{file}.rs"));
            path.exists() && tests_in(&path).iter().any(|found| found == test)
        });
        assert!(exists, "docs/attacks.md names {name}, and there is no such test");
    }
}
