//! The command line: configuration, its sources and their order, what is said about a wrong one.
// A process is tested from outside, in the real world.
#![allow(clippy::unwrap_used, clippy::panic, clippy::disallowed_methods)]

mod common;

use common::{causeway, finish, run, stderr, stdout};
use std::path::PathBuf;
use tempfile::TempDir;

fn file(folder: &TempDir, text: &str) -> PathBuf {
    let path = folder.path().join("causeway.toml");
    std::fs::write(&path, text).unwrap();
    path
}

#[test]
fn the_sample_passes_the_check() {
    let folder = TempDir::new().unwrap();
    let sample = run(&["config", "sample"]);
    assert!(sample.status.success());
    let path = file(&folder, &stdout(&sample));
    let check = run(&["config", "check", "--config", path.to_str().unwrap()]);
    assert!(check.status.success(), "{}", stderr(&check));
    assert!(stdout(&check).starts_with("The configuration is right."));
}

#[test]
fn flags_beat_the_environment_which_beats_the_file() {
    let folder = TempDir::new().unwrap();
    let path = file(
        &folder,
        "[server]\nname = \"file.example\"\n[client]\nlisten = \"127.0.0.1:1001\"\n[log]\nlevel = \"warn\"\n[federation]\nlisten = \"127.0.0.1:1002\"\n",
    );
    let check = finish(
        causeway()
            .args(["config", "check", "--client-listen", "127.0.0.1:3001", "--config"])
            .arg(&path)
            .env("CAUSEWAY_CLIENT__LISTEN", "127.0.0.1:2001")
            .env("CAUSEWAY_FEDERATION__LISTEN", "127.0.0.1:2002,127.0.0.1:2003"),
    );
    let text = stdout(&check);
    assert!(text.contains("client.listen = [\"127.0.0.1:3001\"] (flag --client-listen)"), "{text}");
    assert!(
        text.contains(
            "federation.listen = [\"127.0.0.1:2002\", \"127.0.0.1:2003\"] (environment variable CAUSEWAY_FEDERATION__LISTEN)"
        ),
        "{text}"
    );
    assert!(text.contains(&format!("log.level = \"warn\" ({}, line 6)", path.display())), "{text}");
    assert!(text.contains("server.name = \"file.example\""), "{text}");
}

#[test]
fn a_wrong_value_that_another_beats_does_not_count() {
    let folder = TempDir::new().unwrap();
    let path = file(&folder, "[log]\nlevel = 7\n");
    let check = finish(
        causeway()
            .args(["config", "check", "--client-listen", "127.0.0.1:3001", "--config"])
            .arg(&path)
            .env("CAUSEWAY_CLIENT__LISTEN", "nonsense")
            .env("CAUSEWAY_LOG__LEVEL", "warn"),
    );
    assert!(check.status.success(), "{}", stderr(&check));
    let text = stdout(&check);
    assert!(text.contains("client.listen = [\"127.0.0.1:3001\"] (flag --client-listen)"), "{text}");
    for beaten in ["client.listen: \"nonsense\" is wrong here", "log.level: "] {
        assert!(text.lines().any(|line| line.contains(beaten) && line.contains("does not count here")), "{text}");
    }
    // What nothing beats counts, and so does what beats.
    let flag = run(&["config", "check", "--client-listen", "nonsense"]);
    assert_eq!(flag.status.code(), Some(2));
    let variable = finish(causeway().args(["config", "check"]).env("CAUSEWAY_CLIENT__LISTEN", "nonsense"));
    assert_eq!(variable.status.code(), Some(2));
}

