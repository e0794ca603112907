//! What all handles of one open backend share.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
};

use nimbus_core::{
    LogEpoch, Partition,
    ports::log::{LogError, Range},
};
use tokio::sync::Semaphore;

use crate::{
    KafkaConfig, client::Asking, gate::Gate, known_groups::KnownGroups, metrics::Metrics, producer::Producer,
    reader::Readers, together::Together, topic::Topic,
};

pub(crate) struct Shared {
    pub(crate) config: KafkaConfig,
    pub(crate) epoch: LogEpoch,
    /// Before the events.
    pub(crate) gate: Gate,
    pub(crate) metrics: Metrics,
    pub(crate) producer: Arc<Producer>,
    pub(crate) readers: Arc<Readers>,
    pub(crate) groups: KnownGroups,
    /// Asks for ranges.
    pub(crate) client: Asking,
    /// For questions, but for reads, which have their own.
    pub(crate) questions: Arc<Semaphore>,
    /// Where partitions begin and end: by [`Topic::index`], then by partition.
    ranges: [Vec<Together<Result<Range, LogError>>>; 3],
    /// By [`Topic::index`].
    names: [Arc<str>; 3],
    closed: AtomicBool,
    /// Members of groups, and the keeper. Ended ones are let go of when another begins.
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared")
            .field("topics", &self.config.topics)
            .field("epoch", &self.epoch)
            .finish_non_exhaustive()
    }
}

impl Shared {
    pub(crate) fn new(
        config: KafkaConfig,
        epoch: LogEpoch,
        metrics: Metrics,
        producer: Arc<Producer>,
        client: Asking,
    ) -> Self {
        let partitions = config.partitions.len();
        Self {
            ranges: Topic::ALL.map(|_| (0..partitions).map(|_| Together::default()).collect()),
            names: Topic::ALL.map(|topic| Arc::from(config.topics.of(topic))),
            readers: Arc::new(Readers::new(config.reading(), metrics.clone())),
            groups: KnownGroups::new(&config.known_groups),
            questions: Arc::new(Semaphore::new(crate::blocking::QUESTIONS)),
            config,
            epoch,
            gate: Gate::default(),
            metrics,
            producer,
            client,
            closed: AtomicBool::new(false),
            threads: Mutex::default(),
        }
    }

    pub(crate) fn name(&self, topic: Topic) -> Arc<str> {
        Arc::clone(&self.names[topic.index()])
    }

    /// Those who ask for the range of a partition. There is one.
    pub(crate) fn range(&self, topic: Topic, partition: Partition) -> &Together<Result<Range, LogError>> {
        &self.ranges[topic.index()][partition.0 as usize]
    }

    pub(crate) fn open(&self) -> Result<(), LogError> {
        if self.is_closed() { Err(LogError::Closed) } else { Ok(()) }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// From now on nothing is asked or read any more. Says whether it was open.
    pub(crate) fn shut(&self) -> bool {
        let was_open = !self.closed.swap(true, Ordering::AcqRel);
        self.questions.close();
        was_open
    }

    pub(crate) fn add_thread(&self, thread: JoinHandle<()>) {
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        threads.retain(|thread| !thread.is_finished());
        threads.push(thread);
    }

    /// Waits for members and keeper, which end by themselves when it is shut. Says how many panicked.
    pub(crate) fn join(&self) -> usize {
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        threads.into_iter().map(JoinHandle::join).filter(Result::is_err).count()
    }
}
