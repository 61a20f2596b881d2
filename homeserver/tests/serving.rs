//! The running server: what it answers beside the protocol, and how it ends.
// A process is tested from outside, in the real world.
#![allow(clippy::unwrap_used, clippy::panic, clippy::disallowed_methods)]

mod common;

use common::{Server, ask, causeway, exchange, finish, stderr};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::{Value, json};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long the server may take to end (SIGTERM to exit).
const END_WITHIN: Duration = Duration::from_secs(10);

#[test]
fn health_versions_and_unknown_routes_are_answered() {
    let folder = TempDir::new().unwrap();
    let server = Server::start(folder.path(), |_| {});
    let health = server.get("/health");
    assert_eq!((health.status, health.text.trim()), (200, "OK"));
    let versions = server.get("/_matrix/client/versions");
    assert_eq!(versions.status, 200);
    assert!(versions.json()["versions"].as_array().unwrap().contains(&json!("v1.1")));
    let unknown = server.get("/_matrix/client/v3/nonsense");
    assert_eq!((unknown.status, &unknown.json()["errcode"]), (404, &json!("M_UNRECOGNIZED")));
    assert_eq!(unknown.header("access-control-allow-origin"), Some("*"));
    assert_eq!(server.get("/metrics").status, 404, "figures are not for clients");
}

#[test]
fn request_ids_are_taken_over_or_made() {
    let folder = TempDir::new().unwrap();
    let mut server = Server::start(folder.path(), |command| {
        command.env("CAUSEWAY_LOG__LEVEL", "debug");
    });
    let given = server.ask("GET", "/health", &[("X-Request-Id", "from-the-proxy.1")], &Value::Null);
    assert_eq!(given.header("x-request-id"), Some("from-the-proxy.1"));
    let line =
        server.line("the request", |line| line["message"] == "answered" && line["span"]["id"] == "from-the-proxy.1");
    assert_eq!(line["span"]["endpoint"], "/health");
    let forged = server.ask("GET", "/health", &[("X-Request-Id", "two words {}")], &Value::Null);
    let made = forged.header("x-request-id").unwrap().to_owned();
    assert!(!made.contains(' '), "{made}");
    assert_ne!(server.get("/health").header("x-request-id").unwrap(), made);
}

#[test]
fn figures_count_requests_by_route() {
    let folder = TempDir::new().unwrap();
    let mut server = Server::start(folder.path(), |command| {
        command.env("CAUSEWAY_METRICS__LISTEN", "127.0.0.1:0");
    });
    let metrics = server.listening("metrics");
    server.get("/_matrix/client/versions");
    server.get("/_matrix/client/v3/rooms/!one:test.example/nonsense");
    server.get("/_matrix/client/v3/rooms/!two:test.example/nonsense");
    let text = ask(metrics, "GET", "/metrics", &[], &Value::Null).text;
    let counted = |text: &str, what: &str| text.lines().any(|line| line.starts_with(what) && line.ends_with(" 1"));
    assert!(
        counted(
            &text,
            "causeway_http_requests_total{method=\"GET\",endpoint=\"/_matrix/client/versions\",status=\"200\"}"
        ),
        "{text}"
    );
    assert!(!text.contains("!one:test.example"), "paths are no labels, or there would be no end of them: {text}");
    assert!(text.contains("causeway_store_position"), "{text}");
    let resident = text.lines().find(|line| line.starts_with("causeway_process_resident_memory_bytes ")).unwrap();
    assert!(resident.rsplit(' ').next().unwrap().parse::<u64>().unwrap() > 1_000_000, "{resident}");
}

/// Alice, who signs up: her access token.
fn sign_up(server: &Server) -> String {
    let create = server.ask(
        "POST",
        "/_matrix/client/v3/register",
        &[],
        &json!({ "username": "alice", "password": "correct horse", "auth": { "type": "m.login.dummy" } }),
    );
    create.json()["access_token"].as_str().unwrap().to_owned()
}

