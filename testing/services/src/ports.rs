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

/// Two different ports that nothing listens on right now. Another process can take one before it is used; whoever starts a
/// service on them tries again then.
///
/// # Errors
/// None were found.
pub(crate) fn free_pair() -> Result<(u16, u16)> {
    // Both are held until both are found.
    let (first, second) = (free()?, free()?);
    Ok((port(&first)?, port(&second)?))
}

fn free() -> Result<TcpListener> {
    let mut random = rand::rng();
    let found = (0..TRIES).find_map(|_| TcpListener::bind(loopback(random.random_range(RANGE))).ok());
    found.ok_or_else(|| Error::io(no_port())(std::io::ErrorKind::AddrInUse.into()))
}

fn port(listener: &TcpListener) -> Result<u16> {
    listener.local_addr().map(|address| address.port()).map_err(Error::io(no_port()))
}

fn no_port() -> String {
    format!("no free port was found on 127.0.0.1 in {RANGE:?}")
}

pub(crate) fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_ports_differ_and_are_free() {
        let pairs: Vec<_> = (0..50).map(|_| free_pair().unwrap()).collect();
        assert!(pairs.iter().all(|(first, second)| first != second && RANGE.contains(first) && RANGE.contains(second)));
    }
}
