//! A listener with TLS and SASL, beside the plain one: certificates, and who may come in.
//!
//! The authority and its certificate are made anew for each broker, so that a test can bring another one, which this broker's
//! is not signed by. The password is kept as Kafka keeps it (SCRAM): in the directory that the broker begins with.

use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};

use super::write;
use crate::{Error, Result};

/// What SASL mechanism the listener offers.
pub(super) const MECHANISM: &str = "SCRAM-SHA-256";

/// Who may come in.
#[derive(Clone, Debug)]
pub(super) struct User {
    pub(super) name: String,
    pub(super) password: String,
}

impl User {
    /// As the storage tool takes it.
    pub(super) fn scram(&self) -> String {
        let Self { name, password } = self;
        format!("{MECHANISM}=[name={name},password={password}]")
    }
}

/// The certificate of the authority, which clients are to trust.
pub(super) fn authority(home: &Path) -> PathBuf {
    home.join("ca.pem")
}

/// The broker's key, and its certificate.
pub(super) fn keys(home: &Path) -> PathBuf {
    home.join("broker.pem")
}

/// Makes an authority and a broker's certificate, unless they are there.
pub(super) fn certify(home: &Path) -> Result<()> {
    if keys(home).exists() {
        return Ok(());
    }
    let failed = |error: rcgen::Error| Error::Answer { name: "rcgen", answer: error.to_string() };
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.distinguished_name.push(DnType::CommonName, "nimbus-services authority");
    let authority = KeyPair::generate().and_then(|key| CertifiedIssuer::self_signed(params, key)).map_err(failed)?;
    let key = KeyPair::generate().map_err(failed)?;
    let names = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
    let mut params = CertificateParams::new(names).map_err(failed)?;
    params.distinguished_name.push(DnType::CommonName, "nimbus-services broker");
    let certificate = params.signed_by(&key, &authority).map_err(failed)?;
    write(&self::authority(home), &authority.pem())?;
    write(&keys(home), &format!("{}{}", key.serialize_pem(), certificate.pem()))
}
