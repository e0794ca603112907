//! What all clients of the broker have in common: settings, and where their log lines and errors go.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use nimbus_core::ports::log::LogError;
use rdkafka::{
    ClientConfig, ClientContext,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, Consumer, ConsumerContext},
    error::KafkaError,
    types::RDKafkaErrorCode,
};
use tracing::{debug, warn};

use crate::{Compression, KafkaConfig, OpenError, Refusal, fault, metrics::Metrics};

/// How far a fetch may run ahead of who reads, per partition, in KiB; one fetch may come on top of it.
const READ_AHEAD_KIB: usize = 1024;
/// What one fetch brings of a partition at most; a larger record comes anyway.
const FETCH_BYTES: usize = 1 << 20;
/// How soon a fetch is tried again after the one before filled the read-ahead: librdkafka's second would be felt.
const FETCH_BACKOFF_MS: u64 = 5;

/// How often a member of a group is heard of at least, in milliseconds. It learns with the answer that another one comes or goes, and
/// until then the partitions that move stand still: a rolling restart waits for this several times (docs/performance.md). librdkafka's
/// thread wakes up for it only once a second while nothing else happens; with every commit it does.
const HEARTBEAT_MS: u128 = 100;

/// Requests of the producer on their way to one broker. It answers those of a connection one after the other and reads the next one only
/// then (Kafka protocol guide, "Network"), so one at work and one behind it keep it as busy as five. With five, librdkafka's default, the
/// records of one append leave in up to five requests of a few each, because it begins to send while they are still handed to it; a
/// request costs everybody far more than a record (docs/performance.md).
const IN_FLIGHT: &str = "2";

/// How long after a failed question its reason may come: the connection's failure is told by another thread.
const HEAR_LIMIT: Duration = Duration::from_millis(200);

/// Hands log lines of librdkafka on, counts its errors, and remembers why brokers do not let it in.
#[derive(Debug, Clone)]
pub(crate) struct Observer {
    metrics: Metrics,
    refusal: Arc<Mutex<Option<(Refusal, String)>>>,
}

impl Observer {
    pub(crate) fn new(metrics: Metrics) -> Self {
        Self { metrics, refusal: Arc::default() }
    }

    fn note(&self, refusal: Refusal, why: &str) {
        *self.refusal.lock().unwrap_or_else(PoisonError::into_inner) = Some((refusal, why.to_owned()));
    }

    /// The last refusal since this was asked before.
    fn take_refusal(&self) -> Option<(Refusal, String)> {
        self.refusal.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Why a question failed: what the client has heard of its connections meanwhile says more than the time that it took.
pub(crate) fn why(client: &Asking, doing: String, source: KafkaError) -> OpenError {
    let deadline = Instant::now() + HEAR_LIMIT;
    loop {
        if let Some((refusal, why)) = client.context().take_refusal() {
            return OpenError::NotLetIn { doing, refusal, why };
        }
        if Instant::now() > deadline {
            return OpenError::Unreachable { doing, source };
        }
        // Errors are told to whoever polls. What it returns was told as well.
        drop(client.poll(HEAR_LIMIT / 10));
    }
}

/// A line of librdkafka's own log.
pub(crate) fn log_line(level: RDKafkaLogLevel, facility: &str, line: &str) {
    match level {
        // At every start, about a setting that is meant (`enable.gapless.guarantee`).
        _ if facility == "CONFWARN" => debug!(target: "librdkafka", facility, line, "librdkafka warns of a setting"),
        RDKafkaLogLevel::Emerg
        | RDKafkaLogLevel::Alert
        | RDKafkaLogLevel::Critical
        | RDKafkaLogLevel::Error
        | RDKafkaLogLevel::Warning => warn!(target: "librdkafka", facility, line, "librdkafka warns"),
        RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info | RDKafkaLogLevel::Debug => {
            debug!(target: "librdkafka", facility, line, "librdkafka says")
        }
    }
}

impl ClientContext for Observer {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        if Refusal::is_silence(facility, line) {
            self.note(Refusal::Protocol, line);
        }
        log_line(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.metrics.broker_errors.inc();
        if let Some(refusal) = error.rdkafka_error_code().and_then(|code| Refusal::of(code, reason)) {
            self.note(refusal, reason);
        }
        // Comes with every other error again, and says less.
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::AllBrokersDown) {
            debug!(reason, "no broker can be reached");
        } else {
            warn!(%error, reason, "trouble with a broker");
        }
    }
}

impl ConsumerContext for Observer {}

/// A client that asks questions and reads, but is a member of nothing.
pub(crate) type Asking = BaseConsumer<Observer>;

impl KafkaConfig {
    fn base(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        // A default, which properties may change: a broker that is back is noticed within a second, not within ten.
        config.set("reconnect.backoff.max.ms", "1000");
        for (name, value) in &self.properties {
            config.set(name, value);
        }
        config.set("bootstrap.servers", &self.brokers).set("client.id", &self.client_id);
        config.set("allow.auto.create.topics", "false");
        // Room for a batch of one record of the largest size, with its own framing.
        config.set("message.max.bytes", (self.max_record_bytes + 1024).to_string());
        config.set_log_level(RDKafkaLogLevel::Warning);
        config
    }

