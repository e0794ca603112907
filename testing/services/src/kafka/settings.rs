//! The broker's properties and Java's flags, each odd one with its reason.

use std::{fmt::Write as _, path::Path};

use super::Ports;

/// The node's number. It also stands in the formatted directory that every broker begins with.
pub(super) const NODE: u32 = 1;

/// Identifies the cluster; any 16 bytes in base64 do. Brokers of different runs never meet.
pub(super) const CLUSTER: &str = "bmltYnVzLXNlcnZpY2VzMQ";

/// What holds for every broker. Later lines win, so that whoever starts one can change any of it.
const PROPERTIES: &[(&str, &str)] = &[
    ("process.roles", "broker,controller"),
    ("controller.listener.names", "CONTROLLER"),
    ("listener.security.protocol.map", "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT"),
    // A topic that a typing error made would hide the error.
    ("auto.create.topics.enable", "false"),
    // There is one broker, and the internal topics want three.
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

pub(super) fn server(ports: Ports, data: &Path, changes: &[(String, String)]) -> String {
    let Ports { broker, controller } = ports;
    let mut text = String::new();
    let mut set = |name: &str, value: &str| writeln!(text, "{name}={value}").expect("text takes any text");
    for (name, value) in PROPERTIES {
        set(name, value);
    }
    set("node.id", &NODE.to_string());
    set("controller.quorum.voters", &format!("{NODE}@127.0.0.1:{controller}"));
    set("listeners", &format!("PLAINTEXT://127.0.0.1:{broker},CONTROLLER://127.0.0.1:{controller}"));
    set("advertised.listeners", &format!("PLAINTEXT://127.0.0.1:{broker}"));
    set("log.dirs", &data.display().to_string());
    for (name, value) in changes {
        set(name, value);
    }
    text
}

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
        let text = server(Ports { broker: 1, controller: 2 }, Path::new("/data"), &changes);
        assert_eq!(text.lines().rfind(|line| line.starts_with("min.insync.replicas=")), Some("min.insync.replicas=2"));
        assert!(text.contains("listeners=PLAINTEXT://127.0.0.1:1,CONTROLLER://127.0.0.1:2\n"));
    }
}
