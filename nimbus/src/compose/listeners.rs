//! The sockets, bound before anything else happens: a port that is taken is told at once, and addresses are known.

use std::{io, net::SocketAddr};

use nimbus_config::Config;
use tokio::net::TcpListener;

use super::Role;
use crate::exit::{Exit, Failure};

/// Bound, not served yet.
#[derive(Debug)]
pub(crate) struct Listeners {
    /// Of roles that serve clients.
    pub(crate) grpc: Option<(TcpListener, SocketAddr)>,
    pub(crate) admin: Option<TcpListener>,
    pub(crate) admin_address: Option<SocketAddr>,
}

impl Listeners {
    /// Binds what the configuration says; port 0 becomes a real one.
    pub(crate) async fn bind(config: &Config, role: Role) -> Result<Self, Failure> {
        let grpc = match role.serves() {
            true => Some(bind(config.listen.address, "NIMBUS_PORT").await?),
            false => None,
        };
        let (admin, admin_address) = match config.telemetry.admin_address {
            Some(address) => {
                let (listener, address) = bind(address, "NIMBUS_ADMIN_ADDR").await?;
                (Some(listener), Some(address))
            }
            None => (None, None),
        };
        Ok(Self { grpc, admin, admin_address })
    }
}

async fn bind(address: SocketAddr, setting: &str) -> Result<(TcpListener, SocketAddr), Failure> {
    let bound = async {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        io::Result::Ok((listener, address))
    };
    bound.await.map_err(|error| {
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
