//! The hosts file.

use std::{
    fs, io,
    net::IpAddr,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use parking_lot::Mutex;

/// How long an answer from the file may be cached, and how often the file is looked at again.
pub(crate) const RELOAD_INTERVAL: Duration = Duration::from_secs(5);

/// The most of the file that is read.
const MAX_FILE_BYTES: u64 = 16 * 1024 * 1024;

/// The hosts file, read again when it changes.
pub(crate) struct HostsFile {
    path: PathBuf,
    read: Mutex<Option<Read>>,
}

struct Read {
    looked: Instant,
    /// Modification time and length: a rewrite within the clock's grain usually changes the length.
    stamp: Option<(SystemTime, u64)>,
    lines: Arc<[(IpAddr, Box<[String]>)]>,
}

impl HostsFile {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, read: Mutex::new(None) }
    }

    /// The addresses that the file gives this name, in the file's order. Case does not matter.
    pub(crate) fn lookup(&self, name: &str) -> Vec<IpAddr> {
        let lines = self.lines();
        let mut found = Vec::new();
        for (address, names) in lines.iter() {
            if !found.contains(address) && names.iter().any(|known| known.eq_ignore_ascii_case(name)) {
                found.push(*address);
            }
        }
        found
    }

    fn lines(&self) -> Arc<[(IpAddr, Box<[String]>)]> {
        let mut read = self.read.lock();
        if let Some(read) = read.as_ref().filter(|read| read.looked.elapsed() < RELOAD_INTERVAL) {
            return read.lines.clone();
        }
        let stamp = fs::metadata(&self.path).and_then(|file| Ok((file.modified()?, file.len()))).ok();
        if let Some(read) = read.as_mut().filter(|read| read.stamp == stamp) {
            read.looked = Instant::now();
            return read.lines.clone();
        }
        let lines = match read_bounded(&self.path, stamp) {
            Ok(text) => parse(&text),
            Err(error) => {
                tracing::warn!(path = %self.path.display(), %error, "cannot read the hosts file; going on without");
                Arc::default()
            }
        };
        *read = Some(Read { looked: Instant::now(), stamp, lines: lines.clone() });
        lines
    }
}

fn read_bounded(path: &std::path::Path, stamp: Option<(SystemTime, u64)>) -> io::Result<String> {
    match stamp {
        // A machine without the file is in order.
        None => Ok(String::new()),
        Some((_, length)) if length > MAX_FILE_BYTES => {
            Err(io::Error::other(format!("it has {length} bytes, and at most {MAX_FILE_BYTES} are read")))
        }
        Some(_) => Ok(String::from_utf8_lossy(&fs::read(path)?).into_owned()),
    }
}

fn parse(text: &str) -> Arc<[(IpAddr, Box<[String]>)]> {
    text.lines()
        .filter_map(|line| {
            let mut words = line.split('#').next()?.split_whitespace();
            // `fe80::1%lo0`: the zone is of no use to a connection that is made by address alone.
            let address = words.next()?.split('%').next()?.parse().ok()?;
            let names: Box<[String]> = words.map(|name| name.trim_end_matches('.').to_owned()).collect();
            (!names.is_empty()).then_some((address, names))
        })
        .collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn comments_case_and_several_addresses() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("hosts");
        fs::write(&path, "# 10.0.0.9 alpha.example\n10.0.0.1\tAlpha.example alpha # beta.example\n::1%lo alpha.EXAMPLE.\nnot-an-address alpha\n10.0.0.2 alpha\n").unwrap();
        let hosts = HostsFile::new(path);
        let addresses = |name: &str| hosts.lookup(name).iter().map(IpAddr::to_string).collect::<Vec<_>>();
        assert_eq!(addresses("alpha.example"), ["10.0.0.1", "::1"]);
        assert_eq!(addresses("ALPHA"), ["10.0.0.1", "10.0.0.2"]);
        assert!(addresses("beta.example").is_empty());
    }

    #[test]
    fn a_missing_file_is_an_empty_one() {
        assert!(HostsFile::new("/nonexistent/hosts".into()).lookup("localhost").is_empty());
    }
}
