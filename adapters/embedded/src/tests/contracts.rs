//! The log passes the contract suite of its port, for each kind of record, on a disk that can fail.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use nimbus_contracts::{
    Sample,
    log::{LogExpiry, LogFaults, LogFixture},
};
use nimbus_core::{
    ClientId, DeadLetter, Event, Partition, PartitionCount, ResultRecord,
    ports::log::{DeadLetterLog, EventLog, Log, ResultLog},
};
use prometheus_client::registry::Registry;

use crate::{
    Embedded, EmbeddedConfig, MIN_SEGMENT_BYTES, disk::simulated::SimulatedDisk, embedded::AllMetrics,
    testing::TestClock,
};

/// One of the three logs.
trait Topic: Sample {
    fn log(embedded: &Embedded) -> Arc<dyn Log<Self>>;
}

impl Topic for Event {
    fn log(embedded: &Embedded) -> Arc<EventLog> {
        embedded.events()
    }
}

impl Topic for ResultRecord {
    fn log(embedded: &Embedded) -> Arc<ResultLog> {
        embedded.results()
    }
}

impl Topic for DeadLetter {
    fn log(embedded: &Embedded) -> Arc<DeadLetterLog> {
        embedded.dead_letters()
    }
}

struct Fixture<R> {
    disk: SimulatedDisk,
    clock: Arc<TestClock>,
    config: EmbeddedConfig,
    embedded: Embedded,
    kind: std::marker::PhantomData<fn() -> R>,
}

async fn fixture<R: Topic>(partitions: PartitionCount) -> Fixture<R> {
    let config = EmbeddedConfig { partitions, segment_bytes: MIN_SEGMENT_BYTES, ..EmbeddedConfig::new("in memory") };
    let (disk, clock) = (SimulatedDisk::new(), Arc::new(TestClock::default()));
    let embedded = open(&disk, &clock, &config);
    Fixture { disk, clock, config, embedded, kind: std::marker::PhantomData }
}

fn open(disk: &SimulatedDisk, clock: &Arc<TestClock>, config: &EmbeddedConfig) -> Embedded {
    let metrics = AllMetrics::register(&mut Registry::default());
    Embedded::open_on(Arc::new(disk.clone()), config.clone(), Arc::clone(clock) as _, metrics).unwrap()
}

#[async_trait]
impl<R: Topic> LogFixture for Fixture<R> {
    type Record = R;

    fn log(&self) -> Arc<dyn Log<R>> {
        R::log(&self.embedded)
    }

    async fn restart(&mut self) {
        self.embedded.close().await.unwrap();
        self.embedded = open(&self.disk, &self.clock, &self.config);
    }
}

#[async_trait]
impl<R: Topic> LogFaults for Fixture<R> {
    async fn hold(&self) {
        self.disk.hold_syncs();
    }

    async fn release(&self) {
        self.disk.release_syncs();
    }

    async fn fail_next_write(&self) {
        self.disk.fail_next_sync();
    }
}

#[async_trait]
impl<R: Topic> LogExpiry for Fixture<R> {
    async fn expire(&self, partition: Partition) {
        let log = self.log();
        let end = log.range(partition).await.unwrap().end;
        let other = log.partitions().all().find(|other| *other != partition).unwrap();
        let names = (0..).map(|number| ClientId::try_new(&format!("filler-{number}")).unwrap());
        let filler = names.into_iter().find(|client| log.partitions().partition_of(client) == other).unwrap();
        // Retention deletes whole segments below the oldest snapshot; each new segment makes it look again.
        while log.range(partition).await.unwrap().start < end {
            self.clock.advance(self.config.retention + Duration::from_secs(1));
            log.append(other, (0..30).map(|number| R::sample(&filler, number)).collect()).await.unwrap();
        }
    }
}

mod events {
    async fn make(partitions: nimbus_core::PartitionCount) -> super::Fixture<nimbus_core::Event> {
        super::fixture(partitions).await
    }

    nimbus_contracts::log_contract!(make);
    nimbus_contracts::log_fault_contract!(make);
    nimbus_contracts::log_expiry_contract!(make);
}

mod results {
    async fn make(partitions: nimbus_core::PartitionCount) -> super::Fixture<nimbus_core::ResultRecord> {
        super::fixture(partitions).await
    }

    nimbus_contracts::log_contract!(make);
    nimbus_contracts::log_fault_contract!(make);
    nimbus_contracts::log_expiry_contract!(make);
}

mod dead_letters {
    async fn make(partitions: nimbus_core::PartitionCount) -> super::Fixture<nimbus_core::DeadLetter> {
        super::fixture(partitions).await
    }

    nimbus_contracts::log_contract!(make);
    nimbus_contracts::log_fault_contract!(make);
    nimbus_contracts::log_expiry_contract!(make);
}
