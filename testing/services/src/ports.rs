//! Free ports on loopback.
//!
//! They are taken from below the range in which the system picks ports for outgoing connections. Otherwise a client that
//! tries to reach a killed service could get that very port for its own end, and the service could not come back on it.

use std::{
    collections::HashSet,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    sync::{LazyLock, Mutex, PoisonError},
};

use rand::RngExt as _;

use crate::{Error, Result};

/// Linux picks for outgoing connections from 32768 on.
const RANGE: std::ops::Range<u16> = 20_000..32_000;

/// How often a start is repeated on other ports.
const STARTS: usize = 5;

/// How many are tried. Nearly all are free nearly always.
const TRIES: usize = 200;

/// What this process has given away. A service binds its port seconds after it got it, and two that got the same one would
/// be told from each other by nobody: whichever was quicker answers for both.
static GIVEN: LazyLock<Mutex<HashSet<u16>>> = LazyLock::new(Mutex::default);

/// Ports that nothing listens on right now and that no other call in this process gets. Another process can take one before it
/// is used; whoever starts services on them tries again then.
///
/// # Errors
/// None were found.
pub(crate) fn free<const N: usize>() -> Result<[u16; N]> {
    let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    let mut ports = [0; N];
    for free in &mut ports {
        *free = find(|port| !given.contains(&port))?;
        given.insert(*free);
    }
    Ok(ports)
}

/// Starts again when something else was quicker to take a port, unless that port was asked for.
///
/// # Errors
/// Those of `start`.
pub(crate) fn retry<T>(is_given: bool, mut start: impl FnMut() -> Result<T>) -> Result<T> {
    let mut starts = STARTS;
    loop {
        starts -= 1;
        match start() {
            // Kafka and Redis say it in the same words.
            Err(Error::Ended { log, .. }) if starts > 0 && !is_given && log.contains("Address already in use") => {}
            done => return done,
        }
    }
}

fn find(is_wanted: impl Fn(u16) -> bool) -> Result<u16> {
    let mut random = rand::rng();
    let mut tried = (0..TRIES).map(|_| random.random_range(RANGE));
    let found = tried.find(|port| is_wanted(*port) && TcpListener::bind(loopback(*port)).is_ok());
    let none = || format!("no free port was found on 127.0.0.1 in {RANGE:?}");
    found.ok_or_else(|| Error::io(none())(std::io::ErrorKind::AddrInUse.into()))
}

pub(crate) fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_is_repeated_only_for_a_port_that_was_taken_and_not_asked_for() {
        let starts = |is_given, log: &str| {
            let mut starts = 0;
            let started = retry(is_given, || {
                starts += 1;
                if starts == 2 {
                    return Ok(());
                }
                Err(Error::Ended { name: "it", status: "exit status: 1".to_owned(), log: log.to_owned() })
            });
            (starts, started.is_ok())
        };
        assert_eq!(starts(false, "bind: Address already in use"), (2, true));
        assert_eq!(starts(true, "bind: Address already in use"), (1, false));
        assert_eq!(starts(false, "no memory"), (1, false));
    }

    #[test]
    fn ports_differ_and_are_in_range() {
        // So many that some would come twice by chance.
        let ports: Vec<_> = (0..10).flat_map(|_| free::<100>().unwrap()).collect();
        let different: HashSet<_> = ports.iter().collect();
        assert!(different.len() == 1_000 && ports.iter().all(|port| RANGE.contains(port)), "{ports:?}");
    }
}
