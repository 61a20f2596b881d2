//! What the program is built of. Tests of the whole workspace turn features on that no server may have.
// A build is looked at from outside, in the real world.
#![allow(clippy::unwrap_used, clippy::panic, clippy::disallowed_methods)]

use std::path::Path;
use std::process::Command;

/// The feature with which tests turn single rules and checks off.
const SWITCHES: &str = "rule-switches";

/// The features that `cargo build -p PACKAGE` turns on, in all packages it compiles.
fn features(package: &str, edges: &str) -> String {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap());
    cargo.args(["tree", "--locked", "--offline", "--package", package, "--edges", edges, "--prefix", "none"]);
    let output = cargo.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_server_has_no_switches_to_turn_rules_off() {
    let tests = features("simulation", "features,normal,build,dev");
    assert!(tests.contains(&format!("services feature \"{SWITCHES}\"")), "the tests of simulation have them:\n{tests}");
    let server = features("homeserver", "features,normal,build");
    assert!(server.lines().any(|line| line.starts_with("state-res v")), "{server}");
    assert!(!server.contains(SWITCHES), "{server}");
}
