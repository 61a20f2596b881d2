//! What the server tells whoever starts it, in plain words on standard output.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

/// What has come up.
pub(crate) struct Started<'a> {
    /// The server's name.
    pub(crate) server_name: &'a str,
    /// Where everything is kept.
    pub(crate) data_dir: &'a Path,
    /// Where clients come in, and whether over TLS.
    pub(crate) clients: (&'a [SocketAddr], bool),
    /// Where other servers come in, and whether over TLS; nothing if federation is off.
    pub(crate) federation: Option<(&'a [SocketAddr], bool)>,
    /// Where figures are.
    pub(crate) metrics: &'a [SocketAddr],
    /// Whether there is no account yet.
    pub(crate) empty: bool,
}

impl Started<'_> {
    /// The text.
    pub(crate) fn text(&self) -> String {
        let mut text = format!("Causeway {} serves {}\n", env!("CARGO_PKG_VERSION"), self.server_name);
        // Where it is not on the search path, its name alone would not do.
        let program = std::env::current_exe().map_or_else(|_| "causeway".to_owned(), |path| for_shell(&path));
        let (clients, tls) = self.clients;
        line(&mut text, "clients", &urls(clients, tls));
        match self.federation {
            Some((addresses, tls)) => line(&mut text, "federation", &urls(addresses, tls)),
            None => line(
                &mut text,
                "federation",
                &format!("off (`{program} config sample` tells how to turn it on, at [federation] and [tls])"),
            ),
        }
        if !self.metrics.is_empty() {
            line(&mut text, "metrics", &urls(self.metrics, false));
        }
        line(&mut text, "data", &self.data_dir.display().to_string());
        if self.empty {
            let url = clients.first().map(|address| url(*address, tls)).unwrap_or_default();
            // Writing into a String cannot fail.
            let _ = write!(
                text,
                "\nThere is no account yet. To make the first, in another terminal:\n\n    \
                 {program} user create --data-dir {} alice\n\n\
                 Then sign in with any Matrix client (Element, Cinny, Fractal, …): choose another homeserver, enter {url}\n\
                 and sign in as alice with that password. Ctrl-C stops the server.\n",
                for_shell(self.data_dir)
            );
        }
        text
    }
}

/// A path as it can be pasted into a shell.
fn for_shell(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=:@%".contains(c);
    if text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

fn line(text: &mut String, name: &str, value: &str) {
    let _ = writeln!(text, "  {name:<11} {value}");
}

fn urls(addresses: &[SocketAddr], tls: bool) -> String {
    let urls: Vec<String> = addresses.iter().map(|address| url(*address, tls)).collect();
    urls.join(", ")
}

/// A URL at which this machine reaches an address that it listens on.
fn url(address: SocketAddr, tls: bool) -> String {
    let ip = match address.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    format!("http{}://{}", if tls { "s" } else { "" }, SocketAddr::new(ip, address.port()))
}