/// A long poll of Alice's that has nothing to say for a minute.
fn long_poll(server: &Server) -> std::thread::JoinHandle<common::Response> {
    let bearer = format!("Bearer {}", sign_up(server));
    let first = server.ask("GET", "/_matrix/client/v3/sync", &[("Authorization", &bearer)], &Value::Null).json();
    let since = first["next_batch"].as_str().unwrap().to_owned();
    let address = server.client;
    std::thread::spawn(move || {
        let path = format!("/_matrix/client/v3/sync?timeout=60000&since={since}");
        ask(address, "GET", &path, &[("Authorization", &bearer)], &Value::Null)
    })
}

#[test]
fn sigterm_ends_it_in_time_and_answers_long_polls() {
    let folder = TempDir::new().unwrap();
    let mut server = Server::start(folder.path(), |command| {
        command.env("CAUSEWAY_REGISTRATION__MODE", "open").env("CAUSEWAY_METRICS__LISTEN", "127.0.0.1:0");
    });
    let metrics = server.listening("metrics");
    let poll = long_poll(&server);
    // Until the poll has arrived.
    let started = Instant::now();
    while !ask(metrics, "GET", "/metrics", &[], &Value::Null).text.contains("causeway_http_requests_in_flight 1") {
        assert!(started.elapsed() < common::GIVE_UP);
        std::thread::sleep(Duration::from_millis(20));
    }
    // A connection that is kept alive, with nothing on it, must not hold up the end either.
    let idle = TcpStream::connect(server.client).unwrap();
    let asked = Instant::now();
    server.signal(libc::SIGTERM);
    let answer = poll.join().unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(answer.json()["next_batch"].is_string());
    let status = server.wait();
    assert!(status.success(), "{status}");
    assert!(asked.elapsed() < END_WITHIN, "{:?}", asked.elapsed());
    drop(idle);
}

#[test]
fn a_restart_keeps_accounts_and_the_name() {
    let folder = TempDir::new().unwrap();
    let mut server = Server::start(folder.path(), |command| {
        command.env("CAUSEWAY_REGISTRATION__MODE", "open");
    });
    sign_up(&server);
    server.signal(libc::SIGINT);
    assert!(server.wait().success());
    let server = Server::start(folder.path(), |_| {});
    assert_eq!(server.login("alice", "correct horse").status, 200);

    let other = finish(
        causeway()
            .args(["serve", "--server-name", "other.example", "--client-listen", "127.0.0.1:0", "--data-dir"])
            .arg(folder.path()),
    );
    assert_eq!(other.status.code(), Some(1));
    assert!(stderr(&other).contains("server.name: other.example is not the name"), "{}", stderr(&other));
}

#[test]
fn two_servers_cannot_share_a_data_directory_or_a_port() {
    let folder = TempDir::new().unwrap();
    let server = Server::start(folder.path(), |_| {});
    let second = finish(
        causeway()
            .args(["serve", "--server-name", "test.example", "--client-listen", "127.0.0.1:0", "--data-dir"])
            .arg(folder.path()),
    );
    assert_eq!(second.status.code(), Some(1));
    assert!(stderr(&second).contains("another process has the data in"), "{}", stderr(&second));
    let elsewhere = TempDir::new().unwrap();
    let third = finish(
        causeway()
            .args([
                "serve",
                "--server-name",
                "test.example",
                "--client-listen",
                &server.client.to_string(),
                "--data-dir",
            ])
            .arg(elsewhere.path()),
    );
    assert_eq!(third.status.code(), Some(1));
    assert!(stderr(&third).contains("client.listen: cannot listen on"), "{}", stderr(&third));
    assert_eq!(server.get("/health").status, 200);
}

