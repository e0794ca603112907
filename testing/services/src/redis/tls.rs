//! The files of a Redis that speaks TLS.

use std::path::Path;

use crate::{Certificates, Result};

/// What clients have to trust.
pub(super) const AUTHORITY: &str = "ca.pem";
pub(super) const CERTIFICATE: &str = "redis.pem";
pub(super) const KEY: &str = "redis-key.pem";

/// Writes an authority's certificate, and one that it signed with its key.
pub(super) fn make(dir: &Path) -> Result<()> {
    Certificates::make()?.write(dir, [AUTHORITY, CERTIFICATE, KEY])
}
