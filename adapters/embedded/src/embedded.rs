//! Opening and closing: where all parts are put together.

#[cfg(test)]
use std::sync::mpsc;
use std::{io, sync::Arc};

use nimbus_core::{
    DeadLetter, Event, GroupId, LogEpoch, Partition, ResultRecord,
    clock::Clock,
    ports::{
        log::{DeadLetterLog, EventLog, LogError, ResultLog},
        mailbox::Mailbox,
        notifier::Notifier,
    },
};
use prometheus_client::registry::Registry;

#[cfg(test)]
use crate::keeper::Duty;
use crate::{
    clean::CleanMark,
    config::EmbeddedConfig,
    creation::read_or_create,
    disk::{Disk, RealDisk},
    error::OpenError,
    groups::Groups,
    keeper::{Bell, Keeper},
    log::TopicLog,
    mailbox::{EmbeddedMailbox, MailboxMetrics},
    metrics::Metrics,
    notifier::{EmbeddedNotifier, NotifierMetrics},
    recovery::{self, RecoveredStrand},
    running::{CloseError, Running},
    shared::{Shared, Shelved, Shelves},
    shelf::Shelf,
    state::{StateJournal, StateKind, StateMachine},
    topic::{Strand, Topic},
    writer::Writer,
};

/// The embedded backend, open. A cheap handle.
#[derive(Debug, Clone)]
pub struct Embedded {
    shared: Arc<Shared>,
    running: Arc<Running>,
    mailbox: Arc<EmbeddedMailbox>,
    notifier: EmbeddedNotifier,
}

/// The counters of all parts.
#[derive(Debug, Clone)]
pub(crate) struct AllMetrics {
    log: Metrics,
    mailbox: MailboxMetrics,
    notifier: NotifierMetrics,
}

impl AllMetrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        Self {
            log: Metrics::register(registry),
            mailbox: MailboxMetrics::register(registry),
            notifier: NotifierMetrics::register(registry),
        }
    }
}

impl Embedded {
    /// Opens a data directory, or makes one. Reads and checks everything in it, so that takes its time on a large one.
    ///
    /// # Errors
    /// [`OpenError`]; each says what to do.
    pub async fn open(
        config: EmbeddedConfig,
        clock: Arc<dyn Clock>,
        registry: &mut Registry,
    ) -> Result<Self, OpenError> {
        let metrics = AllMetrics::register(registry);
        config.check().map_err(OpenError::Config)?;
        let open = move || {
            std::fs::create_dir_all(&config.data_dir)
                .map_err(OpenError::io(format!("make {}", config.data_dir.display())))?;
            let disk = Arc::new(RealDisk::new(&config.data_dir));
            Self::open_on(disk, config, clock, metrics)
        };
        match tokio::task::spawn_blocking(open).await {
            Ok(opened) => opened,
            Err(error) => Err(OpenError::io("open the data directory")(io::Error::other(error))),
        }
    }

    pub(crate) fn open_on(
        disk: Arc<dyn Disk>,
        config: EmbeddedConfig,
        clock: Arc<dyn Clock>,
        metrics: AllMetrics,
    ) -> Result<Self, OpenError> {
        let AllMetrics { log: metrics, mailbox: mailbox_metrics, notifier: notifier_metrics } = metrics;
        let lock = disk.lock().map_err(OpenError::io(format!("lock {}", config.data_dir.display())))?;
        let Some(lock) = lock else {
            return Err(OpenError::InUse { dir: config.data_dir });
        };
        let meta = read_or_create(&*disk, &config, &*clock)?;
        let groups = Arc::new(Groups::new(meta.partitions.len()));
        let notifier = EmbeddedNotifier::new(config.notifier, notifier_metrics);
        let mailbox = EmbeddedMailbox::new(
            meta.partitions,
            config.mailbox,
            Arc::clone(&clock),
            notifier.clone(),
            mailbox_metrics,
        );
        let mailbox = Arc::new(mailbox);
        let machines: Vec<Arc<dyn StateMachine>> =
            vec![Arc::clone(&groups) as Arc<dyn StateMachine>, Arc::clone(&mailbox) as Arc<dyn StateMachine>];
        let borrowed: Vec<&dyn StateMachine> = machines.iter().map(|machine| &**machine).collect();
        let recovered = recovery::examine(&*disk, &meta, &borrowed)?;
        recovered.settle(&*disk)?;
        CleanMark::remove(&*disk).map_err(OpenError::io("remove clean"))?;
        if let Some(bytes) = recovered.torn {
            tracing::info!(bytes, "an unfinished write was cut off the end of the log");
            metrics.torn_tails.inc();
        }
        let shelves = shelves(recovered.strands, meta.partitions.len());
        let shared = Shared::new(config, meta, disk, clock, metrics, recovered.segments, shelves, groups);
        let shared = Arc::new(shared);
        shared.groups.begin(StateJournal::new(Arc::clone(&shared.queue), StateKind::Groups));

        let ranges: Vec<_> = shared.shelves.results.iter().map(Shelf::range).collect();
        mailbox.start(StateJournal::new(Arc::clone(&shared.queue), StateKind::Mailbox), &ranges);

        let (bell, duties) = Bell::new();
        let writer = Writer::new(Arc::clone(&shared), bell.clone(), recovered.start);
        let keeper = Keeper::new(Arc::clone(&shared), Arc::clone(&mailbox), machines, recovered.snapshot);
        let running = Running::start(Arc::clone(&shared), writer, keeper, bell, duties, lock)
            .map_err(OpenError::io("start a thread"))?;
        Ok(Self { shared, running: Arc::new(running), mailbox, notifier })
    }

