//! The command line.

use std::collections::BTreeMap;

/// The command line is wrong.
pub(crate) struct Usage {
    pub(crate) sentence: String,
    /// The command whose usage is to be shown.
    pub(crate) command: Option<&'static str>,
}

impl Usage {
    pub(crate) fn new(sentence: impl Into<String>, command: Option<&'static str>) -> Self {
        Usage { sentence: sentence.into(), command }
    }
}

/// What follows a command.
pub(crate) struct Arguments {
    positional: Vec<String>,
    options: BTreeMap<String, String>,
}

impl Arguments {
    /// Reads what follows `command`, which knows these options, each with a value, and needs exactly these others.
    pub(crate) fn read(
        command: &'static str,
        arguments: &[String],
        options: &[&str],
        needed: &[&str],
    ) -> Result<Self, Usage> {
        let wrong = |sentence: String| Usage::new(sentence, Some(command));
        let mut read = Arguments { positional: Vec::new(), options: BTreeMap::new() };
        let mut rest = arguments.iter();
        let mut only_positional = false;
        while let Some(argument) = rest.next() {
            if only_positional || argument == "-" || !argument.starts_with('-') {
                read.positional.push(argument.clone());
                continue;
            }
            if argument == "--" {
                only_positional = true;
                continue;
            }
            let (name, value) = match argument.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (argument.as_str(), None),
            };
            if !options.contains(&name) {
                return Err(wrong(format!("`{command}` has no option {name}")));
            }
            let Some(value) = value.or_else(|| rest.next().cloned()) else {
                return Err(wrong(format!("{name} needs a value")));
            };
            if read.options.insert(name.to_owned(), value).is_some() {
                return Err(wrong(format!("{name} is given twice")));
            }
        }
        if let Some(absent) = needed.get(read.positional.len()) {
            return Err(wrong(format!("`{command}` needs {absent}")));
        }
        if let Some(extra) = read.positional.get(needed.len()) {
            return Err(wrong(format!("`{command}` does not know what to do with `{extra}`")));
        }
        if read.positional(0) == "-" && read.option("--keys") == Some("-") {
            return Err(wrong("FILE and --keys cannot both be standard input".to_owned()));
        }
        Ok(read)
    }

    /// One of those that are needed.
    pub(crate) fn positional(&self, at: usize) -> &str {
        self.positional.get(at).map(String::as_str).unwrap_or_default()
    }

    pub(crate) fn option(&self, name: &str) -> Option<&str> {
        self.options.get(name).map(String::as_str)
    }
}
