//! `causeway-state`: what this crate makes of rooms' data, as JSON, for other programs and for looking into things.

use std::{io::Write as _, process::ExitCode};

mod arguments;
mod auth;
mod event;
mod failure;
mod graph;
mod help;
mod input;
mod keys;
mod output;
mod place;
mod resolve;
mod room;
mod standing;

use self::{
    arguments::{Arguments, Usage},
    failure::Failure,
};

/// The answer could not be written.
const EXIT_NO_OUTPUT: u8 = 1;

/// The command line or the input is broken: there is no answer.
const EXIT_BROKEN: u8 = 2;

fn main() -> ExitCode {
    let arguments: Result<Vec<String>, _> = std::env::args_os().skip(1).map(std::ffi::OsString::into_string).collect();
    let Ok(arguments) = arguments else {
        return broken("an argument is not UTF-8");
    };
    match run(&arguments) {
        Ok(answer) => print(&answer),
        Err(Problem::Usage(Usage { sentence, command })) => {
            let usage = command.map_or(help::USAGE, help::usage_of);
            broken(&format!("{sentence}\n{usage}"))
        }
        Err(Problem::Input(failure)) => broken(&failure.to_string()),
    }
}

/// Why there is no answer.
enum Problem {
    Usage(Usage),
    Input(Failure),
}

impl From<Usage> for Problem {
    fn from(usage: Usage) -> Self {
        Problem::Usage(usage)
    }
}

impl From<Failure> for Problem {
    fn from(failure: Failure) -> Self {
        Problem::Input(failure)
    }
}

/// What goes to standard output.
fn run(arguments: &[String]) -> Result<String, Problem> {
    let Some((command, rest)) = arguments.split_first() else {
        return Err(Usage::new("a command is missing", None).into());
    };
    let command = command.as_str();
    match command {
        "help" | "--help" | "-h" => {
            return match rest.first().map(String::as_str) {
                None => Ok(help::OVERVIEW.to_owned()),
                Some(command) => match help::of(command) {
                    Some(text) => Ok(text.to_owned()),
                    None => Err(unknown(command).into()),
                },
            };
        }
        "--version" | "-V" => return Ok(format!("causeway-state {}", env!("CARGO_PKG_VERSION"))),
        _ => {}
    }
    let Some(text) = help::of(command) else { return Err(unknown(command).into()) };
    if rest.iter().take_while(|argument| *argument != "--").any(|argument| argument == "--help" || argument == "-h") {
        return Ok(text.to_owned());
    }
    match command {
        "resolve" => {
            let arguments = Arguments::read("resolve", rest, &["--keys"], &["FILE"])?;
            Ok(resolve::run(arguments.positional(0), arguments.option("--keys"))?)
        }
        "auth" => {
            let arguments = Arguments::read("auth", rest, &["--keys"], &["FILE", "EVENT_ID"])?;
            Ok(auth::run(arguments.positional(0), arguments.positional(1), arguments.option("--keys"))?)
        }
        "event" => {
            let arguments = Arguments::read("event", rest, &["--room-version"], &["FILE"])?;
            let Some(version) = arguments.option("--room-version") else {
                return Err(Usage::new("`event` needs --room-version", Some("event")).into());
            };
            Ok(event::run(arguments.positional(0), version)?)
        }
        _ => {
            let arguments =
                Arguments::read("graph", rest, &["--keys", "--format", "--out", "--auth", "--max-events"], &["FILE"])?;
            let wanted = graph::Wanted::of(&arguments)?;
            Ok(graph::run(arguments.positional(0), arguments.option("--keys"), &wanted)?)
        }
    }
}

fn unknown(command: &str) -> Usage {
    Usage::new(format!("there is no command `{command}`"), None)
}

/// Prints the answer on standard output.
fn print(answer: &str) -> ExitCode {
    match output::write(answer) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(
                std::io::stderr(),
                "causeway-state: the answer could not be written to standard output: {error}"
            );
            ExitCode::from(EXIT_NO_OUTPUT)
        }
    }
}

fn broken(sentence: &str) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "causeway-state: {sentence}");
    ExitCode::from(EXIT_BROKEN)
}