#[test]
fn an_address_that_is_listened_on_twice_is_refused() {
    let same = [
        ("127.0.0.1:8008,127.0.0.1:8008", "127.0.0.1:1", "", "client.listen: \"127.0.0.1:8008\" stands here twice"),
        ("127.0.0.1:8008,0.0.0.0:8008", "127.0.0.1:1", "", "client.listen: "),
        ("127.0.0.1:8008", "127.0.0.1:1,[::1]:1,[::1]:1", "", "federation.listen: \"[::1]:1\" stands here twice"),
        ("127.0.0.1:8008", "[::]:8008", "", "federation.listen: \"[::]:8008\" is the same to the system as"),
        ("localhost:8008", "127.0.0.1:8008", "", "write it alike in both"),
        ("127.0.0.1:8008", "127.0.0.1:1", "127.0.0.1:8008", "metrics.listen: \"127.0.0.1:8008\" is the same"),
    ];
    let different = [
        ("127.0.0.1:8008,[::1]:8008,127.0.0.1:8009", "127.0.0.1:8008", ""),
        ("127.0.0.1:0,127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"),
    ];
    let folder = TempDir::new().unwrap();
    let with = |command: &[&str], client: &str, federation: &str, metrics: &str| {
        let mut program = causeway();
        program.args(command).env("CAUSEWAY_FEDERATION__TLS", "false").env("CAUSEWAY_CLIENT__LISTEN", client);
        program.env("CAUSEWAY_FEDERATION__LISTEN", federation).env("CAUSEWAY_METRICS__LISTEN", metrics);
        finish(program.env("CAUSEWAY_SERVER__DATA_DIR", folder.path().join("data")))
    };
    for (client, federation, metrics, says) in same {
        for command in [&["config", "check"][..], &["serve"]] {
            let output = with(command, client, federation, metrics);
            assert_eq!(output.status.code(), Some(2), "{client} {federation} {metrics}: {}", stderr(&output));
            assert!(stderr(&output).contains(says), "{says}\nis not in\n{}", stderr(&output));
        }
    }
    assert!(!folder.path().join("data").exists());
    for (client, federation, metrics) in different {
        let output = with(&["config", "check"], client, federation, metrics);
        assert!(output.status.success(), "{client} {federation} {metrics}: {}", stderr(&output));
    }
}

#[test]
fn whatever_keeps_the_server_from_starting_is_json_where_the_log_is() {
    let folder = TempDir::new().unwrap();
    let lines = |command: &mut std::process::Command| -> Vec<serde_json::Value> {
        let output = finish(command.env("CAUSEWAY_LOG__FORMAT", "json"));
        assert!(!output.status.success());
        let text = stderr(&output);
        assert!(!text.is_empty());
        text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {text}"))).collect()
    };
    let wrong = lines(causeway().args(["serve", "--client-listen", "nonsense", "--federation-listen", "nonsense"]));
    assert_eq!(wrong.len(), 2, "{wrong:?}");
    assert_eq!(wrong[0]["level"], "ERROR");
    assert_eq!(wrong[0]["key"], "client.listen");
    assert!(wrong[0]["message"].as_str().unwrap().contains("client.listen: \"nonsense\""), "{wrong:?}");
    // Found only while it starts.
    std::fs::write(folder.path().join("server-name"), "test.example\n").unwrap();
    let name = lines(
        causeway()
            .args(["serve", "--server-name", "other.example", "--client-listen", "127.0.0.1:0", "--data-dir"])
            .arg(folder.path()),
    );
    let said = |line: &serde_json::Value| line["message"].as_str().unwrap().contains("other.example is not the name");
    assert!(name.iter().any(said), "{name:?}");
}

#[test]
fn the_environment_can_name_the_file() {
    let folder = TempDir::new().unwrap();
    let path = file(&folder, "[server]\nname = \"file.example\"\n");
    let check = finish(causeway().args(["config", "check"]).env("CAUSEWAY_CONFIG", &path));
    assert!(stdout(&check).contains("server.name = \"file.example\""));
}

