//! TLS at the edge: a certificate that may be replaced while the server runs, and handshakes that do not wait for one another
//! ([`handshakes`]).

use std::{
    convert::Infallible,
    fmt, fs, io,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use futures_util::Stream;
use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::{MissedTickBehavior, interval},
};
use tokio_rustls::TlsAcceptor;
use tracing::{info, warn};

use self::handshakes::Handshakes;
use crate::metrics::Metrics;

mod handshakes;

/// The only protocol that is spoken here, as TLS names it (RFC 7540, section 3.1).
const HTTP2: &[u8] = b"h2";

/// Why there is no certificate to show. A start that meets one of these ends; a server that runs keeps what it has.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file of the certificate is not one.
    #[error("{}: {why}", path.display())]
    Certificate {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The file of the key is not one, or its key belongs to another certificate.
    #[error("{}: {why}", path.display())]
    Key {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
}

/// Where the certificate of a server is, and how often it is looked at again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The server's certificate and those between it and its authority, in this order, as PEM.
    pub certificate: PathBuf,
    /// Its private key, as PEM: PKCS #8, PKCS #1 or SEC 1.
    pub key: PathBuf,
    /// How often the files are read again; more than nothing. A new certificate is shown to who connects from then on.
    pub reload: Duration,
}

/// What the two files hold.
#[derive(PartialEq, Eq)]
struct Texts {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

/// What is in force.
struct Current {
    config: Arc<ServerConfig>,
    texts: Texts,
}

/// The certificate of a server.
#[derive(Clone)]
pub struct Tls {
    files: Arc<TlsFiles>,
    current: Arc<RwLock<Current>>,
}

impl fmt::Debug for Tls {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("files", &self.files).finish_non_exhaustive()
    }
}

impl Tls {
    /// Reads the files. Blocks for the disk.
    ///
    /// # Errors
    /// [`TlsError`], with the file that has to be corrected.
    pub fn load(files: TlsFiles) -> Result<Self, TlsError> {
        let current = read(&files).and_then(|texts| Current::of(texts, &files))?;
        Ok(Self { files: Arc::new(files), current: Arc::new(RwLock::new(current)) })
    }

    /// Reads the files again. Says whether there was something new. What is in force stays when it fails: a certificate may be
    /// there before its key is.
    fn reload(&self) -> Result<bool, TlsError> {
        let texts = read(&self.files)?;
        if self.current.read().unwrap_or_else(PoisonError::into_inner).texts == texts {
            return Ok(false);
        }
        let next = Current::of(texts, &self.files)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = next;
        Ok(true)
    }

    fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner).config))
    }

    /// Reads the files again and again. Never ends.
    pub(crate) async fn keep_up(&self, metrics: &Metrics) -> Infallible {
        let mut ticks = interval(self.files.reload);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The first comes at once, and the files were read just now.
        ticks.tick().await;
        loop {
            ticks.tick().await;
            let this = self.clone();
            match tokio::task::spawn_blocking(move || this.reload()).await {
                Ok(Ok(false)) => {}
                Ok(Ok(true)) => {
                    metrics.tls_reloads.inc();
                    info!(certificate = %self.files.certificate.display(), "a new certificate is in force");
                }
                Ok(Err(error)) => {
                    metrics.tls_reload_failures.inc();
                    warn!(%error, "the new certificate cannot be used; the one before stays in force");
                }
                // The runtime ends, or reading has panicked: then the next look may do better.
                Err(error) => {
                    metrics.tls_reload_failures.inc();
                    warn!(%error, "the certificate could not be looked at; the one before stays in force");
                }
            }
        }
    }

    /// The connections that have shaken hands.
    pub(crate) fn over<S, C>(self, connections: S, metrics: Metrics) -> Handshakes<S, C>
    where
        S: Stream<Item = io::Result<C>> + Unpin,
        C: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        Handshakes::new(self, connections, metrics)
    }
}

fn read(files: &TlsFiles) -> Result<Texts, TlsError> {
    let text = |path: &Path| fs::read(path).map_err(|error| (path.to_owned(), format!("cannot be read: {error}")));
    Ok(Texts {
        certificate: text(&files.certificate).map_err(|(path, why)| TlsError::Certificate { path, why })?,
        key: text(&files.key).map_err(|(path, why)| TlsError::Key { path, why })?,
    })
}

impl Current {
    fn of(texts: Texts, files: &TlsFiles) -> Result<Self, TlsError> {
        let certificate = |why: String| TlsError::Certificate { path: files.certificate.clone(), why };
        let key = |why: String| TlsError::Key { path: files.key.clone(), why };
        let chain = CertificateDer::pem_slice_iter(&texts.certificate).collect::<Result<Vec<_>, _>>();
        let chain = chain.map_err(|error| certificate(format!("is no PEM: {error}")))?;
        if chain.is_empty() {
            return Err(certificate("has no certificate in it (PEM is expected)".to_owned()));
        }
        let private = PrivateKeyDer::from_pem_slice(&texts.key)
            .map_err(|error| key(format!("has no private key in it (PEM is expected): {error}")))?;
        let provider = Arc::new(ring::default_provider());
        let versions = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let made = versions.and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, private));
        let mut config = made.map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => key(format!("does not belong to {}", files.certificate.display())),
            rustls::Error::InvalidCertificate(why) => certificate(format!("is not valid: {why:?}")),
            other => key(format!("cannot be used: {other}")),
        })?;
        config.alpn_protocols = vec![HTTP2.to_vec()];
        // Whoever comes back resumes without the arithmetic, and the server keeps nothing for it.
        config.ticketer = ring::Ticketer::new().map_err(|error| key(format!("no tickets can be made: {error}")))?;
        Ok(Self { config: Arc::new(config), texts })
    }
}

#[cfg(test)]
mod tests;
