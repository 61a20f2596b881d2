//! Checks README.md and docs/ by machine: every file that they name is there, every command is known with every flag, every
//! configuration key exists, and the sample is the one that the program prints.
// A process is tested from outside, in the real world.
#![allow(clippy::unwrap_used, clippy::panic, clippy::disallowed_methods)]

mod common;

use common::{run, stdout};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Endings of files that are named with a path in the repository wherever they are named.
const OUR_ENDINGS: &[&str] = &[".rs", ".md", ".sh", ".awk", ".py", ".mjs"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Every page, with its path from the root and its text.
fn pages() -> Vec<(PathBuf, String)> {
    let mut pages = vec![PathBuf::from("README.md")];
    let mut folders = vec![PathBuf::from("docs")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(root().join(&folder)).unwrap() {
            let entry = entry.unwrap();
            let path = folder.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                pages.push(path);
            }
        }
    }
    pages.into_iter().map(|path| (path.clone(), std::fs::read_to_string(root().join(path)).unwrap())).collect()
}

/// What stands in code: spans between backticks, and lines of blocks (fenced as shell or nothing, or indented by four).
fn code(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut fence: Option<String> = None;
    for line in text.lines() {
        if let Some(language) = line.trim_start().strip_prefix("```") {
            fence = if fence.is_some() { None } else { Some(language.to_owned()) };
        } else if let Some(language) = &fence {
            if matches!(language.as_str(), "" | "sh" | "shell" | "bash" | "console" | "text") {
                found.push(line.trim().trim_start_matches("$ ").to_owned());
            }
        } else if let Some(line) = line.strip_prefix("    ") {
            found.push(line.trim().to_owned());
        } else {
            found.extend(line.split('`').skip(1).step_by(2).map(str::to_owned));
        }
    }
    found
}

fn is_path(word: &str) -> bool {
    !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || "._-/".contains(c))
}

#[test]
fn files_that_are_named_are_there() {
    let top: BTreeSet<String> = std::fs::read_dir(root())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    let mut checked = 0;
    for (page, text) in pages() {
        let folder = page.parent().unwrap();
        // Links: from the page's folder.
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let target = link.split('#').next().unwrap();
            if target.is_empty() || target.contains("://") {
                continue;
            }
            assert!(
                root().join(folder).join(target).exists(),
                "{}: the link to {target} leads nowhere",
                page.display()
            );
            checked += 1;
        }
        // In code: from the root (or, as in the text of a page about one folder, from the page's folder).
        for span in code(&text) {
            for word in span.split_whitespace().filter(|word| is_path(word)) {
                let word = word.trim_start_matches("./").trim_end_matches(['/', '.']);
                let first = word.split('/').next().unwrap();
                let ours = word.contains('/') && top.contains(first);
                let named = OUR_ENDINGS.iter().any(|ending| word.ends_with(ending) && word.len() > ending.len());
                // What a build makes is not there before it.
                if (ours || named) && first != "target" && !word.starts_with('/') {
                    let there = root().join(word).exists() || root().join(folder).join(word).exists();
                    assert!(there, "{}: there is no file {word}", page.display());
                    checked += 1;
                }
            }
        }
    }
    assert!(checked > 5, "only {checked} names were found: the test no longer sees them");
}

#[test]
fn commands_that_are_named_exist_with_their_flags() {
    let mut checked = 0;
    for (page, text) in pages() {
        for line in code(&text) {
            let words: Vec<&str> =
                line.split_whitespace().take_while(|word| !matches!(*word, ">" | "|" | "&&" | "#")).collect();
            match words.as_slice() {
                ["causeway", arguments @ ..] => check_causeway(&page, arguments),
                ["cargo", arguments @ ..] => check_cargo(&page, arguments),
                [script, ..]
                    if script.starts_with("./") || script.starts_with("scripts/") || script.starts_with(".ci/") =>
                {
                    if script.ends_with('/') {
                        continue;
                    }
                    let path = root().join(script.trim_start_matches("./"));
                    let mode = std::os::unix::fs::PermissionsExt::mode(
                        &std::fs::metadata(&path)
                            .unwrap_or_else(|_| panic!("{}: there is no {script}", page.display()))
                            .permissions(),
                    );
                    let sourced = std::fs::read_to_string(&path).is_ok_and(|text| text.starts_with("# Sourced"));
                    assert!(
                        path.is_dir() || mode & 0o111 != 0 || sourced || !script.ends_with(".sh"),
                        "{script} is not executable"
                    );
                }
                _ => continue,
            }
            checked += 1;
        }
    }
    assert!(checked > 10, "only {checked} commands were found: the test no longer sees them");
}

