//! Where a client connects to, and who may vouch for whoever is there.
//!
//! Nothing here connects: the endpoint that comes out of it does, with the time limits and windows that its user sets.

use std::error::Error;

use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem::PemObject as _},
};
use tonic::{
    codegen::http::{
        Uri,
        uri::{InvalidUri, Scheme},
    },
    transport::{Certificate, ClientTlsConfig, Endpoint},
};

/// Why nobody could be trusted with an authority. To be put behind what it is called.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct BadAuthority(String);

/// Why nobody could connect with this. Correct what it names; a retry does not help.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// It cannot be read.
    #[error("address `{address}` is no URL such as http://127.0.0.1:50051: {why}")]
    NoUrl {
        /// As it was given.
        address: String,
        /// What is wrong with it.
        why: InvalidUri,
    },
    /// Another scheme than `http` and `https`, or no host.
    #[error("address `{address}` is no address of a server: write http://host:port or https://host:port")]
    NoServer {
        /// As it was given.
        address: String,
    },
    /// Whoever names an authority believes that the connection is encrypted.
    #[error("address `{address}` does not ask for TLS, and an authority is given: write https://")]
    Plain {
        /// As it was given.
        address: String,
    },
    /// With it no server would be trusted.
    #[error("the authority {0}")]
    Authority(BadAuthority),
    /// TLS cannot be set up, such as when this machine trusts nobody.
    #[error("TLS to `{address}`: {why} (whom to trust: an authority, or those of this machine)")]
    Tls {
        /// As it was given.
        address: String,
        /// What was said.
        why: String,
    },
}

/// The address with a scheme: that of its own, or `https` if there is an authority, or `http`.
pub fn with_scheme(address: &str, has_authority: bool) -> String {
    let scheme = if has_authority { "https" } else { "http" };
    if address.contains("://") { address.to_owned() } else { format!("{scheme}://{address}") }
}

fn whole(address: &str, has_authority: bool) -> Result<Uri, DialError> {
    let uri: Uri = with_scheme(address, has_authority)
        .parse()
        .map_err(|why| DialError::NoUrl { address: address.to_owned(), why })?;
    let is_known = [&Scheme::HTTP, &Scheme::HTTPS].map(Some).contains(&uri.scheme());
    if is_known && uri.host().is_some_and(|host| !host.is_empty()) {
        Ok(uri)
    } else {
        Err(DialError::NoServer { address: address.to_owned() })
    }
}

fn is_encrypted(uri: &Uri) -> bool {
    uri.scheme() == Some(&Scheme::HTTPS)
}

/// Whether who connects to this address speaks TLS. An address that cannot be read does not.
pub fn asks_for_tls(address: &str, has_authority: bool) -> bool {
    whole(address, has_authority).is_ok_and(|uri| is_encrypted(&uri))
}

/// What to connect to. `authority`, as PEM: who may vouch for the server, in place of those that this machine trusts.
///
/// Copies of one endpoint share its TLS sessions, so that who connects again with a copy resumes one; two endpoints share nothing.
///
/// # Errors
/// [`DialError`].
pub fn endpoint(address: &str, authority: Option<&[u8]>) -> Result<Endpoint, DialError> {
    let uri = whole(address, authority.is_some())?;
    let tls = match authority {
        Some(_) if !is_encrypted(&uri) => return Err(DialError::Plain { address: address.to_owned() }),
        None if !is_encrypted(&uri) => return Ok(Endpoint::from(uri)),
        Some(pem) => {
            check_authority(pem).map_err(DialError::Authority)?;
            ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem))
        }
        None => ClientTlsConfig::new().with_enabled_roots(),
    };
    let wrong = |error| DialError::Tls { address: address.to_owned(), why: root_cause(&error) };
    Endpoint::from(uri).tls_config(tls).map_err(wrong)
}

