//! Which certificates outbound connections trust.

use std::{io, path::Path, sync::Arc};

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, pem::PemObject};

use super::{StartError, TlsRoots};

/// ALPN names, the preferred one first.
const ALPN: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// TLS as outbound connections use it: the system's roots (if wanted) and these files'.
pub(crate) fn client_config(
    roots: TlsRoots,
    extra_ca_files: &[impl AsRef<Path>],
) -> Result<Arc<ClientConfig>, StartError> {
    let mut store = RootCertStore::empty();
    if roots == TlsRoots::System {
        let found = rustls_native_certs::load_native_certs();
        for error in found.errors {
            tracing::warn!(%error, "cannot read some of the system's certificate authorities");
        }
        let (_, _unusable) = store.add_parsable_certificates(found.certs);
        if store.is_empty() && extra_ca_files.is_empty() {
            tracing::warn!(
                "the system has no certificate authorities, so that no other server can be trusted; install the package \
                 ca-certificates, or set federation.extra_ca_files"
            );
        }
    }
    for path in extra_ca_files {
        add_file(&mut store, path.as_ref())
            .map_err(|error| StartError::CaFile { path: path.as_ref().to_owned(), error })?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| StartError::Tls(error.to_string()))?
        .with_root_certificates(store)
        .with_no_client_auth();
    config.alpn_protocols = ALPN.map(<[u8]>::to_vec).into();
    Ok(Arc::new(config))
}

fn add_file(store: &mut RootCertStore, path: &Path) -> io::Result<()> {
    // Through `fs`, whose error says what the operating system had against it.
    let pem = std::fs::read(path)?;
    let before = store.len();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        store.add(certificate.map_err(io::Error::other)?).map_err(io::Error::other)?;
    }
    if store.len() == before {
        return Err(io::Error::other("there is no certificate in it"));
    }
    Ok(())
}