/// Asks the command for its help and finds every flag in it.
fn check_causeway(page: &Path, arguments: &[&str]) {
    let mut command: Vec<&str> = Vec::new();
    let mut rest = arguments;
    while let [word, after @ ..] = rest {
        if !word.starts_with(|c: char| c.is_ascii_lowercase()) {
            break;
        }
        let mut longer = command.clone();
        longer.push(word);
        longer.push("--help");
        if !run(&longer).status.success() {
            break;
        }
        longer.pop();
        command = longer;
        rest = after;
        // `user create alice`: a leaf takes arguments, and whatever follows is one.
        if !stdout(&run(&[command.clone(), vec!["--help"]].concat())).contains("Commands:") {
            break;
        }
    }
    let shown = format!("causeway {}", arguments.join(" "));
    assert!(
        arguments.is_empty() || arguments[0] == "…" || !command.is_empty() || arguments[0].starts_with('-'),
        "{}: `{shown}`: there is no such command",
        page.display()
    );
    let help = stdout(&run(&[command.clone(), vec!["--help"]].concat()));
    if let (true, Some(word)) = (help.contains("Commands:"), rest.first()) {
        let listed = word.split('|').all(|one| help.contains(&format!("  {one} ")) || one == "…");
        assert!(listed, "{}: `{shown}`: there is no command {word}", page.display());
    }
    for flag in rest.iter().filter(|word| word.starts_with("--")) {
        let flag = flag.split('=').next().unwrap();
        assert!(help.contains(flag), "{}: `{shown}`: there is no flag {flag}", page.display());
    }
}

/// Packages that are named have to exist, and in them the tests, examples, benchmarks and programs.
fn check_cargo(page: &Path, arguments: &[&str]) {
    let shown = format!("{}: cargo {}", page.display(), arguments.join(" "));
    let of_cargo = arguments.split(|word| *word == "--").next().unwrap();
    let named = |flags: &[&str]| {
        let pairs = of_cargo.windows(2).filter(|pair| flags.contains(&pair[0]));
        pairs.map(|pair| pair[1].to_owned()).collect::<Vec<_>>()
    };
    let packages = named(&["-p", "--package"]);
    for package in &packages {
        assert!(folder_of(package).is_some(), "{shown}: there is no package {package}");
    }
    for (flag, folder) in [("--test", "tests"), ("--example", "examples"), ("--bench", "benches"), ("--bin", "src/bin")]
    {
        for name in named(&[flag]) {
            let is_there = packages.iter().filter_map(|package| folder_of(package)).any(|package| {
                let sources = package.join(folder);
                let manifest = std::fs::read_to_string(package.join("Cargo.toml")).unwrap();
                sources.join(format!("{name}.rs")).is_file()
                    || sources.join(&name).join("main.rs").is_file()
                    || manifest.contains(&format!("name = \"{name}\""))
            });
            assert!(is_there, "{shown}: no package that it names has {flag} {name}");
        }
    }
}

/// The folder of a package of the workspace; packages are named after their folders.
fn folder_of(package: &str) -> Option<PathBuf> {
    let folders = [root().join(package), root().join("homeserver").join(package)];
    folders.into_iter().find(|folder| folder.join("Cargo.toml").is_file())
}

/// All keys, from the sample.
fn keys() -> BTreeSet<String> {
    let sample = stdout(&run(&["config", "sample"]));
    let mut section = String::new();
    let mut keys = BTreeSet::new();
    for line in sample.lines() {
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']').to_owned();
        } else if let Some((key, _)) =
            line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')).and_then(|rest| rest.split_once(" = "))
        {
            keys.insert(format!("{section}.{key}"));
        }
    }
    keys
}

#[test]
fn keys_and_variables_that_are_named_exist() {
    let keys = keys();
    let sections: BTreeSet<&str> = keys.iter().filter_map(|key| key.split('.').next()).collect();
    let mut checked = 0;
    for (page, text) in pages() {
        for span in code(&text) {
            for word in span.split(|c: char| !(c.is_ascii_alphanumeric() || "._".contains(c))) {
                let key = match word.strip_prefix("CAUSEWAY_").and_then(|rest| rest.split_once("__")) {
                    Some(("SECTION", "KEY")) => continue,
                    Some((section, key)) => format!("{section}.{key}").to_ascii_lowercase(),
                    None => word.to_owned(),
                };
                let Some((section, name)) = key.split_once('.') else { continue };
                let file = ["toml", "rs", "md", "example", "org"].iter().any(|ending| name.ends_with(ending));
                if !sections.contains(section) || file || name.is_empty() {
                    continue;
                }
                assert!(keys.contains(&key), "{}: there is no key {key}", page.display());
                checked += 1;
            }
        }
    }
    assert!(checked > 10, "only {checked} keys were found: the test no longer sees them");
}

#[test]
fn the_sample_in_the_documentation_is_the_programs() {
    let page = std::fs::read_to_string(root().join("docs/configuration.md")).unwrap();
    let (_, rest) = page.split_once("```toml\n").unwrap();
    let (shown, _) = rest.split_once("```").unwrap();
    assert!(
        shown == stdout(&run(&["config", "sample"])),
        "docs/configuration.md is old: scripts/update-docs.sh writes it anew"
    );
}

#[test]
fn configurations_in_the_documentation_pass_the_check() {
    let folder = tempfile::TempDir::new().unwrap();
    let path = folder.path().join("causeway.toml");
    let mut checked = 0;
    for (page, text) in pages() {
        for block in text.split("```toml\n").skip(1) {
            let block = block.split("```").next().unwrap();
            std::fs::write(&path, block).unwrap();
            let output = run(&["config", "check", "--config", path.to_str().unwrap()]);
            assert!(output.status.success(), "{}: {}", page.display(), common::stderr(&output));
            checked += 1;
        }
    }
    assert!(checked >= 2);
}
