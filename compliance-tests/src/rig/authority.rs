//! A certificate authority that exists for one run.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};

/// Signs certificates for the servers of one network; its own is in a file that they are told to trust.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate_file: PathBuf,
}

impl Authority {
    /// Makes a new authority and writes its certificate to `DIR/authority.pem`.
    pub fn new(dir: &Path) -> Result<Self> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(Vec::<String>::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(DnType::CommonName, "Test authority of one run");
        let certificate_file = dir.join("authority.pem");
        fs::write(&certificate_file, params.self_signed(&key)?.pem()).context("writing the authority's certificate")?;
        Ok(Self { issuer: Issuer::new(params, key), certificate_file })
    }

    /// The file with the authority's certificate, in PEM.
    pub fn certificate_file(&self) -> &Path {
        &self.certificate_file
    }

    /// Writes a certificate for `host` (a name or an address) and its key into `dir`; answers both files.
    pub fn issue(&self, host: &str, dir: &Path) -> Result<(PathBuf, PathBuf)> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(vec![host.to_owned()])?;
        params.distinguished_name.push(DnType::CommonName, host);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&key, &self.issuer)?;
        let files = (dir.join("tls.crt"), dir.join("tls.key"));
        fs::write(&files.0, certificate.pem())?;
        fs::write(&files.1, key.serialize_pem())?;
        Ok(files)
    }
}
