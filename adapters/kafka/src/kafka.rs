//! Opening and closing: where all parts are put together.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use nimbus_core::{
    DeadLetter, Event, LogEpoch, PartitionCount, ResultRecord,
    ports::log::{DeadLetterLog, EventLog, LogError, ResultLog},
};
use prometheus_client::registry::Registry;
use rdkafka::error::KafkaError;
use tracing::{info, warn};

use crate::{
    Finding, KafkaAdmin, KafkaConfig, OpenError, Prepared, Severity,
    client::{Asking, Observer},
    epoch, fault,
    log::TopicLog,
    metrics::Metrics,
    producer::Producer,
    shared::Shared,
    sizes::Sizes,
    topics::Verdict,
};

/// How long `close` waits for the broker to confirm what was appended.
const CLOSE_LIMIT: Duration = Duration::from_secs(10);
/// How often the keeper looks around.
const KEEPER_TURN: Duration = Duration::from_millis(250);
/// How often the epoch is stored again: more often than any broker forgets commits of groups without members (it counts in
/// minutes; the default is a week).
const RENEW_EPOCH: Duration = Duration::from_secs(300);

/// The Kafka backend, open. A cheap handle.
#[derive(Debug, Clone)]
pub struct Kafka {
    pub(crate) running: Arc<Running>,
    findings: Arc<[Finding]>,
    events_retention: Option<Duration>,
}

/// Ends everything when the last handle is dropped.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) shared: Arc<Shared>,
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.shared.shut() {
            let shared = Arc::clone(&self.shared);
            // It waits for the broker, which nobody who drops a handle expects.
            let end = move || {
                if !end(&shared) {
                    warn!("the broker did not confirm everything in time");
                }
            };
            if let Err(error) = std::thread::Builder::new().name("kafka-end".to_owned()).spawn(end) {
                warn!(%error, "cannot start the thread that ends the log");
            }
        }
    }
}

/// Waits for appends and members, and lets go of the clients. Blocks.
fn end(shared: &Shared) -> bool {
    let settled = shared.producer.close(CLOSE_LIMIT);
    let panicked = shared.join();
    if panicked > 0 {
        warn!(panicked, "threads of the log panicked");
    }
    shared.readers.close();
    shared.groups.close();
    settled
}

impl Kafka {
    /// Makes the topics that are missing, checks them, and opens the logs as those of this epoch.
    ///
    /// # Errors
    /// [`OpenError`]; each says what to do. Only [`OpenError::Unreachable`] is retryable.
    pub async fn open(config: KafkaConfig, epoch: LogEpoch, registry: &mut Registry) -> Result<Self, OpenError> {
        Self::open_on(KafkaAdmin::try_new(config)?.prepare().await?, epoch, registry)
    }

    /// Opens the logs on topics that were looked at just now, as those of this epoch. Asks no broker.
    ///
    /// # Errors
    /// [`OpenError::Config`] and [`OpenError::Thread`].
    pub fn open_on(prepared: Prepared, epoch: LogEpoch, registry: &mut Registry) -> Result<Self, OpenError> {
        let metrics = Metrics::register(registry);
        let Prepared { config, admin, verdict } = prepared;
        for finding in verdict.findings.iter().filter(|finding| finding.severity > Severity::Fine) {
            warn!(what = finding.what, remedy = finding.remedy, "the topics could be safer");
        }
        Self::start(config, admin, epoch, verdict, metrics)
    }

    /// On topics that were judged.
    pub(crate) fn start(
        config: KafkaConfig,
        admin: KafkaAdmin,
        epoch: LogEpoch,
        verdict: Verdict,
        metrics: Metrics,
    ) -> Result<Self, OpenError> {
        let shared = Self::share(config, admin, epoch, Sizes::new(verdict.max_record_bytes), metrics)?;
        let keeper = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("kafka-keeper".to_owned()).spawn(move || keep(&keeper))?;
        shared.add_thread(thread);
        info!(brokers = shared.config.brokers, %epoch, "kafka is open");
        let (findings, events_retention) = (verdict.findings.into(), verdict.events_retention);
        Ok(Self { running: Arc::new(Running { shared }), findings, events_retention })
    }

