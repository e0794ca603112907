//! The broker's properties and Java's flags, each odd one with its reason.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
};

use super::secured;

/// Which node of its cluster a broker is. A single broker is a cluster of one.
#[derive(Clone, Debug)]
pub(super) struct Seat {
    /// From 0.
    pub(super) own: usize,
    /// Where clients find it.
    pub(super) broker: u16,
    /// Where clients find it that speak TLS and SASL, if it was asked for.
    pub(super) secured: Option<u16>,
    /// Where the controllers find one another: every node's, in their order.
    pub(super) controllers: Vec<u16>,
}

impl Seat {
    /// The node's number. It also stands in the directory that it begins with.
    pub(super) fn node(&self) -> usize {
        self.own + 1
    }
}

/// Identifies the cluster; any 16 bytes in base64 do. Brokers of different runs never meet.
pub(super) const CLUSTER: &str = "bmltYnVzLXNlcnZpY2VzMQ";

/// Where a node keeps who it is.
pub(super) const META: &str = "meta.properties";

/// What holds for every broker. Later lines win, so that whoever starts one can change any of it.
const PROPERTIES: &[(&str, &str)] = &[
    ("process.roles", "broker,controller"),
    ("controller.listener.names", "CONTROLLER"),
    ("listener.security.protocol.map", "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SASL_SSL:SASL_SSL"),
    // A topic that a typing error made would hide the error.
    ("auto.create.topics.enable", "false"),
    // One broker is the rule, and the internal topics want three.
    ("default.replication.factor", "1"),
    ("min.insync.replicas", "1"),
    ("offsets.topic.replication.factor", "1"),
    ("transaction.state.log.replication.factor", "1"),
    ("transaction.state.log.min.isr", "1"),
    // 50 partitions each would be most of what the broker has to open.
    ("offsets.topic.num.partitions", "4"),
    ("transaction.state.log.num.partitions", "4"),
    // Tests do not wait for members that may come, nor 6 s until a dead one is noticed.
    ("group.initial.rebalance.delay.ms", "0"),
    ("group.min.session.timeout.ms", "1000"),
    // Retention acts while a test looks at it; by default the first check comes after 30 s and the next after 5 minutes.
    ("log.initial.task.delay.ms", "500"),
    ("log.retention.check.interval.ms", "500"),
    ("log.segment.delete.delay.ms", "500"),
    // A killed broker that comes back is refused until the session of its former life has timed out.
    ("broker.session.timeout.ms", "3000"),
    ("broker.heartbeat.interval.ms", "500"),
    // By default 128 MiB of heap.
    ("log.cleaner.dedupe.buffer.size", "4194304"),
    ("num.network.threads", "2"),
    ("num.io.threads", "4"),
    ("num.recovery.threads.per.data.dir", "2"),
];

/// What holds for the nodes of a cluster on top: whatever they keep survives the loss of one.
const IN_A_CLUSTER: &[(&str, &str)] = &[
    ("default.replication.factor", "3"),
    ("min.insync.replicas", "2"),
    ("offsets.topic.replication.factor", "3"),
    ("transaction.state.log.replication.factor", "3"),
    ("transaction.state.log.min.isr", "2"),
];

/// Below so many nodes there is nothing to replicate to.
const CLUSTER_NODES: usize = 3;

