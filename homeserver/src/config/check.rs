//! What no single key shows: keys that need each other, files that must be readable, values that are risky.

use super::value::{Listen, RegistrationMode, Secret};
use super::{Loaded, Origin, Problem, Problems};
use crate::tls;
use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// Secrets shorter than this can be guessed.
const MIN_SECRET: usize = 16;

/// Something allowed that the operator should know of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Warning {
    /// The key.
    pub(crate) key: Cow<'static, str>,
    /// What follows from it and what would be better.
    pub(crate) what: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.key, self.what)
    }
}

/// The outcome of a check that found nothing wrong.
#[derive(Debug)]
pub(crate) struct Checked {
    /// What the operator should know.
    pub(crate) warnings: Vec<Warning>,
    /// Whether other servers can reach this one; if not, a warning says why.
    pub(crate) federation: bool,
}

/// Checks what no single key shows.
///
/// # Errors
/// Everything that is wrong.
pub(crate) fn check(loaded: &Loaded) -> Result<Checked, Problems> {
    let mut findings = Findings { loaded, problems: Vec::new(), warnings: Vec::new() };
    findings.certificate();
    let federation = findings.federation();
    findings.registration();
    findings.addresses(federation);
    findings.authorities();
    for beaten in &loaded.beaten {
        let by = beaten.key.as_deref().map_or(Origin::Default, |key| loaded.origin(key));
        findings.warnings.push(Warning {
            key: beaten.key.clone().unwrap_or_default().into(),
            what: format!("{} ({}); it does not count here, because of {by}", beaten.why, beaten.origin),
        });
    }
    findings.turn();
    if !loaded.settings.rate_limits.enabled {
        findings.warn(
            "rate_limits.enabled",
            "all rate limits are off, that on logins included: passwords can be guessed at full speed",
        );
    }
    if !loaded.settings.storage.sync {
        findings.warn("storage.sync", "a loss of power can lose what was already acknowledged");
    }
    let Findings { problems, warnings, .. } = findings;
    if problems.is_empty() {
        Ok(Checked { warnings, federation })
    } else {
        Err(Problems { list: problems, format: loaded.settings.log.format })
    }
}

/// Whether the system refuses to listen on both. An unspecified address is all of its family, and that of IPv6 all of both.
fn covers(one: SocketAddr, other: SocketAddr) -> bool {
    let all_of = |wide: IpAddr, narrow: IpAddr| wide.is_unspecified() && (wide.is_ipv6() || narrow.is_ipv4());
    one.port() == other.port()
        && (one.ip() == other.ip() || all_of(one.ip(), other.ip()) || all_of(other.ip(), one.ip()))
}

struct Findings<'a> {
    loaded: &'a Loaded,
    problems: Vec<Problem>,
    warnings: Vec<Warning>,
}