    /// Registers what an open log counts, at zero, without opening one: documents and dashboards are held against it.
    pub fn register_metrics(registry: &mut Registry) {
        Metrics::register(registry);
    }

    fn share(
        config: KafkaConfig,
        admin: KafkaAdmin,
        epoch: LogEpoch,
        sizes: Sizes,
        metrics: Metrics,
    ) -> Result<Arc<Shared>, OpenError> {
        let wrong = |error: KafkaError| OpenError::Config(fault::settings(&error));
        let observer = Observer::new(metrics.clone());
        let client: Asking = config.asking(&epoch::group(&config)).create_with_context(observer).map_err(wrong)?;
        let producer = Producer::open(config.clone(), sizes, admin, metrics.clone())?;
        Ok(Arc::new(Shared::new(config, epoch, metrics, producer, client)))
    }

    /// Which incarnation of the logs this is.
    pub fn epoch(&self) -> LogEpoch {
        self.running.shared.epoch
    }

    /// How many partitions each log has.
    pub fn partitions(&self) -> PartitionCount {
        self.running.shared.config.partitions
    }

    /// What was found of the topics when they were opened.
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// How long the events topic kept records when it was opened; `None`: for ever.
    pub const fn events_retention(&self) -> Option<Duration> {
        self.events_retention
    }

    /// Refuses every event from now on with [`LogError::Full`] and this reason; `None`: takes them again.
    pub fn refuse_events(&self, refusal: Option<String>) {
        self.running.shared.gate.set(refusal);
    }

    /// The log of events.
    pub fn events(&self) -> Arc<EventLog> {
        Arc::new(TopicLog::<Event>::new(Arc::clone(&self.running)))
    }

    /// The log of results.
    pub fn results(&self) -> Arc<ResultLog> {
        Arc::new(TopicLog::<ResultRecord>::new(Arc::clone(&self.running)))
    }

    /// The log of dead letters.
    pub fn dead_letters(&self) -> Arc<DeadLetterLog> {
        Arc::new(TopicLog::<DeadLetter>::new(Arc::clone(&self.running)))
    }

    /// Waits until everything that was appended is answered (10 s at most), lets members commit and leave their groups,
    /// and lets go of all connections. Every handle answers [`LogError::Closed`] from then on. Closing again does nothing.
    /// Not cancel safe: when dropped, closing goes on, but nobody learns how it ended.
    ///
    /// # Errors
    /// [`LogError::Ambiguous`]: some appends were not answered in time, and each of them was told so.
    pub async fn close(&self) -> Result<(), LogError> {
        if !self.running.shared.shut() {
            return Ok(());
        }
        let shared = Arc::clone(&self.running.shared);
        match tokio::task::spawn_blocking(move || end(&shared)).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(LogError::Ambiguous("the broker did not confirm everything in time".to_owned())),
            Err(error) => Err(LogError::Ambiguous(error.to_string())),
        }
    }
}

/// Serves clients that nobody else serves, and stores the epoch again, until the log is shut.
fn keep(shared: &Shared) {
    let mut renewed = Instant::now();
    while !shared.is_closed() {
        while shared.client.poll(Duration::ZERO).is_some() {}
        shared.readers.tend();
        shared.groups.tend();
        if renewed.elapsed() > RENEW_EPOCH {
            renewed = Instant::now();
            renew_epoch(shared);
        }
        std::thread::park_timeout(KEEPER_TURN);
    }
}

fn renew_epoch(shared: &Shared) {
    let renewed = match epoch::stored(&shared.client, &shared.config) {
        Ok(kept) if kept.epoch() == Some(shared.epoch) => epoch::store(&shared.client, &shared.config, shared.epoch),
        // Somebody else's business: the composition root decides at the next start.
        Ok(_) => Ok(()),
        Err(error) => Err(error),
    };
    if let Err(error) = renewed {
        warn!(%error, "cannot store the epoch again");
    }
}
