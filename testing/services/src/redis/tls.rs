//! Certificates for a Redis that speaks TLS: an authority of its own, made anew for each.

use std::{fs, path::Path};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};

use crate::{Error, Result};

/// What clients have to trust.
pub(super) const AUTHORITY: &str = "ca.pem";
pub(super) const CERTIFICATE: &str = "redis.pem";
pub(super) const KEY: &str = "redis-key.pem";

/// Writes an authority's certificate, and one that it signed for 127.0.0.1 and localhost with its key.
pub(super) fn make(dir: &Path) -> Result<()> {
    let files = certificates().map_err(|error| failed(dir)(std::io::Error::other(error)))?;
    for (name, text) in [AUTHORITY, CERTIFICATE, KEY].into_iter().zip(files) {
        fs::write(dir.join(name), text).map_err(failed(dir))?;
    }
    Ok(())
}

fn failed(dir: &Path) -> impl FnOnce(std::io::Error) -> Error {
    Error::io(format!("no certificates could be made in {}", dir.display()))
}

fn certificates() -> std::result::Result<[String; 3], rcgen::Error> {
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    authority.distinguished_name.push(DnType::CommonName, "an authority for tests");
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;
    let key = KeyPair::generate()?;
    let names = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
    let certificate = CertificateParams::new(names)?.signed_by(&key, &authority)?;
    Ok([authority.pem(), certificate.pem(), key.serialize_pem()])
}
