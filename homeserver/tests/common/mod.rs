//! What the tests of the program share: running it, waiting for it, and speaking plain HTTP to it.
#![allow(dead_code, missing_docs, unreachable_pub, clippy::unwrap_used, clippy::panic)]

use serde_json::Value;
use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// How long anything may take before the test gives up. Not a requirement: only a hang ends here.
pub const GIVE_UP: Duration = Duration::from_secs(60);

/// The program, with an environment that nothing outside the test has a say in.
pub fn causeway() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_causeway"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("CAUSEWAY_") {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::null());
    command
}

/// Runs the program to its end.
pub fn run(arguments: &[&str]) -> Output {
    finish(causeway().args(arguments))
}

/// Runs a command to its end; kills it, and fails, if it goes on for too long.
pub fn finish(command: &mut Command) -> Output {
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let pid = libc::pid_t::try_from(child.id()).unwrap();
    let (sender, receiver) = channel();
    std::thread::spawn(move || sender.send(child.wait_with_output()));
    match receiver.recv_timeout(GIVE_UP) {
        Ok(output) => output.unwrap(),
        Err(_) => {
            // SAFETY: the thread still waits for this child, so that its id is still its own.
            unsafe { libc::kill(pid, libc::SIGKILL) };
            panic!("the program did not end: {command:?}");
        }
    }
}

pub fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// A running server. Killed when dropped.
pub struct Server {
    child: Child,
    lines: Receiver<Value>,
    /// Where clients come in.
    pub client: SocketAddr,
}

impl Server {
    /// Starts a server with a data directory, on free ports, and waits until it listens.
    pub fn start(data_dir: &Path, configure: impl FnOnce(&mut Command)) -> Self {
        let mut command = causeway();
        command
            .args(["serve", "--server-name", "test.example", "--client-listen", "127.0.0.1:0", "--data-dir"])
            .arg(data_dir)
            .env("CAUSEWAY_LOG__FORMAT", "json")
            .env("CAUSEWAY_RATE_LIMITS__ENABLED", "false")
            .stderr(Stdio::piped());
        configure(&mut command);
        let mut child = command.spawn().unwrap();
        let reader = BufReader::new(child.stderr.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in reader.lines().map_while(Result::ok) {
                let value = serde_json::from_str(&line).unwrap_or(Value::String(line));
                if sender.send(value).is_err() {
                    return;
                }
            }
        });
        let mut server = Self { child, lines, client: SocketAddr::from(([127, 0, 0, 1], 0)) };
        server.client = server.listening("client");
        server
    }

    /// Waits for the line in the log that says where listeners of a kind listen.
    pub fn listening(&mut self, kind: &str) -> SocketAddr {
        let line =
            self.line(&format!("listening for {kind}"), |line| line["message"] == "listening" && line["kind"] == kind);
        line["address"].as_str().unwrap().parse().unwrap()
    }

    /// Waits for a line in the log.
    pub fn line(&mut self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let started = Instant::now();
        let mut seen = Vec::new();
        while let Some(left) = GIVE_UP.checked_sub(started.elapsed()) {
            match self.lines.recv_timeout(left) {
                Ok(line) if wanted(&line) => return line,
                Ok(line) => seen.push(line),
                Err(_) => break,
            }
        }
        panic!("no line in the log for: {what}; seen: {seen:#?}");
    }

    /// Sends a signal.
    pub fn signal(&self, signal: libc::c_int) {
        let pid = libc::pid_t::try_from(self.child.id()).unwrap();
        // SAFETY: signals a child that has not been waited for yet, so that its id is still its own.
        assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
    }

    /// Waits for the end of the process.
    pub fn wait(&mut self) -> ExitStatus {
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(started.elapsed() < GIVE_UP, "the server does not end");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Whether the process still runs.
    pub fn runs(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Asks the clients' listener.
    pub fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &Value) -> Response {
        ask(self.client, method, path, headers, body)
    }

    pub fn get(&self, path: &str) -> Response {
        self.ask("GET", path, &[], &Value::Null)
    }

    /// Signs in and answers the access token.
    pub fn login(&self, user: &str, password: &str) -> Response {
        let body = serde_json::json!({
            "type": "m.login.password",
            "identifier": { "type": "m.id.user", "user": user },
            "password": password,
        });
        self.ask("POST", "/_matrix/client/v3/login", &[], &body)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An HTTP response.
#[derive(Debug)]
pub struct Response {
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub text: String,
}

impl Response {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }
}

/// Sends one request on a connection of its own.
pub fn ask(address: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)], body: &Value) -> Response {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(GIVE_UP)).unwrap();
    exchange(stream, method, path, headers, body)
}

/// Sends one request and reads the response to the end of the stream.
pub fn exchange(
    mut stream: impl std::io::Read + std::io::Write,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &Value,
) -> Response {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let mut request = format!(
        "{method} {path} HTTP/1.1\r\nHost: test.example\r\nConnection: close\r\nContent-Length: {}\r\n",
        body.len()
    );
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str("\r\n");
    request.push_str(&body);
    stream.write_all(request.as_bytes()).unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    parse(&bytes)
}

fn parse(bytes: &[u8]) -> Response {
    let text = String::from_utf8_lossy(bytes).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no HTTP response: {text:?}"));
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let chunked = headers.iter().any(|(name, value)| name == "transfer-encoding" && value == "chunked");
    let text = if chunked { unchunk(body) } else { body.to_owned() };
    Response { status, headers, text }
}

fn unchunk(mut body: &str) -> String {
    let mut text = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        if size == 0 {
            break;
        }
        text.push_str(&rest[..size]);
        body = &rest[size + 2..];
    }
    text
}
