//! What the program says of itself.

use crate::support::run;

#[test]
fn help() {
    let overview = String::from_utf8(run(&["--help"], b"").stdout).unwrap();
    for command in ["resolve", "auth", "event", "graph"] {
        assert!(overview.contains(&format!("causeway-state {command} ")));
        let told = run(&["help", command], b"");
        assert_eq!(told.status.code(), Some(0));
        assert_eq!(run(&[command, "--help"], b"").stdout, told.stdout);
        assert_eq!(run(&[command, "FILE", "-h"], b"").stdout, told.stdout);
        let text = String::from_utf8(told.stdout).unwrap();
        assert!(text.starts_with(&format!("usage: causeway-state {command} ")), "{text}");
    }
    let version = String::from_utf8(run(&["--version"], b"").stdout).unwrap();
    assert_eq!(version.trim(), format!("causeway-state {}", env!("CARGO_PKG_VERSION")));
}