    pub(crate) fn producer(&self, most: [usize; 3]) -> ClientConfig {
        let mut config = self.base();
        let [events, results, dead_letters] = most;
        config.set("message.max.bytes", events.max(results).max(dead_letters).to_string());
        // A batch may be no larger than its topic's largest record, or the broker refuses it.
        config.set("batch.size", events.min(results).min(dead_letters).min(1 << 20).to_string());
        config.set("acks", "all").set("enable.idempotence", "true");
        config.set("max.in.flight.requests.per.connection", IN_FLIGHT);
        // After a record that cannot be stored nothing behind it is.
        config.set("enable.gapless.guarantee", "true");
        // A record that timed out may still land; only the broker knows, so it is asked for as long as it takes.
        config.set("message.timeout.ms", "0");
        config.set("linger.ms", format!("{:.3}", self.linger.as_secs_f64() * 1e3));
        config.set(
            "compression.codec",
            match self.compression {
                Compression::None => "none",
                Compression::Lz4 => "lz4",
            },
        );
        // No limit of its own: `Budget` is the one.
        config.set("queue.buffering.max.messages", "0").set("queue.buffering.max.kbytes", "2147483647");
        config
    }

    fn consumer(&self, group: &str) -> ClientConfig {
        let mut config = self.base();
        config.set("group.id", group);
        config.set("isolation.level", "read_committed").set("auto.offset.reset", "error");
        config.set("enable.auto.commit", "false").set("enable.auto.offset.store", "false");
        config.set("check.crcs", "true");
        config
    }

    /// A client that asks for watermarks and commits in the name of a group, but never joins it.
    pub(crate) fn asking(&self, group: &str) -> ClientConfig {
        self.consumer(group)
    }

    /// A client that reads what it is told, for a member of a group.
    pub(crate) fn fetching(&self) -> ClientConfig {
        let mut config = self.consumer(&self.reader_group());
        config.set("queued.max.messages.kbytes", READ_AHEAD_KIB.to_string());
        config.set("fetch.message.max.bytes", FETCH_BYTES.to_string());
        config.set("fetch.queue.backoff.ms", FETCH_BACKOFF_MS.to_string());
        config
    }

    /// A client that reads up to the end and notices it.
    pub(crate) fn reading(&self) -> ClientConfig {
        let mut config = self.fetching();
        config.set("enable.partition.eof", "true").set("fetch.wait.max.ms", "10");
        config
    }

    /// A member of a group: it takes part and commits; what it owns is read by a client of its own.
    pub(crate) fn member(&self, group: &str) -> ClientConfig {
        let mut config = self.consumer(group);
        let session = self.session_timeout.as_millis();
        config.set("partition.assignment.strategy", "cooperative-sticky");
        config.set("session.timeout.ms", session.to_string());
        config.set("heartbeat.interval.ms", (session / 4).min(HEARTBEAT_MS).to_string());
        // A revoked partition is taken away before the broker would throw the whole member out.
        let poll = (self.release_limit.as_millis() * 2).max(session);
        config.set("max.poll.interval.ms", poll.to_string());
        config
    }

    fn reader_group(&self) -> String {
        format!("{}-reader", self.group_prefix)
    }
}

/// Makes a client.
pub(crate) fn asking(config: &ClientConfig, metrics: &Metrics) -> Result<Asking, LogError> {
    config.create_with_context(Observer::new(metrics.clone())).map_err(|error| fault::unavailable(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With the default session timeout it was 2.5 s, which each restart in a roll had its partitions wait for.
    #[test]
    fn a_member_hears_of_others_soon_however_long_its_session_may_be_silent() {
        for (session, heartbeat) in [(300, 75), (1_000, 100), (10_000, 100), (60_000, 100)] {
            let config =
                KafkaConfig { session_timeout: Duration::from_millis(session), ..KafkaConfig::new("broker:9092") };
            let member = config.member("group");
            assert_eq!(member.get("heartbeat.interval.ms"), Some(heartbeat.to_string().as_str()), "{session}");
        }
    }
}
