//! Configuration: defaults, then the file, then the environment, then flags; each beats the one before.
//!
//! [`keys`] is the list of keys and their documentation. Everything found wrong is reported at once, each with where it
//! was said, which key, why it is wrong and what would be right.

mod check;
mod environment;
mod file;
pub(crate) mod keys;
mod sample;
pub(crate) mod value;

pub(crate) use check::check;
pub(crate) use keys::Settings;
pub(crate) use sample::sample;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use value::{LogFormat, Raw};

/// The environment variable that names the configuration file where no flag does.
pub(crate) const FILE_VARIABLE: &str = "CAUSEWAY_CONFIG";

/// Where a value was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A file, and the line where known.
    File(PathBuf, Option<usize>),
    /// An environment variable.
    Variable(String),
    /// A command-line flag.
    Flag(&'static str),
    /// Nobody gave it.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path, Some(line)) => write!(formatter, "{}, line {line}", path.display()),
            Self::File(path, None) => write!(formatter, "{}", path.display()),
            Self::Variable(name) => write!(formatter, "environment variable {name}"),
            Self::Flag(name) => write!(formatter, "flag {name}"),
            Self::Default => formatter.write_str("default"),
        }
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    /// Where it was said.
    pub(crate) origin: Origin,
    /// The key, or nothing where the whole file is wrong.
    pub(crate) key: Option<String>,
    /// Why it is wrong and what would be right.
    pub(crate) why: String,
    /// Whether the value alone is wrong, so that another one mends it.
    pub(crate) is_of_value: bool,
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.key {
            // Where nobody gave the key, the sentence says why it is missing.
            Some(key) if self.origin == Origin::Default => write!(formatter, "{key}: {}", self.why),
            Some(key) => write!(formatter, "{key}: {} ({})", self.why, self.origin),
            None => write!(formatter, "{}: {}", self.origin, self.why),
        }
    }
}

/// Everything that is wrong; never empty.
#[derive(Debug)]
pub(crate) struct Problems {
    /// Each of them.
    pub(crate) list: Vec<Problem>,
    /// How they are to be told, as far as the configuration says it.
    pub(crate) format: LogFormat,
}

impl fmt::Display for Problems {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("The configuration is wrong:")?;
        for problem in &self.list {
            write!(formatter, "\n  {problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// Settings and where each came from.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// The values.
    pub(crate) settings: Settings,
    /// By key: who gave it; absent for defaults.
    pub(crate) origins: BTreeMap<&'static str, Origin>,
    /// Wrong values that do not count, because something that beats them gives the key another.
    pub(crate) beaten: Vec<Problem>,
}

impl Loaded {
    /// Where the value of `key` came from.
    pub(crate) fn origin(&self, key: &str) -> Origin {
        self.origins.get(key).cloned().unwrap_or(Origin::Default)
    }
}

/// What configuration is read from.
pub(crate) struct Sources<'a> {
    /// The file, if one was named.
    pub(crate) file: Option<&'a Path>,
    /// The environment.
    pub(crate) environment: Vec<(OsString, OsString)>,
    /// Flags that were given: the flag, its key, the text.
    pub(crate) flags: Vec<(&'static str, &'static str, String)>,
}

/// Reads all sources.
///
/// # Errors
/// Everything that is wrong in any of them.
pub(crate) fn load(sources: &Sources<'_>) -> Result<Loaded, Problems> {
    let mut loading = Loading::default();
    let named = sources.file.map(Path::to_owned).or_else(|| environment::file(&sources.environment));
    if let Some(path) = named {
        file::read(&path, &mut loading);
    }
    environment::read(&sources.environment, &mut loading);
    for (flag, key, text) in &sources.flags {
        loading.set(key, &Raw::Text(text), Origin::Flag(flag));
    }
    loading.finish()
}

/// What has been read so far.
#[derive(Default)]
struct Loading {
    settings: Settings,
    origins: BTreeMap<&'static str, Origin>,
    problems: Vec<Problem>,
    beaten: Vec<Problem>,
}

impl Loading {
    fn finish(self) -> Result<Loaded, Problems> {
        let Self { settings, origins, problems, beaten } = self;
        if problems.is_empty() {
            Ok(Loaded { settings, origins, beaten })
        } else {
            Err(Problems { list: problems, format: settings.log.format })
        }
    }

    /// Sets a key, or notes what is wrong with it.
    fn set(&mut self, path: &str, raw: &Raw<'_>, origin: Origin) {
        let known = keys::SECTIONS.iter().flat_map(|section| section.keys).find(|key| key.path == path);
        let Some(key) = known else {
            let why = unknown_key(path);
            self.problem(origin, path, why);
            return;
        };
        match self.settings.set(path, raw) {
            Ok(()) => {
                // What it beats need not be right.
                let wrong = |problem: &mut Problem| problem.key.as_deref() == Some(path) && problem.is_of_value;
                self.beaten.extend(self.problems.extract_if(.., wrong));
                self.origins.insert(key.path, origin);
            }
            Err(why) => {
                let key = Some(path.to_owned());
                self.problems.push(Problem { origin, key, why, is_of_value: true });
            }
        }
    }

    fn problem(&mut self, origin: Origin, key: &str, why: String) {
        self.problems.push(Problem { origin, key: Some(key.to_owned()), why, is_of_value: false });
    }
}

/// Why `path` is not a key, with the one that may have been meant.
fn unknown_key(path: &str) -> String {
    let keys = keys::SECTIONS.iter().flat_map(|section| section.keys).map(|key| key.path);
    match nearest(path, keys) {
        Some(key) => format!("there is no such key; did you mean {key}?"),
        None => "there is no such key; `causeway config sample` lists all".to_owned(),
    }
}

/// The candidate that a mistyped `text` most likely meant, if any is close.
pub(crate) fn nearest<'a>(text: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let text = text.to_ascii_lowercase();
    candidates
        .map(|candidate| (distance(&text, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= (candidate.len().min(text.len()) / 3).max(2))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Levenshtein distance in bytes.
fn distance(left: &str, right: &str) -> usize {
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in right.bytes().enumerate() {
            let substituted = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests;