/// Lets no file of the program grow beyond so many bytes: what a full disk does, as far as the program can see.
fn limit_files(command: &mut std::process::Command, bytes: u64) {
    use std::os::unix::process::CommandExt as _;
    let limit = move || {
        let limit = libc::rlimit { rlim_cur: bytes, rlim_max: bytes };
        // SAFETY: both are safe to call between fork and exec, and the pointer is to a live value.
        let done = unsafe {
            // Or the signal would end it in mid-write.
            libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
            libc::setrlimit(libc::RLIMIT_FSIZE, &limit)
        };
        if done == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
    };
    // SAFETY: the closure allocates nothing and takes no lock.
    unsafe { command.pre_exec(limit) };
}

#[test]
fn a_server_whose_disk_is_full_ends_and_goes_on_when_there_is_room() {
    let folder = TempDir::new().unwrap();
    let made = finish(
        causeway()
            .args([
                "user",
                "create",
                "alice",
                "--password",
                "correct horse",
                "--server-name",
                "test.example",
                "--data-dir",
            ])
            .arg(folder.path()),
    );
    assert!(made.status.success(), "{}", stderr(&made));
    let mut server = Server::start(folder.path(), |command| limit_files(command, 400_000));
    let login = server.login("alice", "correct horse").json();
    let token = format!("Bearer {}", login["access_token"].as_str().unwrap());
    let headers = [("Authorization", token.as_str())];
    let room = server.ask("POST", "/_matrix/client/v3/createRoom", &headers, &json!({})).json();
    let room = room["room_id"].as_str().unwrap();
    let body = "x".repeat(30_000);
    let mut acknowledged = Vec::new();
    for nth in 0..100 {
        // Until it no longer answers, or answers no.
        let send = std::panic::AssertUnwindSafe(|| {
            let path = format!("/_matrix/client/v3/rooms/{room}/send/m.room.message/{nth}");
            server.ask("PUT", &path, &headers, &json!({ "msgtype": "m.text", "body": body }))
        });
        let sent = std::panic::catch_unwind(send);
        match sent {
            Ok(sent) if sent.status == 200 => acknowledged.push(sent.json()["event_id"].as_str().unwrap().to_owned()),
            _ => break,
        }
    }
    assert!(acknowledged.len() > 3 && acknowledged.len() < 100, "{} messages", acknowledged.len());
    let said = server.line("why it ends", |line| {
        line["message"]
            .as_str()
            .is_some_and(|text| text.starts_with("the server ends because a write to its store failed"))
    });
    assert!(said["message"].as_str().unwrap().contains(&folder.path().display().to_string()), "{said}");
    assert_eq!(server.wait().code(), Some(74));

    // With room on the disk again.
    let server = Server::start(folder.path(), |_| {});
    assert_eq!(server.get("/health").status, 200);
    for event in &acknowledged {
        let path = format!("/_matrix/client/v3/rooms/{room}/event/{event}");
        assert_eq!(server.ask("GET", &path, &headers, &Value::Null).status, 200, "{event} was acknowledged");
    }
    let path = format!("/_matrix/client/v3/rooms/{room}/send/m.room.message/after");
    let after = server.ask("PUT", &path, &headers, &json!({ "msgtype": "m.text", "body": "after" }));
    assert_eq!(after.status, 200, "{after:?}");
}

/// A TLS client that trusts one certificate.
fn over_tls(address: std::net::SocketAddr, trusted: &str, path: &str) -> Result<common::Response, std::io::Error> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(trusted.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("test.example").unwrap();
    let mut connection = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
    let mut stream = TcpStream::connect(address)?;
    connection.complete_io(&mut stream)?;
    Ok(exchange(rustls::StreamOwned::new(connection, stream), "GET", path, &[], &Value::Null))
}