impl Findings<'_> {
    fn wrong(&mut self, key: &'static str, why: impl Into<String>) {
        let origin = self.loaded.origin(key);
        self.problems.push(Problem { origin, key: Some(key.to_owned()), why: why.into(), is_of_value: true });
    }

    fn warn(&mut self, key: &'static str, what: impl Into<String>) {
        self.warnings.push(Warning { key: key.into(), what: what.into() });
    }

    fn certificate(&mut self) {
        let settings = &self.loaded.settings;
        match (&settings.tls.certificate, &settings.tls.key) {
            (Some(certificate), Some(key)) => {
                if let Err(error) = tls::load(certificate, key) {
                    self.wrong(error.key, error.why);
                }
            }
            (Some(_), None) => {
                self.wrong("tls.key", "missing: tls.certificate is set, so this must name the file of its private key")
            }
            (None, Some(_)) => {
                self.wrong("tls.certificate", "missing: tls.key is set, so this must name the file of its certificate")
            }
            (None, None) if settings.client.tls => {
                self.wrong(
                    "client.tls",
                    "is true, which needs tls.certificate and tls.key; set both, or set this to false",
                );
            }
            (None, None) => {}
        }
    }

    fn federation(&mut self) -> bool {
        let settings = &self.loaded.settings;
        if settings.federation.listen.is_empty() {
            self.warn("federation.listen", "is empty, so federation is off: users of other servers cannot be reached");
            return false;
        }
        if settings.federation.tls && settings.tls.certificate.is_none() {
            self.warn(
                "federation.tls",
                "federation is off, because it needs a certificate: set tls.certificate and tls.key, or federation.tls = false \
                 behind a proxy that speaks TLS",
            );
            return false;
        }
        if settings.federation.allow_private_addresses {
            self.warn(
                "federation.allow_private_addresses",
                "is true: other servers can make this one connect to addresses in your own network",
            );
        }
        let both = settings.client.listen.iter().find(|address| settings.federation.listen.contains(address));
        if let Some(address) =
            both.filter(|address| settings.client.tls != settings.federation.tls && !address.0.ends_with(":0"))
        {
            let why = format!(
                "{} is an address of clients too, but client.tls and federation.tls differ; make them equal or the addresses different",
                address.0
            );
            self.wrong("federation.listen", why);
        }
        true
    }

    fn registration(&mut self) {
        let registration = &self.loaded.settings.registration;
        match registration.mode {
            RegistrationMode::Token if registration.token.is_none() => {
                self.wrong(
                    "registration.token",
                    "missing: registration.mode is \"token\", so this must hold the token to ask for",
                );
            }
            RegistrationMode::Open => {
                self.warn("registration.mode", "is \"open\": anyone who reaches this server can make accounts on it");
            }
            RegistrationMode::Token | RegistrationMode::Closed => {}
        }
        let secrets = [
            ("registration.token", &registration.token),
            ("registration.shared_secret", &registration.shared_secret),
            ("turn.shared_secret", &self.loaded.settings.turn.shared_secret),
        ];
        for (key, secret) in secrets {
            if let Some(Secret(text)) = secret
                && text.chars().count() < MIN_SECRET
            {
                self.warn(key, format!("is shorter than {MIN_SECRET} characters and can be guessed"));
            }
        }
    }

    fn addresses(&mut self, federation: bool) {
        let settings = &self.loaded.settings;
        if settings.client.listen.is_empty() {
            self.wrong(
                "client.listen",
                "is empty, so no client could sign in; name at least one address, such as \"127.0.0.1:8008\"",
            );
        }
        for (key, addresses) in [
            ("client.listen", &settings.client.listen),
            ("federation.listen", &settings.federation.listen),
            ("metrics.listen", &settings.metrics.listen),
        ] {
            for address in addresses {
                if let Err(error) = address.addresses() {
                    self.wrong(
                        key,
                        format!("{} names no address of this machine: {error}", super::value::quote(&address.0)),
                    );
                }
            }
        }
        self.overlaps(federation);
    }

    /// Addresses that cannot be listened on twice.
    fn overlaps(&mut self, federation: bool) {
        let settings = &self.loaded.settings;
        let mut taken: Vec<(&'static str, &Listen, SocketAddr)> = Vec::new();
        let mut found = Vec::new();
        let peers: &[Listen] = if federation { &settings.federation.listen } else { &[] };
        for (key, list) in [
            ("client.listen", &settings.client.listen[..]),
            ("federation.listen", peers),
            ("metrics.listen", &settings.metrics.listen[..]),
        ] {
            for listen in list {
                let own = listen.addresses().unwrap_or_default();
                // Port 0 is a different port each time.
                let clash = own.iter().filter(|own| own.port() != 0).find_map(|own| {
                    taken.iter().find(|(other, theirs, address)| {
                        // Written alike, one address serves clients and other servers.
                        let serves_both = key == "federation.listen" && *other == "client.listen" && *theirs == listen;
                        !serves_both && covers(*own, *address)
                    })
                });
                if let Some((other, theirs, _)) = clash {
                    let quote = |listen: &Listen| super::value::quote(&listen.0);
                    found.push((key, match (*other == key, *theirs == listen) {
                        (true, true) => format!("{} stands here twice; once is enough", quote(listen)),
                        (true, false) => format!(
                            "{} and {} are the same to the system; one of them is enough",
                            quote(theirs),
                            quote(listen)
                        ),
                        (false, _) if key == "federation.listen" => format!(
                            "{} is the same to the system as {} in client.listen; write it alike in both, so that it serves both, or \
                             choose another port",
                            quote(listen),
                            quote(theirs)
                        ),
                        (false, _) => format!(
                            "{} is the same to the system as {} in {other}; choose another port",
                            quote(listen),
                            quote(theirs)
                        ),
                    }));
                }
                taken.extend(own.into_iter().map(|address| (key, listen, address)));
            }
        }
        for (key, why) in found {
            self.wrong(key, why);
        }
    }

    fn authorities(&mut self) {
        for path in &self.loaded.settings.federation.extra_ca_files {
            if let Err(why) = tls::check_authorities(path) {
                self.wrong("federation.extra_ca_files", why);
            }
        }
    }

    fn turn(&mut self) {
        let turn = &self.loaded.settings.turn;
        if !turn.uris.is_empty() && turn.shared_secret.is_none() {
            self.wrong(
                "turn.shared_secret",
                "missing: turn.uris is set, so this must hold the secret shared with those servers",
            );
        }
        if turn.ttl_seconds == 0 {
            self.wrong("turn.ttl_seconds", "is 0, so credentials would be born expired; 3600 is usual");
        }
    }
}
