//! Certificates for tests: an authority of its own, made anew each time, and what it signed for this machine.

use std::{fs, path::Path};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};

use crate::{Error, Result};

/// An authority, and a server's certificate that it signed for 127.0.0.1 and localhost; all as PEM.
#[derive(Clone)]
pub struct Certificates {
    /// The authority's certificate: what clients have to trust.
    pub authority: String,
    /// The server's certificate.
    pub certificate: String,
    /// The server's private key.
    pub key: String,
}

impl std::fmt::Debug for Certificates {
    /// Without the key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Certificates")
    }
}

impl Certificates {
    /// Makes them. No two calls know each other's authority.
    ///
    /// # Errors
    /// [`Error::Answer`]: no keys could be made.
    pub fn make() -> Result<Self> {
        made().map_err(|error| Error::Answer { name: "rcgen", answer: error.to_string() })
    }

    /// Writes them into a directory, as files of these names, in this order.
    ///
    /// # Errors
    /// [`Error::Io`]: a file could not be written.
    pub fn write(&self, dir: &Path, [authority, certificate, key]: [&str; 3]) -> Result<()> {
        for (name, text) in [(authority, &self.authority), (certificate, &self.certificate), (key, &self.key)] {
            let path = dir.join(name);
            fs::write(&path, text).map_err(Error::io(format!("cannot write {}", path.display())))?;
        }
        Ok(())
    }
}

fn made() -> std::result::Result<Certificates, rcgen::Error> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.distinguished_name.push(DnType::CommonName, "an authority for tests");
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(["127.0.0.1", "localhost"].map(str::to_owned))?;
    params.distinguished_name.push(DnType::CommonName, "a server for tests");
    let certificate = params.signed_by(&key, &authority)?.pem();
    Ok(Certificates { authority: authority.pem(), certificate, key: key.serialize_pem() })
}
