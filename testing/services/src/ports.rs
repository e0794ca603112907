//! Free ports on loopback.
//!
//! They are taken from below the range in which the system picks ports for outgoing connections. Otherwise a client that
//! tries to reach a killed service could get that very port for its own end, and the service could not come back on it.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use rand::RngExt as _;

use crate::{Error, Result};

/// Linux picks for outgoing connections from 32768 on.
const RANGE: std::ops::Range<u16> = 20_000..32_000;

/// How many are tried. Nearly all are free nearly always.
const TRIES: usize = 200;

/// A port that nothing listens on right now. Another process can take it before it is used; whoever starts a service on it
/// tries again then.
///
/// # Errors
/// None was found.
pub(crate) fn free() -> Result<u16> {
    let mut random = rand::rng();
    let found = (0..TRIES).map(|_| random.random_range(RANGE)).find(|port| TcpListener::bind(loopback(*port)).is_ok());
    found.ok_or_else(|| Error::Io {
        doing: format!("no free port was found on 127.0.0.1 in {RANGE:?}"),
        source: std::io::ErrorKind::AddrInUse.into(),
    })
}

pub(crate) fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}
