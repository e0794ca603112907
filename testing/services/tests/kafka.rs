//! Kafka, started, paused, killed, started again and stopped for real. All in one test: a start takes seconds.

#![allow(clippy::unwrap_used, reason = "a test: what is not there is a failure")]

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use nimbus_services::{Kafka, KafkaOptions, kafka, shared};

const LIMIT: Duration = Duration::from_secs(60);

/// What a paused broker gets to answer in vain.
const SHORT: Duration = Duration::from_millis(300);

/// Creates a topic of one partition (CreateTopics, version 4), and returns the error code.
fn create_topic(address: &str, topic: &str) -> i16 {
    let mut request = vec![0, 19, 0, 4, 0, 0, 0, 1, 0xff, 0xff];
    request.extend([0, 0, 0, 1]);
    text(&mut request, topic);
    // One partition, replicas as the broker is configured; no assignments, no settings; 30 s; for real.
    request.extend([0, 0, 0, 1, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x75, 0x30, 0]);
    let answer = exchange(address, &request);
    // The number of the request, the throttle time, the count of topics, the name; then the code.
    let at = 4 + 4 + 4 + 2 + topic.len();
    i16::from_be_bytes([answer[at], answer[at + 1]])
}

/// Whether a topic is in the metadata (version 1) without an error.
fn has_topic(address: &str, topic: &str) -> bool {
    let mut request = vec![0, 3, 0, 1, 0, 0, 0, 1, 0xff, 0xff];
    request.extend([0, 0, 0, 1]);
    text(&mut request, topic);
    let answer = exchange(address, &request);
    // The topic stands at the end: its code, its name, whether it is internal, its partitions.
    let name = answer.windows(topic.len()).rposition(|window| window == topic.as_bytes()).unwrap();
    answer[name - 4..name - 2] == [0, 0]
}

fn text(request: &mut Vec<u8>, text: &str) {
    request.extend(u16::try_from(text.len()).unwrap().to_be_bytes());
    request.extend(text.as_bytes());
}

fn exchange(address: &str, request: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream.write_all(&u32::try_from(request.len()).unwrap().to_be_bytes()).unwrap();
    stream.write_all(request).unwrap();
    let mut size = [0; 4];
    stream.read_exact(&mut size).unwrap();
    let mut answer = vec![0; usize::try_from(u32::from_be_bytes(size)).unwrap()];
    stream.read_exact(&mut answer).unwrap();
    answer
}

#[test]
fn a_broker_lives_through_whatever_a_test_does_to_it() {
    if let Err(error) = kafka::prepare() {
        return shared::skip(&format!("needs Kafka: {error}"));
    }
    let options = KafkaOptions::default().set("message.max.bytes", 2_000_000).secured("nimbus", "secret");
    let mut broker = Kafka::start(options).unwrap();
    let (address, log, pid) = (broker.address(), broker.log(), broker.pid().unwrap());
    assert!(kafka::answers(&address, LIMIT));
    assert!(broker.authority().exists());
    assert!(!kafka::answers(&broker.secured_address().unwrap(), LIMIT), "who speaks no TLS gets no answer there");
    assert!(!has_topic(&address, "colours"), "no topic is made by asking for it");
    assert_eq!(create_topic(&address, "colours"), 0);

    broker.pause().unwrap();
    assert!(!kafka::answers(&address, SHORT));
    broker.resume().unwrap();
    assert!(kafka::answers(&address, LIMIT));

    broker.kill().unwrap();
    assert!(!Path::new(&format!("/proc/{pid}")).exists() && broker.pid().is_none());
    assert!(TcpStream::connect(&address).is_err(), "nobody answers after a kill");

    broker.restart().unwrap();
    assert_eq!(broker.address(), address);
    assert!(has_topic(&address, "colours"), "what was there before the kill is there after it");
    let pid = broker.pid().unwrap();
    broker.stop().unwrap();
    assert!(!Path::new(&format!("/proc/{pid}")).exists());
    drop(broker);
    assert!(!log.parent().unwrap().exists(), "the temporary directory goes with the broker");
}

/// The first partition's leader, and how many replicas it has and how many of them are in sync (Metadata, version 1).
fn leader(address: &str, topic: &str) -> (u32, usize, usize) {
    let mut request = vec![0, 3, 0, 1, 0, 0, 0, 1, 0xff, 0xff];
    request.extend([0, 0, 0, 1]);
    text(&mut request, topic);
    let answer = exchange(address, &request);
    let name = answer.windows(topic.len()).rposition(|window| window == topic.as_bytes()).unwrap();
    // Whether it is internal, the count of partitions; then of the first: its code, its number, and what is asked for.
    let numbers = answer[name + topic.len() + 1 + 4 + 2 + 4..].chunks_exact(4);
    let mut numbers = numbers.map(|number| u32::from_be_bytes(number.try_into().unwrap()));
    let leader = numbers.next().unwrap();
    let replicas = usize::try_from(numbers.next().unwrap()).unwrap();
    let in_sync = numbers.nth(replicas).unwrap();
    (leader, replicas, usize::try_from(in_sync).unwrap())
}

#[test]
fn a_cluster_goes_on_without_any_one_node_and_takes_it_back() {
    if let Err(error) = kafka::prepare() {
        return shared::skip(&format!("needs Kafka: {error}"));
    }
    let mut cluster = Kafka::cluster(3).unwrap();
    let addresses: Vec<_> = cluster.addresses().split(',').map(str::to_owned).collect();
    assert_eq!(addresses.len(), 3);
    assert_eq!(create_topic(&addresses[0], "colours"), 0);
    for address in &addresses {
        within("every node to know the topic", || has_topic(address, "colours"));
        within("three replicas in sync", || matches!(leader(address, "colours"), (1..=3, 3, 3)));
    }
    let (first, ..) = leader(&addresses[0], "colours");
    let victim = usize::try_from(first).unwrap() - 1;
    let other = &addresses[(victim + 1) % 3];
    cluster.nodes()[victim].kill().unwrap();
    within("another leader", || matches!(leader(other, "colours"), (second @ 1..=3, 3, 2) if second != first));
    cluster.nodes()[victim].restart().unwrap();
    assert!(kafka::answers(&addresses[victim], LIMIT));
    within("three replicas in sync again", || matches!(leader(other, "colours"), (_, 3, 3)));
    cluster.nodes()[victim].pause().unwrap();
    assert!(!kafka::answers(&addresses[victim], SHORT));
    cluster.nodes()[victim].resume().unwrap();
    within("an answer", || kafka::answers(&addresses[victim], LIMIT));
}

fn within(what: &str, mut reached: impl FnMut() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !reached() {
        assert!(Instant::now() < deadline, "{what} within {LIMIT:?}");
        // sleep: another process has to get on; the loop looks again
        thread::sleep(Duration::from_millis(10));
    }
}
