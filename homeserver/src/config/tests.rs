#![allow(clippy::unwrap_used, clippy::panic)]
use super::*;

fn from_text(text: &str) -> Result<Loaded, Problems> {
    let mut loading = Loading::default();
    file::read_text(Path::new("causeway.toml"), text, &mut loading);
    loading.finish()
}

fn from_environment(variables: &[(&str, &str)]) -> Result<Loaded, Problems> {
    let environment = variables.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    load(&Sources { file: None, environment, flags: Vec::new() })
}

fn wrong(result: Result<Loaded, Problems>) -> String {
    result.err().unwrap().to_string()
}

#[test]
fn the_sample_changes_nothing_as_it_stands() {
    let loaded = from_text(&sample()).unwrap();
    assert!(loaded.origins.is_empty());
}

#[test]
fn the_sample_with_every_line_switched_on_is_right_and_shows_the_defaults() {
    let on: String = sample()
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(rest) if !rest.starts_with(' ') => format!("{rest}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    let loaded = from_text(&on).unwrap();
    let defaults = Settings::default();
    for key in keys::SECTIONS.iter().flat_map(|section| section.keys) {
        assert!(loaded.origins.contains_key(key.path), "{} is not in the sample", key.path);
        if let Some(shown) = defaults.shown(key.path).filter(|shown| shown != "[]") {
            assert_eq!(loaded.settings.shown(key.path).unwrap(), shown, "{}", key.path);
        }
    }
}

#[test]
fn every_key_is_read_from_the_environment() {
    for key in keys::SECTIONS.iter().flat_map(|section| section.keys) {
        let name = format!("CAUSEWAY_{}", key.path.replace('.', "__").to_ascii_uppercase());
        let list = key.example.strip_prefix("[").and_then(|rest| rest.strip_suffix("]")).unwrap_or(key.example);
        let text = list.replace('"', "");
        let loaded = from_environment(&[(&name, &text)]).unwrap();
        assert_eq!(loaded.origin(key.path), Origin::Variable(name));
    }
}

#[test]
fn an_unknown_key_names_the_nearest() {
    let message = wrong(from_text("[registration]\nmod = \"open\"\n"));
    assert!(message.contains("registration.mod: there is no such key; did you mean registration.mode?"), "{message}");
    assert!(message.contains("causeway.toml, line 2"), "{message}");
    let message = wrong(from_text("[registratoin]\nmode = \"open\"\n"));
    assert!(message.contains("did you mean [registration]?"), "{message}");
    let message = wrong(from_environment(&[("CAUSEWAY_CLIENT__LISTENS", "x")]));
    assert!(message.contains("did you mean client.listen?"), "{message}");
    assert!(message.contains("CAUSEWAY_CLIENT__LISTENS"), "{message}");
    let message = wrong(from_environment(&[("CAUSEWAY_REGISTRATION_MODE", "open")]));
    assert!(message.contains("did you mean CAUSEWAY_REGISTRATION__MODE?"), "{message}");
    from_environment(&[("CAUSEWAY_BIN", "theirs")]).unwrap();
}

#[test]
fn wrong_values_say_what_would_be_right() {
    let message = wrong(from_text("[registration]\nmode = \"opne\"\n"));
    assert!(message.contains("one of \"open\", \"token\", \"closed\" (did you mean \"open\"?)"), "{message}");
    let message = wrong(from_text("[client]\ntls = \"yes\"\nlisten = 8008\n"));
    assert!(message.contains("client.tls: \"yes\" is wrong here: this must be true or false"), "{message}");
    assert!(message.contains("client.listen: the number 8008 is wrong here"), "{message}");
    for count in ["0", "-1", "\"5\"", "99999999999"] {
        let message = wrong(from_text(&format!("[rate_limits]\njoin_burst = {count}\n")));
        assert!(message.contains("rate_limits.join_burst") && message.contains("a whole number from 1"), "{message}");
    }
    let message = wrong(from_text("[turn]\nttl_seconds = -1\n"));
    assert!(message.contains("a whole number"), "{message}");
    let message = wrong(from_environment(&[("CAUSEWAY_LOG__LEVEL", "louder=than=this")]));
    assert!(message.contains("error, warn, info, debug or trace"), "{message}");
}

#[test]
fn a_secret_of_the_wrong_type_is_not_repeated() {
    let message = wrong(from_text("[registration]\nshared_secret = 123456789\n"));
    assert!(message.contains("registration.shared_secret"), "{message}");
    assert!(!message.contains("123456789"), "{message}");
}

#[test]
fn what_is_not_toml_says_where() {
    let message = wrong(from_text("[client]\nlisten = \n"));
    assert!(message.contains("causeway.toml, line 2: this is not TOML"), "{message}");
    let message = wrong(from_text("listen = \"127.0.0.1:8008\"\n"));
    assert!(message.contains("keys stand in sections"), "{message}");
}

#[test]
fn an_empty_variable_unsets_an_optional_key() {
    let loaded = from_environment(&[("CAUSEWAY_REGISTRATION__TOKEN", "")]).unwrap();
    assert!(loaded.settings.registration.token.is_none());
}

#[test]
fn keys_that_need_each_other_are_checked() {
    let check_text = |text: &str| check(&from_text(text).unwrap());
    for (text, expected) in [
        ("[registration]\nmode = \"token\"\n", "registration.token: missing"),
        ("[client]\ntls = true\n", "client.tls: is true, which needs tls.certificate"),
        ("[client]\nlisten = []\n", "client.listen: is empty"),
        ("[tls]\ncertificate = \"/nonexistent.pem\"\n", "tls.key: missing"),
        (
            "[tls]\ncertificate = \"/nonexistent.pem\"\nkey = \"/nonexistent.key\"\n",
            "tls.certificate: /nonexistent.pem cannot be read",
        ),
        (
            "[federation]\nextra_ca_files = \"/nonexistent.pem\"\n",
            "federation.extra_ca_files: /nonexistent.pem cannot be read",
        ),
        ("[turn]\nuris = [\"turn:turn.example.org\"]\n", "turn.shared_secret: missing"),
    ] {
        let message = check_text(text).err().unwrap().to_string();
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn risks_are_warned_of_and_not_refused() {
    let loaded = from_text("[registration]\nmode = \"token\"\ntoken = \"short\"\nshared_secret = \"short\"\n").unwrap();
    let checked = check(&loaded).unwrap();
    let keys: Vec<_> = checked.warnings.iter().map(|warning| &*warning.key).collect();
    assert!(keys.contains(&"registration.token") && keys.contains(&"registration.shared_secret"), "{keys:?}");
    assert!(keys.contains(&"federation.tls"), "federation without a certificate is off and says so");
    assert!(!checked.federation);
    assert!(check(&from_text("[federation]\ntls = false\n").unwrap()).unwrap().federation);
}