/// What to hand to a connector of one's own. What that encrypts is its own concern: to the transport it is a connection without
/// TLS, also when the address says `https`.
///
/// # Errors
/// [`DialError`].
pub fn endpoint_of_connector(address: &str) -> Result<Endpoint, DialError> {
    let mut parts = whole(address, false)?.into_parts();
    parts.scheme = Some(Scheme::HTTP);
    // It was one with another scheme, so it is one with this.
    let uri = Uri::from_parts(parts).map_err(|_| DialError::NoServer { address: address.to_owned() })?;
    Ok(Endpoint::from(uri))
}

/// Whether somebody would be trusted with this PEM: there is a certificate in it that can be read. Others may be in a form that is not
/// understood, as in bundles of a system.
///
/// # Errors
/// [`BadAuthority`].
pub fn check_authority(pem: &[u8]) -> Result<(), BadAuthority> {
    let certificates = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    let certificates = certificates.map_err(|error| BadAuthority(format!("is no PEM: {error}")))?;
    if certificates.is_empty() {
        return Err(BadAuthority("has no certificate in it (PEM is expected)".to_owned()));
    }
    match RootCertStore::empty().add_parsable_certificates(certificates) {
        (0, _) => Err(BadAuthority("has no certificate in it that can be read".to_owned())),
        _ => Ok(()),
    }
}

/// What an error goes back to, which is what says something.
pub fn root_cause(error: &(dyn Error + 'static)) -> String {
    let mut root = error;
    while let Some(source) = root.source() {
        root = source;
    }
    root.to_string()
}

#[cfg(test)]
mod tests {
    use nimbus_services::Certificates;

    use super::*;

    #[test]
    fn an_address_without_a_scheme_is_encrypted_if_an_authority_is_named() {
        let authority = Certificates::make().unwrap().authority;
        for (address, with, scheme) in [
            ("localhost:50051", false, "http"),
            ("localhost:50051", true, "https"),
            ("http://localhost:50051", false, "http"),
            ("https://localhost:50051", true, "https"),
            ("HTTPS://localhost:50051", true, "https"),
        ] {
            let endpoint = endpoint(address, with.then_some(authority.as_bytes())).unwrap();
            assert_eq!(endpoint.uri().scheme_str(), Some(scheme), "{address}");
            assert_eq!(asks_for_tls(address, with), scheme == "https", "{address}");
        }
        // Whom this machine trusts, if it trusts anybody, is for a server to show.
        assert!(asks_for_tls("https://localhost:50051", false) && !asks_for_tls("no url", false));
    }

    #[test]
    fn one_certificate_that_can_be_read_is_enough() {
        let made = Certificates::make().unwrap().authority;
        let bundle = format!("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n{made}");
        endpoint("localhost:1", Some(bundle.as_bytes())).unwrap();
    }

    #[test]
    fn to_a_connector_no_address_asks_for_tls() {
        for address in ["name:1", "http://name:1", "https://name:1"] {
            assert_eq!(endpoint_of_connector(address).unwrap().uri().to_string(), "http://name:1/", "{address}");
        }
    }

    #[test]
    fn what_nobody_could_connect_with_is_refused_by_what_is_wrong() {
        let made = Certificates::make().unwrap();
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        for (address, authority, says) in [
            ("http://local host", None, "is no URL such as http://127.0.0.1:50051"),
            ("ftp://localhost:1", None, "write http://host:port or https://host:port"),
            ("http://localhost:1", Some(made.authority.as_str()), "write https://"),
            ("localhost:1", Some(""), "the authority has no certificate in it"),
            ("localhost:1", Some(made.key.as_str()), "the authority has no certificate in it"),
            ("localhost:1", Some("-----BEGIN CERTIFICATE-----\n"), "the authority is no PEM"),
            ("localhost:1", Some(broken), "the authority has no certificate in it that can be read"),
        ] {
            let told = endpoint(address, authority.map(str::as_bytes)).unwrap_err().to_string();
            assert!(told.contains(says), "{says}: {told}");
        }
    }
}
