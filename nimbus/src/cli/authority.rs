//! Whom client commands trust.

use std::{fs, path::Path};

use nimbus_config::ClientConfig;

use crate::exit::{Exit, Failure};

/// What to do when no connection to this address, with its scheme if it was given an authority, comes about.
pub(super) fn advice(address: &str) -> &'static str {
    if nimbus_dial::asks_for_tls(address, false) {
        "; is a server running there that speaks TLS, and is its authority the one that --ca-file or NIMBUS_CLIENT_CA_FILE names?"
    } else {
        "; is a server running there? `nimbus dev` starts one (begin the address with https:// if it speaks TLS)"
    }
}

/// The authority of the flag, or of the setting, as PEM; `None`: those that this machine trusts.
pub(super) fn authority(flag: Option<&Path>, client: &ClientConfig) -> Result<Option<String>, Failure> {
    let Some(path) = flag.or(client.ca_file.as_deref()) else { return Ok(None) };
    let from = if flag.is_some() { "--ca-file" } else { "NIMBUS_CLIENT_CA_FILE" };
    let wrong = |why: &str| Failure::new(Exit::Usage, format!("{from}: {} {why}", path.display()));
    let pem = fs::read_to_string(path).map_err(|error| wrong(&format!("cannot be read: {error}")))?;
    // A file without one would trust nobody, and every connection would fail without saying why.
    nimbus_dial::check_authority(pem.as_bytes()).map_err(|error| wrong(&error.to_string()))?;
    Ok(Some(pem))
}