#[test]
fn the_fixed_keys_are_read_from_the_environment() {
    let folder = TempDir::new().unwrap();
    let key = rcgen::generate_simple_self_signed(vec!["test.example".to_owned()]).unwrap();
    let certificate_file = folder.path().join("certificate.pem");
    let key_file = folder.path().join("key.pem");
    std::fs::write(&certificate_file, key.cert.pem()).unwrap();
    std::fs::write(&key_file, key.signing_key.serialize_pem()).unwrap();
    let check = finish(
        causeway()
            .args(["config", "check"])
            .env("CAUSEWAY_REGISTRATION__MODE", "token")
            .env("CAUSEWAY_REGISTRATION__TOKEN", "short")
            .env("CAUSEWAY_REGISTRATION__SHARED_SECRET", "short")
            .env("CAUSEWAY_CLIENT__LISTEN", "127.0.0.1:0")
            .env("CAUSEWAY_CLIENT__TLS", "true")
            .env("CAUSEWAY_FEDERATION__LISTEN", "127.0.0.1:0")
            .env("CAUSEWAY_FEDERATION__TLS", "true")
            .env("CAUSEWAY_TLS__CERTIFICATE", &certificate_file)
            .env("CAUSEWAY_TLS__KEY", &key_file)
            .env("CAUSEWAY_FEDERATION__EXTRA_CA_FILES", &certificate_file)
            .env("CAUSEWAY_FEDERATION__ALLOW_PRIVATE_ADDRESSES", "true")
            .env("CAUSEWAY_RATE_LIMITS__ENABLED", "false")
            .env("CAUSEWAY_LOG__LEVEL", "debug")
            .env("CAUSEWAY_LOG__FORMAT", "json"),
    );
    assert!(check.status.success(), "{}", stderr(&check));
    let text = stdout(&check);
    assert!(text.contains("registration.token: is shorter"), "a short secret warns and is not refused: {text}");
    assert!(!text.contains("\"short\""), "secrets are not shown: {text}");
    assert!(text.contains("extra_ca_files = [\""), "one path is a list of one: {text}");
}

#[test]
fn a_wrong_configuration_names_the_key_the_reason_and_what_would_be_right() {
    let folder = TempDir::new().unwrap();
    let path = file(&folder, "[registration]\nmode = \"opne\"\n[client]\nlisen = \"x\"\n");
    for command in ["check", "serve"] {
        let mut program = causeway();
        if command == "check" {
            program.arg("config");
        }
        program
            .args([command, "--data-dir"])
            .arg(folder.path().join("data"))
            .arg("--config")
            .arg(&path)
            .env("CAUSEWAY_FEDERATION__TLS", "maybe");
        let output = finish(&mut program);
        assert_eq!(output.status.code(), Some(2));
        let text = stderr(&output);
        for expected in [
            "registration.mode: \"opne\" is wrong here: this must be one of \"open\", \"token\", \"closed\" (did you mean \"open\"?)",
            "causeway.toml, line 2",
            "client.lisen: there is no such key; did you mean client.listen?",
            "federation.tls: \"maybe\" is wrong here: this must be true or false (environment variable CAUSEWAY_FEDERATION__TLS)",
        ] {
            assert!(text.contains(expected), "{expected}\nis not in\n{text}");
        }
        assert!(!folder.path().join("data").exists(), "a wrong configuration changes nothing");
    }
}

#[test]
fn wrong_flags_are_said_as_keys_are() {
    let output = run(&["config", "check", "--server-name", "https://example.org"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("server.name: \"https://example.org\" is wrong here"), "{}", stderr(&output));
    assert!(stderr(&output).contains("(flag --server-name)"));
}

#[test]
fn a_file_that_is_not_there_or_not_toml_is_said_so() {
    let output = run(&["config", "check", "--config", "/nonexistent/causeway.toml"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("/nonexistent/causeway.toml: this file cannot be read"), "{}", stderr(&output));
    let folder = TempDir::new().unwrap();
    let path = file(&folder, "[client]\nlisten = [\n");
    let output = run(&["config", "check", "--config", path.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("this is not TOML"), "{}", stderr(&output));
}

#[test]
fn a_key_that_does_not_fit_its_certificate_is_refused() {
    let folder = TempDir::new().unwrap();
    let one = rcgen::generate_simple_self_signed(vec!["test.example".to_owned()]).unwrap();
    let other = rcgen::generate_simple_self_signed(vec!["test.example".to_owned()]).unwrap();
    let certificate_file = folder.path().join("certificate.pem");
    let key_file = folder.path().join("key.pem");
    std::fs::write(&certificate_file, one.cert.pem()).unwrap();
    std::fs::write(&key_file, other.signing_key.serialize_pem()).unwrap();
    let output = finish(
        causeway()
            .args(["config", "check"])
            .env("CAUSEWAY_TLS__CERTIFICATE", &certificate_file)
            .env("CAUSEWAY_TLS__KEY", &key_file),
    );
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("tls.key:") && stderr(&output).contains("does not fit"), "{}", stderr(&output));
}
