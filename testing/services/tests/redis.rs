//! Redis, started, killed, paused and started again for real.

#![allow(clippy::unwrap_used, reason = "a test: what is not there is a failure")]

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    path::Path,
    time::Duration,
};

use nimbus_services::{Redis, RedisOptions, redis, shared};

const LIMIT: Duration = Duration::from_secs(30);

/// What a paused service gets to answer in vain.
const SHORT: Duration = Duration::from_millis(200);

fn is_missing() -> bool {
    let missing = redis::prepare().err();
    if let Some(error) = &missing {
        shared::skip(&format!("needs Redis: {error}"));
    }
    missing.is_some()
}

/// One command in Redis' inline form, and the first line of its answer, or the second if that has the text.
fn command(address: &str, line: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream.write_all(format!("{line}\r\n").as_bytes()).unwrap();
    let mut reader = BufReader::new(stream);
    let mut answer = String::new();
    reader.read_line(&mut answer).unwrap();
    if answer.starts_with('$') && !answer.starts_with("$-1") {
        answer.clear();
        reader.read_line(&mut answer).unwrap();
    }
    answer.trim_end().to_owned()
}

/// How many nodes this one knows.
fn known_nodes(address: &str) -> usize {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream.write_all(b"CLUSTER INFO\r\n").unwrap();
    let mut lines = BufReader::new(stream).lines().map(Result::unwrap);
    let known = lines.find_map(|line| line.strip_prefix("cluster_known_nodes:").map(str::to_owned)).unwrap();
    known.parse().unwrap()
}

fn is_alive(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

#[test]
fn it_comes_back_on_its_port_after_a_kill_and_keeps_what_it_was_asked_to_keep() {
    if is_missing() {
        return;
    }
    let mut kept = Redis::start(RedisOptions::default().persistent().line("maxmemory-policy allkeys-lru")).unwrap();
    let address = kept.address();
    assert!(command(&address, "CONFIG GET maxmemory-policy").starts_with("*2"));
    assert_eq!(command(&address, "SET colour blue"), "+OK");

    let pid = kept.pid().unwrap();
    kept.kill().unwrap();
    assert!(!is_alive(pid) && kept.pid().is_none());
    assert!(TcpStream::connect(&address).is_err(), "nobody answers after a kill");
    assert!(kept.kill().is_err() && kept.pause().is_err(), "what does not run cannot be killed or paused");

    kept.restart().unwrap();
    assert_eq!(kept.address(), address);
    assert_eq!(command(&address, "GET colour"), "blue");

    kept.restart_empty().unwrap();
    assert_eq!(command(&address, "GET colour"), "$-1");
}

#[test]
fn it_forgets_everything_unless_asked_otherwise() {
    if is_missing() {
        return;
    }
    let mut plain = Redis::start(RedisOptions::default()).unwrap();
    assert_eq!(command(&plain.address(), "SET colour blue"), "+OK");
    plain.stop().unwrap();
    plain.restart().unwrap();
    assert_eq!(command(&plain.address(), "GET colour"), "$-1");
}

#[test]
fn a_paused_one_does_not_answer_until_it_is_resumed() {
    if is_missing() {
        return;
    }
    let paused = Redis::start(RedisOptions::default()).unwrap();
    paused.pause().unwrap();
    let mut stream = TcpStream::connect(paused.address()).unwrap();
    stream.write_all(b"PING\r\n").unwrap();
    stream.set_read_timeout(Some(SHORT)).unwrap();
    let mut answer = [0; 7];
    assert!(stream.read_exact(&mut answer).is_err());
    paused.resume().unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"+PONG\r\n");
}

#[test]
fn nothing_is_left_behind_after_a_drop() {
    if is_missing() {
        return;
    }
    let dropped = Redis::start(RedisOptions::default()).unwrap();
    let (pid, log) = (dropped.pid().unwrap(), dropped.log());
    assert!(is_alive(pid) && log.exists());
    // Also not when it is held still.
    dropped.pause().unwrap();
    drop(dropped);
    assert!(!is_alive(pid) && !log.parent().unwrap().exists());
}

#[test]
fn what_it_says_when_it_does_not_start_is_in_the_error() {
    if is_missing() {
        return;
    }
    let error = Redis::start(RedisOptions::default().line("no-such-setting yes")).unwrap_err();
    assert!(!error.is_unavailable() && error.to_string().contains("no-such-setting"), "{error}");
}

#[test]
fn a_cluster_serves_every_slot() {
    if is_missing() {
        return;
    }
    let mut cluster = Redis::cluster(3).unwrap();
    assert_eq!(cluster.addresses().split(',').count(), 3);
    let nodes = cluster.nodes();
    let answers: Vec<_> = (0..30).map(|key| command(&nodes[0].address(), &format!("SET key-{key} 1"))).collect();
    assert!(answers.iter().all(|answer| answer == "+OK" || answer.starts_with("-MOVED ")), "{answers:?}");
    assert!(answers.iter().any(|answer| answer.starts_with("-MOVED ")), "one node has only a third of the slots");
    assert!(answers.contains(&"+OK".to_owned()));
    nodes[0].restart_empty().unwrap();
    assert_eq!(command(&nodes[0].address(), "DBSIZE"), ":0");
    assert_eq!(known_nodes(&nodes[0].address()), 3, "a node that lost its data still knows its place");
}