/// `home` holds the data, and the keys of a secured listener.
pub(super) fn server(seat: &Seat, home: &Path, changes: &[(String, String)]) -> String {
    let (broker, controller) = (seat.broker, seat.controllers[seat.own]);
    let mut text = String::new();
    let mut set = |name: &str, value: &str| writeln!(text, "{name}={value}").expect("text takes any text");
    for (name, value) in PROPERTIES {
        set(name, value);
    }
    if seat.controllers.len() >= CLUSTER_NODES {
        IN_A_CLUSTER.iter().for_each(|(name, value)| set(name, value));
    }
    let voters = seat.controllers.iter().zip(1..).map(|(port, node)| format!("{node}@127.0.0.1:{port}"));
    set("node.id", &seat.node().to_string());
    set("controller.quorum.voters", &voters.collect::<Vec<_>>().join(","));
    let mut advertised = format!("PLAINTEXT://127.0.0.1:{broker}");
    if let Some(port) = seat.secured {
        advertised.push_str(&format!(",SASL_SSL://127.0.0.1:{port}"));
        let listener = "listener.name.sasl_ssl";
        let login = "org.apache.kafka.common.security.scram.ScramLoginModule required;";
        let mechanism = secured::MECHANISM;
        set(&format!("{listener}.sasl.enabled.mechanisms"), mechanism);
        set(&format!("{listener}.{}.sasl.jaas.config", mechanism.to_lowercase()), login);
        set(&format!("{listener}.ssl.keystore.type"), "PEM");
        set(&format!("{listener}.ssl.keystore.location"), &secured::keys(home).display().to_string());
    }
    set("listeners", &format!("{advertised},CONTROLLER://127.0.0.1:{controller}"));
    set("advertised.listeners", &advertised);
    set("log.dirs", &data(home).display().to_string());
    for (name, value) in changes {
        set(name, value);
    }
    text
}

/// Who a node is. Its directory has a name of its own as well, or the controller takes two nodes for one.
pub(super) fn meta(node: usize) -> String {
    let directory = format!("bmltYnVz{node:04}cnZpY2VzMQ");
    format!("version=1\ncluster.id={CLUSTER}\nnode.id={node}\ndirectory.id={directory}\n")
}

/// Where a broker keeps its records.
pub(super) fn data(home: &Path) -> PathBuf {
    home.join("data")
}

/// Only the quick compiler: the thorough one works for minutes before it pays.
pub(super) const SHORT_LIVED: &str = "-XX:TieredStopAtLevel=1";

pub(super) fn java(heap_mib: u32, logging: &Path) -> Vec<String> {
    vec![
        format!("-Xmx{heap_mib}m"),
        // The collector with the fewest threads and the least memory of its own.
        "-XX:+UseSerialGC".to_owned(),
        "-Djava.awt.headless=true".to_owned(),
        format!("-Dlog4j.configuration=file:{}", logging.display()),
    ]
}

/// Everything to standard output, which goes to the log file.
pub(super) const LOGGING: &str = "log4j.rootLogger=INFO, out
log4j.appender.out=org.apache.log4j.ConsoleAppender
log4j.appender.out.layout=org.apache.log4j.PatternLayout
log4j.appender.out.layout.ConversionPattern=%d{ISO8601} %p %c{1}: %m%n
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_starts_a_broker_has_the_last_word() {
        let changes = [("min.insync.replicas".to_owned(), "2".to_owned())];
        let seat = Seat { own: 0, broker: 1, secured: None, controllers: vec![2] };
        let text = server(&seat, Path::new("/home"), &changes);
        assert_eq!(text.lines().rfind(|line| line.starts_with("min.insync.replicas=")), Some("min.insync.replicas=2"));
        assert!(text.contains("listeners=PLAINTEXT://127.0.0.1:1,CONTROLLER://127.0.0.1:2\n"));
    }
    #[test]
    fn nodes_of_a_cluster_know_one_another_and_keep_nothing_alone() {
        let seat = Seat { own: 1, broker: 5, secured: None, controllers: vec![7, 8, 9] };
        let text = server(&seat, Path::new("/home"), &[]);
        for line in ["node.id=2", "controller.quorum.voters=1@127.0.0.1:7,2@127.0.0.1:8,3@127.0.0.1:9"] {
            assert!(text.lines().any(|found| found == line), "{text}");
        }
        let last = |name: &str| text.lines().rfind(|line| line.starts_with(name)).unwrap().to_owned();
        assert_eq!(last("offsets.topic.replication.factor"), "offsets.topic.replication.factor=3");
        assert_eq!(last("min.insync.replicas"), "min.insync.replicas=2");
    }
}
