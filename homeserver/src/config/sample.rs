//! The sample file, from the documentation of the keys.

use super::Settings;
use super::keys::SECTIONS;
use std::fmt::Write as _;

/// A configuration file in which every key is explained and commented out: defaults where there are any, examples
/// otherwise. As it stands it changes nothing.
pub(crate) fn sample() -> String {
    let defaults = Settings::default();
    let mut text = String::from(
        "# Configuration of Causeway, made by `causeway config sample`; `causeway config check` tells what is wrong with\n\
         # one. Every key may be left out, and every key can be given in the environment instead, as\n\
         # CAUSEWAY_SECTION__KEY (lists separated by commas). Flags beat the environment, which beats this file.\n",
    );
    for section in SECTIONS {
        text.push('\n');
        comment(&mut text, section.doc);
        // Writing into a String cannot fail.
        let _ = writeln!(text, "[{}]", section.name);
        for key in section.keys {
            text.push('\n');
            comment(&mut text, key.doc);
            let shown = defaults.shown(key.path).filter(|shown| shown != "[]");
            let value = shown.as_deref().unwrap_or(key.example);
            let _ = writeln!(text, "#{} = {value}", key.name);
        }
    }
    text
}

fn comment(text: &mut String, lines: &[&str]) {
    for line in lines {
        text.push('#');
        text.push_str(line);
        text.push('\n');
    }
}
