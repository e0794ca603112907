//! TLS towards Redis: whom to trust, and what is wrong when no connection comes about.
//!
//! The library says of a failed connection that it failed. An operator needs to know which setting is wrong, so a port that
//! could not be used is looked at once more, by hand: whether it speaks TLS, and whether its certificate is trusted.

use std::{
    fmt,
    io::{self, Read as _, Write as _},
    net::{TcpStream, ToSocketAddrs as _},
    path::Path,
    sync::Arc,
    time::Duration,
};

use fred::types::config::{Config, TlsConnector};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};

use crate::error::RedisError;

/// Where a TLS server says in clear that it gives up, and where it begins to speak.
const ALERT: u8 = 0x15;
const HANDSHAKE: u8 = 0x16;

/// How a connection is encrypted.
#[derive(Clone)]
pub(crate) struct Trust(Arc<ClientConfig>);

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Trust")
    }
}

impl Trust {
    /// Trusts the authorities of this file and nobody else; without one, those that this machine trusts.
    pub(crate) fn load(file: Option<&Path>) -> Result<Self, RedisError> {
        let roots = match file {
            Some(path) => of_file(path),
            None => of_machine(),
        };
        let loaded = roots.and_then(|roots| Self::of(roots).map_err(|error| error.to_string()));
        let from = file.map_or_else(|| "this machine".to_owned(), |path| path.display().to_string());
        loaded.map_err(|why| RedisError::Authorities { from, why })
    }

    /// Trusts nobody: enough to see whether somebody has a certificate.
    fn nobody() -> Result<Self, rustls::Error> {
        Self::of(RootCertStore::empty())
    }

    fn of(roots: RootCertStore) -> Result<Self, rustls::Error> {
        let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
        let versions = builder.with_safe_default_protocol_versions()?;
        Ok(Self(Arc::new(versions.with_root_certificates(roots).with_no_client_auth())))
    }

    /// As the library wants it.
    pub(crate) fn connector(&self) -> TlsConnector {
        (*self.0).clone().into()
    }
}

fn of_file(path: &Path) -> Result<RootCertStore, String> {
    let text = std::fs::read(path).map_err(|error| error.to_string())?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&text) {
        let certificate = certificate.map_err(|error| error.to_string())?;
        roots.add(certificate).map_err(|error| error.to_string())?;
    }
    if roots.is_empty() { Err("there is no certificate in it (PEM is expected)".to_owned()) } else { Ok(roots) }
}

fn of_machine() -> Result<RootCertStore, String> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // One that cannot be read takes nothing away from the others.
    roots.add_parsable_certificates(found.certs);
    let why = || found.errors.first().map_or("it trusts nobody".to_owned(), ToString::to_string);
    if roots.is_empty() { Err(why()) } else { Ok(roots) }
}

/// What is wrong with how a connection is encrypted.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Trouble {
    pub(crate) why: String,
    pub(crate) remedy: &'static str,
}

impl Trouble {
    fn new(why: impl Into<String>, remedy: &'static str) -> Self {
        Self { why: why.into(), remedy }
    }
}

const ASK_FOR_TLS: &str = "begin the address with rediss:// (or rediss-cluster://)";
const ASK_FOR_NONE: &str = "begin the address with redis://, or give the port that speaks TLS";
const TRUST_IT: &str = "name the authority that signed it in NIMBUS_REDIS_CA_FILE, and give the host that it is for";

/// Looks at a server with which no connection came about; `None` if nothing is wrong with the encryption. Blocks, for a few
/// times `limit` at most.
pub(crate) fn look(config: &Config, trust: Option<&Trust>, limit: Duration) -> Option<Trouble> {
    let server = config.server.hosts().into_iter().next()?;
    let connect = || -> io::Result<TcpStream> {
        let address = (&*server.host, server.port).to_socket_addrs()?.next().ok_or(io::ErrorKind::NotFound)?;
        let stream = TcpStream::connect_timeout(&address, limit)?;
        stream.set_read_timeout(Some(limit))?;
        stream.set_write_timeout(Some(limit))?;
        Ok(stream)
    };
    let first = connect().and_then(answer_to_ping);
    match (config.tls.is_some(), first) {
        // Redis hangs up on who does not begin with TLS, and so might many others: whether it has a certificate tells.
        (false, Err(_)) => {
            let answer = shake_hands(&server.host, connect().ok()?, &Trust::nobody().ok()?);
            answer.is_err_and(|error| is_about_the_certificate(&error)).then(speaks_tls)
        }
        (false, Ok(ALERT | HANDSHAKE)) => Some(speaks_tls()),
        (true, Ok(b'+' | b'-')) => Some(Trouble::new("the port speaks redis without TLS", ASK_FOR_NONE)),
        (true, _) => shake_hands(&server.host, connect().ok()?, trust?).err().map(|error| {
            if is_about_the_certificate(&error) {
                Trouble::new(plain(&error), TRUST_IT)
            } else {
                Trouble::new(error.to_string(), "look at tls-protocols and tls-ciphersuites of redis")
            }
        }),
        (false, Ok(_)) => None,
    }
}

fn speaks_tls() -> Trouble {
    Trouble::new("the port speaks TLS", ASK_FOR_TLS)
}

const fn is_about_the_certificate(error: &rustls::Error) -> bool {
    matches!(error, rustls::Error::InvalidCertificate(_))
}

/// The first byte of what comes back.
fn answer_to_ping(mut stream: TcpStream) -> io::Result<u8> {
    stream.write_all(b"PING\r\n")?;
    let mut first = [0];
    stream.read_exact(&mut first)?;
    Ok(first[0])
}

/// What TLS has against this connection; that it breaks is not TLS' concern.
fn shake_hands(host: &str, mut stream: TcpStream, trust: &Trust) -> Result<(), rustls::Error> {
    let name = ServerName::try_from(host.to_owned()).map_err(|error| rustls::Error::General(error.to_string()))?;
    let mut connection = ClientConnection::new(Arc::clone(&trust.0), name)?;
    match connection.complete_io(&mut stream) {
        Ok(_) => Ok(()),
        Err(error) => error.get_ref().and_then(|error| error.downcast_ref()).cloned().map_or(Ok(()), Err),
    }
}

fn plain(error: &rustls::Error) -> String {
    let text = error.to_string();
    match text.strip_prefix("invalid peer certificate: ") {
        Some("UnknownIssuer") => "its certificate is signed by an authority that is not trusted".to_owned(),
        Some(why) => format!("its certificate is not valid: {why}"),
        None => text,
    }
}
