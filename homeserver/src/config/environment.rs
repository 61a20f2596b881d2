//! Keys from the environment: `CAUSEWAY_SECTION__KEY`.

use super::value::Raw;
use super::{FILE_VARIABLE, Loading, Origin, Problem, keys};
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

/// What the names of our variables begin with.
const PREFIX: &str = "CAUSEWAY_";
/// What stands between section and key.
const SEPARATOR: &str = "__";

/// The configuration file that the environment names.
pub(super) fn file(environment: &[(OsString, OsString)]) -> Option<PathBuf> {
    environment
        .iter()
        .find(|(name, value)| name == OsStr::new(FILE_VARIABLE) && !value.is_empty())
        .map(|(_, value)| PathBuf::from(value))
}

/// Sets every key that a variable names. Of variables with our prefix but no `__`, only those that would be a key with it are mistakes; others
/// are not ours to judge.
pub(super) fn read(environment: &[(OsString, OsString)], loading: &mut Loading) {
    let mut ours: Vec<_> = environment
        .iter()
        .filter_map(|(name, value)| Some((name.to_str()?, value)))
        .filter_map(|(name, value)| Some((name, name.strip_prefix(PREFIX)?.split_once(SEPARATOR)?, value)))
        .collect();
    // The environment has no order of its own; a report should.
    ours.sort_unstable();
    for key in keys::SECTIONS.iter().flat_map(|section| section.keys) {
        let right = format!("{PREFIX}{}", key.path.replace('.', SEPARATOR).to_ascii_uppercase());
        let wrong = format!("{PREFIX}{}", key.path.replace('.', "_").to_ascii_uppercase());
        if environment.iter().any(|(name, _)| name == OsStr::new(&wrong)) {
            loading.problems.push(Problem {
                origin: Origin::Variable(wrong),
                key: Some(key.path.to_owned()),
                why: format!("two underscores stand between section and key; did you mean {right}?"),
                is_of_value: false,
            });
        }
    }
    for (name, (section, key), value) in ours {
        let path = format!("{}.{}", section.to_ascii_lowercase(), key.to_ascii_lowercase());
        let origin = Origin::Variable(name.to_owned());
        match value.to_str() {
            Some(text) => loading.set(&path, &Raw::Text(text), origin),
            None => loading.problems.push(Problem {
                origin,
                key: Some(path),
                why: "the value is not UTF-8 text; give it as such".to_owned(),
                is_of_value: true,
            }),
        }
    }
}
