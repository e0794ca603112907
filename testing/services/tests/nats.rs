//! NATS, started and ended for real.

#![allow(clippy::unwrap_used, reason = "a test: what is not there is a failure")]

use std::{
    io::{BufRead as _, BufReader},
    net::TcpStream,
    path::Path,
};

use nimbus_services::{Nats, nats, shared};

/// What a server says to whoever connects.
fn greeting(address: &str) -> String {
    let mut line = String::new();
    BufReader::new(TcpStream::connect(address).unwrap()).read_line(&mut line).unwrap();
    line
}

#[test]
fn it_has_streams_and_a_port_of_its_own_and_ends_when_dropped() {
    if let Err(error) = nats::prepare() {
        return shared::skip(&format!("needs NATS: {error}"));
    }
    let directory = tempfile::tempdir().unwrap();
    let (one, other) = (Nats::start(Some(directory.path())).unwrap(), Nats::start(None).unwrap());
    assert_ne!(one.address(), other.address());
    for nats in [&one, &other] {
        let greeting = greeting(&nats.address());
        assert!(greeting.starts_with("INFO ") && greeting.contains(r#""jetstream":true"#), "{greeting}");
    }
    let (address, pid) = (one.address(), one.pid());
    drop(one);
    assert!(!Path::new(&format!("/proc/{pid}")).exists());
    assert!(TcpStream::connect(&address).is_err(), "nobody answers after the end");
    assert!(directory.path().join("jetstream").exists(), "a directory that was given stays");
}