#[test]
fn federation_speaks_tls_and_clients_do_not() {
    let folder = TempDir::new().unwrap();
    let key = rcgen::generate_simple_self_signed(vec!["test.example".to_owned()]).unwrap();
    let (certificate_file, key_file) = (folder.path().join("certificate.pem"), folder.path().join("key.pem"));
    std::fs::write(&certificate_file, key.cert.pem()).unwrap();
    std::fs::write(&key_file, key.signing_key.serialize_pem()).unwrap();
    let mut server = Server::start(&folder.path().join("data"), |command| {
        command
            .args(["--federation-listen", "127.0.0.1:0"])
            .env("CAUSEWAY_TLS__CERTIFICATE", &certificate_file)
            .env("CAUSEWAY_TLS__KEY", &key_file);
    });
    let federation = server.listening("federation");
    let published = over_tls(federation, &key.cert.pem(), "/_matrix/key/v2/server").unwrap();
    assert_eq!((published.status, &published.json()["server_name"]), (200, &json!("test.example")));
    let unknown = over_tls(federation, &key.cert.pem(), "/_matrix/federation/v1/nonsense").unwrap();
    assert_eq!((unknown.status, &unknown.json()["errcode"]), (404, &json!("M_UNRECOGNIZED")));
    let client = over_tls(federation, &key.cert.pem(), "/_matrix/client/versions").unwrap();
    assert_eq!(client.status, 404, "clients are not served where other servers are");
    assert_eq!(server.get("/_matrix/client/versions").status, 200, "plain HTTP, even where there is a certificate");
}

#[test]
fn behind_a_proxy_one_address_can_serve_clients_and_other_servers() {
    let folder = TempDir::new().unwrap();
    // A port that was free a moment ago: both have to name the same one.
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let server = Server::start(folder.path(), |command| {
        command.env("CAUSEWAY_FEDERATION__TLS", "false").env("CAUSEWAY_FEDERATION__LISTEN", &address);
        command.env("CAUSEWAY_CLIENT__LISTEN", &address);
        let arguments: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
        let environment: Vec<_> = command.get_envs().filter_map(|(n, v)| Some((n.to_owned(), v?.to_owned()))).collect();
        // The flag would beat the environment.
        let mut without = causeway();
        without.args(arguments.iter().filter(|argument| *argument != "--client-listen" && *argument != "127.0.0.1:0"));
        without.envs(environment).stderr(std::process::Stdio::piped());
        *command = without;
    });
    assert_eq!(server.client.to_string(), address);
    assert_eq!(server.get("/_matrix/client/versions").status, 200);
    assert_eq!(server.get("/_matrix/key/v2/server").json()["server_name"], "test.example");
    assert_eq!(server.get("/_matrix/federation/v1/version").json()["server"]["name"], "Causeway");
}

#[test]
fn well_known_documents_follow_the_configuration() {
    let folder = TempDir::new().unwrap();
    let server = Server::start(folder.path(), |command| {
        command
            .env("CAUSEWAY_CLIENT__PUBLIC_URL", "https://matrix.test.example")
            .env("CAUSEWAY_FEDERATION__PUBLIC_ADDRESS", "matrix.test.example:443");
    });
    let client = server.get("/.well-known/matrix/client");
    assert_eq!(client.json()["m.homeserver"]["base_url"], "https://matrix.test.example");
    assert_eq!(client.header("access-control-allow-origin"), Some("*"));
    assert_eq!(server.get("/.well-known/matrix/server").json()["m.server"], "matrix.test.example:443");
}

#[test]
fn without_any_configuration_it_starts_and_tells_the_first_steps() {
    let folder = TempDir::new().unwrap();
    let mut child = causeway()
        .args(["serve", "--client-listen", "127.0.0.1:0"])
        .env("XDG_DATA_HOME", folder.path())
        .env("CAUSEWAY_SERVER__DATA_DIR", folder.path().join("causeway"))
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let mut text = String::new();
    let mut reader = std::io::BufReader::new(child.stdout.take().unwrap());
    while !text.contains("Ctrl-C") {
        assert_ne!(std::io::BufRead::read_line(&mut reader, &mut text).unwrap(), 0, "it ended: {text}");
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(text.contains("clients     http://127.0.0.1:"), "{text}");
    assert!(text.contains("federation  off"), "{text}");
    assert!(text.contains("user create --data-dir"), "{text}");
}
