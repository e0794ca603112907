//! The runtime as a whole, on a log in memory and under a paused clock.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use nimbus_core::{
    ContentType, Event, Lane, PartKind, Partition, Position, ResultRecord,
    ports::{
        executor::{Executor, ExecutorError, InterimKind, Job, Output, Run},
        log::{Log as _, LogError},
    },
    result::DeadLetter,
};
use prometheus_client::registry::Registry;
use tokio::{task::JoinHandle, time::Instant};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::testing::{Client, Fate, MemoryLog, TokioClock, brief, soon};

mod basics;
mod early;
mod faults;
mod jobs;
mod order;
mod probe;

/// The runtime and its logs.
struct Bench {
    events: MemoryLog<Event>,
    results: MemoryLog<ResultRecord>,
    dead_letters: MemoryLog<DeadLetter>,
    clock: Arc<TokioClock>,
    registry: Registry,
    metrics: ExecutorMetrics,
    config: ExecutorConfig,
    executors: Vec<Arc<dyn Executor>>,
}

/// A running runtime.
struct Running {
    shutdown: CancellationToken,
    task: JoinHandle<Result<(), ConsumersError>>,
}

impl Bench {
    fn new(partitions: usize) -> Self {
        let mut registry = Registry::default();
        let taken_back = Arc::<AtomicU64>::default();
        let metrics = ExecutorMetrics::register(&mut registry);
        Self {
            events: MemoryLog::in_store(partitions, Arc::clone(&taken_back)),
            results: MemoryLog::in_store(partitions, Arc::clone(&taken_back)),
            dead_letters: MemoryLog::in_store(partitions, taken_back),
            clock: TokioClock::new(),
            registry,
            metrics,
            config: ExecutorConfig::default(),
            executors: nimbus_executors::builtin(),
        }
    }

    fn with(mut self, executor: impl Executor + 'static) -> Self {
        self.executors.push(Arc::new(executor));
        self
    }

    fn configured(mut self, change: impl FnOnce(&mut ExecutorConfig)) -> Self {
        change(&mut self.config);
        self
    }

    fn start(&self) -> Running {
        let ports = ExecutorPorts {
            events: Arc::new(self.events.clone()),
            results: Arc::new(self.results.clone()),
            dead_letters: Arc::new(self.dead_letters.clone()),
            clock: Arc::clone(&self.clock) as Arc<dyn Clock>,
        };
        let catalogue = Arc::new(Catalogue::try_new(self.executors.clone()).unwrap());
        let shutdown = CancellationToken::new();
        let run = run_executors(ports, catalogue, self.config.clone(), self.metrics.clone(), (), shutdown.clone());
        Running { shutdown, task: tokio::spawn(run) }
    }

    /// Waits for `count` terminal answers; all there are then, in the order of the log.
    async fn answers(&self, count: usize) -> Vec<ResultRecord> {
        soon(self.results.until(count, |record| record.kind.is_terminal())).await
    }

    async fn briefs(&self, count: usize) -> Vec<String> {
        self.answers(count).await.iter().map(brief).collect()
    }

    /// Waits until both lanes have finished everything in the log.
    async fn settled(&self) {
        for partition in self.events.partitions().all() {
            let end = self.events.end(partition);
            if end > Position::START {
                soon(self.events.until_committed(ORDERED_GROUP, partition, end)).await;
                soon(self.events.until_committed(JOBS_GROUP, partition, end)).await;
            }
        }
    }

    fn metric(&self, line: &str) -> i64 {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
        let found = text.lines().find_map(|found| found.strip_prefix(line)?.strip_prefix(' ')).map(str::to_owned);
        found.unwrap_or_else(|| panic!("{line} is not in\n{text}")).parse().unwrap()
    }
}

impl Running {
    /// Ends it in good order.
    async fn stop(self) {
        self.shutdown.cancel();
        soon(self.task).await.unwrap().unwrap();
    }

    /// Ends it as a crash would.
    async fn kill(self) {
        self.task.abort();
        assert!(self.task.await.unwrap_err().is_cancelled());
    }
}
