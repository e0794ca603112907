//! A listener with TLS and SASL, beside the plain one: certificates, and who may come in.
//!
//! The authority and its certificate are made anew for each broker, so that a test can bring another one, which this broker's
//! is not signed by. The password is kept as Kafka keeps it (SCRAM): in the directory that the broker begins with.

use std::path::{Path, PathBuf};

use super::write;
use crate::{Certificates, Result};

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
    let Certificates { authority, certificate, key } = Certificates::make()?;
    write(&self::authority(home), &authority)?;
    write(&keys(home), &format!("{key}{certificate}"))
}
