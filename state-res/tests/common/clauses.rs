//! Reading docs/spec: its clauses and the tests that they name. Used by several test programs of this package.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

/// The repository's root.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// A test: its file from the root, and the function.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Test {
    pub file: String,
    pub function: String,
}

/// What docs/spec says.
#[derive(Default, Debug)]
pub struct Clauses {
    /// The tests of each clause, those of its section included.
    pub tests: BTreeMap<String, BTreeSet<Test>>,
    /// Clauses that are there twice.
    pub twice: Vec<String>,
    /// Every test that is named anywhere.
    pub named: BTreeSet<Test>,
    /// Every clause that the text refers to, with the page.
    pub references: BTreeSet<(String, String)>,
}

/// What begins a paragraph that names tests for all clauses under its heading.
const SECTION: &str = "Each clause of this section";

impl Clauses {
    pub fn read() -> Self {
        let mut clauses = Clauses::default();
        let folder = root().join("docs/spec");
        let mut pages: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        pages.sort();
        for page in pages {
            clauses.read_page(&page.display().to_string(), &std::fs::read_to_string(&page).unwrap());
        }
        clauses
    }

    fn read_page(&mut self, page: &str, text: &str) {
        // The headings that are open, by level, and what has been found under each: clauses, and tests of all of them.
        let mut open: Vec<(usize, Vec<String>, BTreeSet<Test>)> = vec![(0, Vec::new(), BTreeSet::new())];
        let (mut clause, mut of_section): (Option<String>, bool) = (None, false);
        for line in text.lines() {
            let level = line.chars().take_while(|c| *c == '#').count();
            if level > 0 {
                self.close(&mut open, level);
                open.push((level, Vec::new(), BTreeSet::new()));
                (clause, of_section) = (None, false);
            }
            if line.is_empty() {
                of_section = false;
            }
            of_section |= line.starts_with(SECTION);
            if let Some(id) = clause_of(line) {
                if self.tests.insert(id.to_owned(), BTreeSet::new()).is_some() {
                    self.twice.push(id.to_owned());
                }
                open.iter_mut().for_each(|(_, clauses, _)| clauses.push(id.to_owned()));
                clause = Some(id.to_owned());
            }
            for test in tests_in(line) {
                self.named.insert(test.clone());
                match (&clause, of_section) {
                    (_, true) => open.last_mut().unwrap().2.extend([test]),
                    (Some(clause), false) => self.tests.get_mut(clause).unwrap().extend([test]),
                    (None, false) => {}
                }
            }
            self.references.extend(references_in(line).map(|id| (page.to_owned(), id)));
        }
        self.close(&mut open, 0);
    }

    /// Ends the sections of this level and below.
    fn close(&mut self, open: &mut Vec<(usize, Vec<String>, BTreeSet<Test>)>, level: usize) {
        while open.last().is_some_and(|(of, ..)| *of >= level) {
            let (_, clauses, tests) = open.pop().unwrap();
            for clause in clauses {
                self.tests.get_mut(&clause).unwrap().extend(tests.iter().cloned());
            }
        }
    }

    /// The clauses that a pattern means: one, or with a `*` at its end all that begin so.
    // Not every test program asks.
    #[allow(dead_code)]
    pub fn matching<'a>(&'a self, pattern: &'a str) -> impl Iterator<Item = &'a str> {
        self.tests.keys().map(String::as_str).filter(move |id| match pattern.strip_suffix('*') {
            Some(beginning) => id.starts_with(beginning),
            None => *id == pattern,
        })
    }
}

/// The clause that a line begins: `**E1.2** …`, or a table's row with that in its first cell.
fn clause_of(line: &str) -> Option<&str> {
    let id = line.trim_start_matches("| ").strip_prefix("**")?.split_once("**")?.0;
    is_clause(id).then_some(id)
}

/// A letter, and numbers with points between them.
pub fn is_clause(id: &str) -> bool {
    let mut chars = id.chars();
    let letter = chars.next().is_some_and(|first| "ESRDAPM".contains(first));
    let numbers = chars.as_str();
    letter && numbers.split('.').all(|number| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
}

/// The tests in a line: `path.rs::function` in code. A path that begins with no folder of the root is in state-res/tests.
fn tests_in(line: &str) -> impl Iterator<Item = Test> + '_ {
    line.split('`').skip(1).step_by(2).filter_map(|span| {
        let (file, function) = span.split_once(".rs::")?;
        let top = file.split('/').next()?;
        let folder = if root().join(top).is_dir() { "" } else { "state-res/tests/" };
        Some(Test { file: format!("{folder}{file}.rs"), function: function.to_owned() })
    })
}

/// The clauses and sections that a line refers to outside of code, such as `A7.1`, `A18`, or both ends of `A7.5–A7.7`.
fn references_in(line: &str) -> impl Iterator<Item = String> + '_ {
    let prose: String = line.split('`').step_by(2).collect::<Vec<_>>().join(" ");
    let words: Vec<String> = prose
        .split(|c: char| !(c.is_ascii_alphanumeric() || c == '.'))
        .map(|word| word.trim_end_matches('.').to_owned())
        .filter(|word| is_clause(word))
        .collect();
    words.into_iter()
}
