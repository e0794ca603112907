//! Both suites, each test with a key prefix of its own.

use std::sync::Arc;

use async_trait::async_trait;
use nimbus_contracts::{mailbox::MailboxFixture, notifier::NotifierFixture};
use nimbus_core::{
    LogEpoch, PartitionCount, Position,
    mailbox::LogStarts,
    ports::{log::Range, mailbox::Mailbox, notifier::Notifier},
};
use ulid::Ulid;

use crate::testing::{LIMITS, QUEUE, World, config, shared};

struct Fixture(World);

#[async_trait]
impl MailboxFixture for Fixture {
    fn mailbox(&self) -> Arc<dyn Mailbox> {
        Arc::new(self.0.ports.mailbox.clone())
    }

    fn notifier(&self) -> Arc<dyn Notifier> {
        Arc::new(self.0.ports.notifier.clone())
    }

    fn partition_bytes(&self) -> usize {
        LIMITS.partition_bytes
    }

    fn client_records(&self) -> usize {
        LIMITS.client_records
    }

    async fn outlive_window(&self) {
        self.0.clock.advance(LIMITS.window * 2);
        let starts = LogStarts { events: Position::START, results: Position::START };
        self.0.ports.mailbox.sweep(|_| starts).await.unwrap();
    }

    /// As the composition root does it: a log that ends before what was folded in is another log.
    async fn restart(&mut self, logs: Vec<Range>) {
        let (old, mut epoch) = (self.0.epoch, self.0.epoch);
        for (partition, range) in self.0.partitions.all().zip(logs) {
            if self.0.ports.mailbox.applied(partition).await.unwrap() > range.end {
                epoch = LogEpoch(Ulid::generate());
            }
        }
        if epoch != old {
            assert_eq!(self.0.store.replace_epoch(old, epoch).await.unwrap(), epoch);
        }
        self.0.restart(epoch).await;
    }
}

#[async_trait]
impl NotifierFixture for Fixture {
    fn notifier(&self) -> Arc<dyn Notifier> {
        Arc::new(self.0.ports.notifier.clone())
    }

    fn overflow(&self) -> usize {
        QUEUE.notifications + 1
    }
}

async fn world(partitions: u32) -> Fixture {
    let url = shared("a contract test").expect("looked up before");
    Fixture(World::new(config(&url), partitions).await)
}

macro_rules! on_redis {
    ($suite:path, $make:expr; $($name:ident)+) => {
        $(#[tokio::test]
        async fn $name() {
            use $suite as suite;
            if shared(stringify!($name)).is_some() {
                suite::$name($make).await;
            }
        })+
    };
}
pub(crate) use on_redis;

mod mailbox {
    use super::*;

    async fn make(partitions: PartitionCount) -> impl MailboxFixture {
        world(partitions.0.get()).await
    }

    nimbus_contracts::each_mailbox_promise!(crate::tests::contracts::on_redis, nimbus_contracts::mailbox, make);
}

mod notifier {
    use super::*;

    async fn make() -> impl NotifierFixture {
        world(3).await
    }

    nimbus_contracts::each_notifier_promise!(crate::tests::contracts::on_redis, nimbus_contracts::notifier, make);
}