    /// Which incarnation of the log this is.
    pub fn epoch(&self) -> LogEpoch {
        self.shared.meta.epoch
    }

    /// The log of events.
    pub fn events(&self) -> Arc<EventLog> {
        self.topic::<Event>()
    }

    /// The log of results.
    pub fn results(&self) -> Arc<ResultLog> {
        self.topic::<ResultRecord>()
    }

    /// The log of dead letters.
    pub fn dead_letters(&self) -> Arc<DeadLetterLog> {
        self.topic::<DeadLetter>()
    }

    /// Mailboxes and ownership.
    pub fn mailbox(&self) -> Arc<dyn Mailbox> {
        Arc::clone(&self.mailbox) as Arc<dyn Mailbox>
    }

    /// The bus between the servers of this process.
    pub fn notifier(&self) -> Arc<dyn Notifier> {
        Arc::new(self.notifier.clone())
    }

    /// Forgets a consumer group that has no members, in every topic: what it has not finished no longer keeps anything
    /// from being deleted. Says whether there was such a group. Durable when it returns.
    ///
    /// # Errors
    /// What kept it from becoming durable (retryable), or
    /// [`LogError::Closed`].
    pub async fn forget_group(&self, group: &GroupId) -> Result<bool, LogError> {
        let mut forgotten = false;
        for topic in Topic::ALL {
            forgotten |= self.shared.groups.forget(&(topic, group.clone()));
        }
        self.shared.groups.flush().await?;
        Ok(forgotten)
    }

    /// Makes the keeper look around, and waits until it has.
    #[cfg(test)]
    pub(crate) fn look_around_and_wait(&self) {
        let (done_tx, done_rx) = mpsc::sync_channel::<()>(0);
        self.running.bell.ring(Duty::LookAround(done_tx));
        // It says nothing: that it lets go of its end is the answer.
        assert!(done_rx.recv().is_err());
    }

    fn topic<R: Shelved>(&self) -> Arc<TopicLog<R>> {
        Arc::new(TopicLog::new(Arc::clone(&self.shared), Arc::clone(&self.running)))
    }

    /// Writes and syncs everything that was appended, marks the log as closed in good order, and gives the directory
    /// back. Every handle answers [`LogError::Closed`] from then on. Closing
    /// again does nothing. Not cancel safe: when dropped, closing goes on, but nobody learns how it ended.
    ///
    /// # Errors
    /// What kept the end of the log from being made durable. What was acknowledged is durable anyway.
    pub async fn close(&self) -> Result<(), CloseError> {
        self.notifier.close();
        let running = Arc::clone(&self.running);
        match tokio::task::spawn_blocking(move || running.stop()).await {
            Ok(closed) => closed,
            Err(error) => Err(CloseError(error.to_string())),
        }
    }
}

fn shelves(strands: Vec<RecoveredStrand>, partitions: usize) -> Shelves {
    fn of<R: Shelved>(strands: &mut impl Iterator<Item = RecoveredStrand>, partitions: usize) -> Vec<Shelf<R>> {
        let numbered = (0..).map(Partition).zip(strands.by_ref().take(partitions));
        numbered.map(|(partition, s)| Shelf::new(partition, s.start, s.end, s.frames)).collect()
    }
    debug_assert_eq!(Strand { topic: Topic::Results, partition: Partition(0) }.index(partitions), partitions);
    let strands = &mut strands.into_iter();
    // In the order of `Strand::index`.
    Shelves { events: of(strands, partitions), results: of(strands, partitions), dead_letters: of(strands, partitions) }
}
