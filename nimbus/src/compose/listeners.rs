//! The sockets, bound before anything else happens: a port that is taken is told at once, and addresses are known.

use std::{io, net::SocketAddr};

use nimbus_config::{Config, TlsConfig};
use nimbus_server::{Tls, TlsError, TlsFiles};
use tokio::net::{TcpListener, TcpSocket};

use super::Role;
use crate::exit::{Exit, Failure};

/// Bound, not served yet.
#[derive(Debug)]
pub(crate) struct Listeners {
    /// Of roles that serve clients.
    pub(crate) grpc: Option<(TcpListener, SocketAddr)>,
    /// What clients see of who it is, if connections are encrypted.
    pub(crate) tls: Option<Tls>,
    pub(crate) admin: Option<TcpListener>,
    pub(crate) admin_address: Option<SocketAddr>,
}

impl Listeners {
    /// Binds what the configuration says; port 0 becomes a real one.
    pub(crate) fn bind(config: &Config, role: Role) -> Result<Self, Failure> {
        let grpc = match role.serves() {
            true => Some(bind(config.listen.address, "NIMBUS_PORT")?),
            false => None,
        };
        let tls = match &config.tls {
            Some(files) if role.serves() => Some(certificate(files)?),
            _ => None,
        };
        let (admin, admin_address) = match config.telemetry.admin_address {
            Some(address) => {
                let (listener, address) = bind(address, "NIMBUS_ADMIN_ADDR")?;
                (Some(listener), Some(address))
            }
            None => (None, None),
        };
        Ok(Self { grpc, tls, admin, admin_address })
    }
}

fn certificate(config: &TlsConfig) -> Result<Tls, Failure> {
    let TlsConfig { cert_file, key_file, reload_interval } = config;
    let files = TlsFiles { certificate: cert_file.clone(), key: key_file.clone(), reload: *reload_interval };
    Tls::load(files).map_err(|error| {
        let setting = match error {
            TlsError::Certificate { .. } => "NIMBUS_TLS_CERT_FILE",
            TlsError::Key { .. } => "NIMBUS_TLS_KEY_FILE",
        };
        Failure::new(Exit::Usage, format!("cannot use the certificate: {error} (the setting is {setting})"))
    })
}

/// Connections that may wait to be accepted; the system may allow fewer (net.core.somaxconn, 4,096 on Linux). When a balancer or a network
/// comes back, all clients connect in one moment, and whoever finds no room waits for seconds: TCP tries again after 1, 3, 7 and 15 s.
const BACKLOG: u32 = 4_096;

fn bind(address: SocketAddr, setting: &str) -> Result<(TcpListener, SocketAddr), Failure> {
    let bound = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        // As every server does: a restart need not wait for what is left of its old connections.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        let listener = socket.listen(BACKLOG)?;
        let address = listener.local_addr()?;
        io::Result::Ok((listener, address))
    };
    bound().map_err(|error| {
        let advice = match error.kind() {
            io::ErrorKind::AddrInUse => "something else listens there: stop it, or choose another port",
            io::ErrorKind::PermissionDenied => "ports below 1024 need a privilege: choose another port",
            _ => "choose an address of this machine",
        };
        Failure::new(
            Exit::Unavailable,
            format!("cannot listen on {address}: {error}; {advice} (the setting is {setting})"),
        )
    })
}
