//! Certificates: reading them, serving them, and reading them again when they change.

use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};
use std::time::{Duration, SystemTime};

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// What is wrong with a certificate or its key.
#[derive(Debug)]
pub(crate) struct CertificateError {
    /// The configuration key of the file at fault.
    pub(crate) key: &'static str,
    /// Why.
    pub(crate) why: String,
}

impl fmt::Display for CertificateError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.key, self.why)
    }
}

impl std::error::Error for CertificateError {}

/// Reads a certificate chain and its private key, and checks that they belong together.
///
/// # Errors
/// Which of the two files is unreadable, holds nothing of use, or does not fit the other.
pub(crate) fn load(certificate: &Path, key: &Path) -> Result<CertifiedKey, CertificateError> {
    let chain = certificates(certificate).map_err(|why| CertificateError { key: "tls.certificate", why })?;
    let wrong_key = |why: String| CertificateError { key: "tls.key", why };
    let private =
        std::fs::read(key).map_err(|error| wrong_key(format!("{} cannot be read: {error}", key.display())))?;
    let private = PrivateKeyDer::from_pem_slice(&private)
        .map_err(|error| wrong_key(format!("{} holds no private key in PEM: {error}", key.display())))?;
    CertifiedKey::from_der(chain, private, &provider())
        .map_err(|error| wrong_key(format!("{} does not fit {}: {error}", key.display(), certificate.display())))
}

/// Checks that a file holds certificates of authorities.
///
/// # Errors
/// Why it does not.
pub(crate) fn check_authorities(path: &Path) -> Result<(), String> {
    certificates(path).map(|_| ())
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let bytes = std::fs::read(path).map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
    let found: Vec<_> = CertificateDer::pem_slice_iter(&bytes)
        .collect::<Result<_, _>>()
        .map_err(|error| format!("{} is not PEM: {error}", path.display()))?;
    if found.is_empty() {
        return Err(format!("{} holds no certificate in PEM", path.display()));
    }
    Ok(found)
}

fn provider() -> CryptoProvider {
    rustls::crypto::ring::default_provider()
}

/// A certificate that is read again when its files change.
#[derive(Debug)]
pub(crate) struct Certificate {
    files: (PathBuf, PathBuf),
    current: RwLock<Arc<CertifiedKey>>,
    seen: RwLock<[Option<SystemTime>; 2]>,
}

impl Certificate {
    /// Reads it for the first time.
    ///
    /// # Errors
    /// As [`load`].
    pub(crate) fn open(certificate: &Path, key: &Path) -> Result<Arc<Self>, CertificateError> {
        let files = (certificate.to_owned(), key.to_owned());
        let seen = RwLock::new(changed(&files));
        let current = RwLock::new(Arc::new(load(certificate, key)?));
        Ok(Arc::new(Self { files, current, seen }))
    }

    /// What a listener needs to serve it.
    ///
    /// # Errors
    /// If the library refuses its own defaults.
    pub(crate) fn server_config(self: &Arc<Self>) -> Result<Arc<ServerConfig>, rustls::Error> {
        let mut config = ServerConfig::builder_with_provider(Arc::new(provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(self) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }

    /// Looks for changes for ever. A change that cannot be used is logged and the old certificate stays.
    pub(crate) async fn watch(self: Arc<Self>, world: net::World) {
        loop {
            world.sleep(LOOK_EVERY).await;
            self.look();
        }
    }

    fn look(&self) {
        let now = changed(&self.files);
        match self.seen.write() {
            Ok(mut seen) if *seen != now => *seen = now,
            _ => return,
        }
        match load(&self.files.0, &self.files.1) {
            Ok(fresh) => {
                if let Ok(mut current) = self.current.write() {
                    *current = Arc::new(fresh);
                    tracing::info!("the TLS certificate changed and is in use");
                }
            }
            Err(error) => tracing::error!(%error, "the TLS certificate changed but cannot be used; the old one stays"),
        }
    }
}

fn changed(files: &(PathBuf, PathBuf)) -> [Option<SystemTime>; 2] {
    let of = |path: &Path| std::fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
    [of(&files.0), of(&files.1)]
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.current.read().ok().map(|current| Arc::clone(&current))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn write(folder: &Path) -> CertificateDer<'static> {
        let made = rcgen::generate_simple_self_signed(vec!["test.example".to_owned()]).unwrap();
        std::fs::write(folder.join("certificate.pem"), made.cert.pem()).unwrap();
        std::fs::write(folder.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
        made.cert.der().clone()
    }

    #[test]
    fn a_changed_certificate_is_taken_and_a_broken_one_is_not() {
        let folder = tempfile::TempDir::new().unwrap();
        let first = write(folder.path());
        let (certificate_file, key_file) = (folder.path().join("certificate.pem"), folder.path().join("key.pem"));
        let certificate = Certificate::open(&certificate_file, &key_file).unwrap();
        let served = || certificate.current.read().unwrap().cert[0].clone();
        assert_eq!(served(), first);
        // Whatever the file system's clock makes of writes in a row.
        let modified_at = |seconds: u64| {
            let file = std::fs::File::options().write(true).open(&key_file).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)).unwrap();
        };
        std::fs::write(&certificate_file, "half a certi").unwrap();
        modified_at(1);
        certificate.look();
        assert_eq!(served(), first);
        let second = write(folder.path());
        modified_at(2);
        certificate.look();
        assert_eq!(served(), second);
    }
}
