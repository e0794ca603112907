//! The adapters keep the ports' contracts, while there are no faults. What they do beyond that is what the runs are for.

use std::sync::Arc;

use async_trait::async_trait;
use nimbus_contracts::{Sample, log::LogFixture, mailbox::MailboxFixture, notifier::NotifierFixture};
use nimbus_core::{
    ClientId, Event, OutboxId, Partition, PartitionCount, Position, PrincipalId, ServerId, SessionId,
    ports::{
        log::{Log, Range},
        mailbox::{Claim, ClaimKind, Mailbox},
        notifier::Notifier,
    },
};

use crate::{
    bus::{Bus, SimNotifier},
    dice::Dice,
    life::Life,
    log::{Booked, LogStore, SimLog},
    mailbox::{MailboxStore, PARTITION_BYTES, SimMailbox},
    plan::Plan,
    world::{JumpyClock, World},
};
use ulid::Ulid;

/// A world in which nothing goes wrong.
fn calm() -> Arc<World> {
    let dice = Dice::new(1);
    let plan = Plan { batch_records: 500, mailbox_records: 64, bus_capacity: 100, ..Plan::draw(&dice) };
    let world = World::with_plan(1, plan, dice, None, false);
    world.calm_down();
    world
}

struct LogOf<R: Booked> {
    world: Arc<World>,
    store: Arc<LogStore<R>>,
    log: Arc<SimLog<R>>,
}

impl<R: Booked> LogOf<R> {
    fn new(partitions: PartitionCount) -> Self {
        let (world, store) = (calm(), LogStore::new(partitions.0.get()));
        let log = SimLog::new(&Life::new(1, &world), &store);
        Self { world, store, log }
    }
}

#[async_trait]
impl<R: Booked + Sample> LogFixture for LogOf<R> {
    type Record = R;

    fn log(&self) -> Arc<dyn Log<R>> {
        Arc::clone(&self.log) as _
    }

    async fn restart(&mut self) {
        self.store.expire(1);
        self.log = SimLog::new(&Life::new(2, &self.world), &self.store);
    }
}

struct Post {
    world: Arc<World>,
    store: Arc<MailboxStore>,
    mailbox: Arc<SimMailbox>,
    notifier: Arc<SimNotifier>,
    clock: Arc<JumpyClock>,
}

impl Post {
    fn new(partitions: PartitionCount) -> Self {
        let (world, clock) = (calm(), JumpyClock::new());
        let (life, bus) = (Life::new(1, &world), Bus::new(&world));
        let store = MailboxStore::new(&world, &LogStore::new(partitions.0.get()), &bus);
        let mailbox = SimMailbox::new(&life, &store, Arc::clone(&clock) as _);
        Self { mailbox, notifier: SimNotifier::new(&life, &bus), store, world, clock }
    }
}

#[async_trait]
impl MailboxFixture for Post {
    fn mailbox(&self) -> Arc<dyn Mailbox> {
        Arc::clone(&self.mailbox) as _
    }

    fn notifier(&self) -> Arc<dyn Notifier> {
        Arc::clone(&self.notifier) as _
    }

    fn client_records(&self) -> usize {
        self.world.plan.mailbox_records
    }

    fn partition_bytes(&self) -> usize {
        PARTITION_BYTES
    }

    async fn outlive_window(&self) {
        let window = self.world.plan.mailbox_window;
        self.clock.jump(2 * window.as_millis() as i64);
        self.store.sweep(&*self.clock);
    }

    /// The memory is not the process': it goes on as it was. A log that ends before what was folded in is another log, with
    /// another memory.
    async fn restart(&mut self, logs: Vec<Range>) {
        for (number, range) in (0..).zip(logs) {
            if self.store.applied(nimbus_core::Partition(number)) > range.end {
                self.store.lose_everything();
            }
        }
        let life = Life::new(2, &self.world);
        self.mailbox = SimMailbox::new(&life, &self.store, Arc::clone(&self.clock) as _);
    }
}

impl NotifierFixture for Post {
    fn notifier(&self) -> Arc<dyn Notifier> {
        Arc::clone(&self.notifier) as _
    }

    fn overflow(&self) -> usize {
        self.world.plan.bus_capacity + 1
    }
}

/// A claim by a client that has a new outbox each time.
fn claim(server: &str, id: u128) -> Claim {
    Claim {
        client: ClientId::try_new("c").unwrap(),
        principal: PrincipalId::try_new("owner-of-c").unwrap(),
        server: ServerId::try_new(server).unwrap(),
        session: SessionId(Ulid(id)),
        kind: ClaimKind::Sdk { outbox: OutboxId::new(id.to_le_bytes()), session_no: 1, token: None },
        log_end: Position::START,
    }
}

/// As over Redis: whichever id is greater, since the clocks of two servers differ.
#[tokio::test(start_paused = true)]
async fn a_memory_that_went_back_to_an_older_session_keeps_the_newer_one_from_nothing() {
    for (old, new) in [(1, 9), (9, 1)] {
        let post = Post::new(PartitionCount(std::num::NonZeroU32::MIN));
        let elsewhere = SimMailbox::new(&Life::new(3, &post.world), &post.store, Arc::clone(&post.clock) as _);
        let [first, server] = ["s1", "s2"].map(|name| ServerId::try_new(name).unwrap());
        post.mailbox.claim(claim("s1", old)).await.unwrap();
        post.store.copy();
        elsewhere.heads(&server, &[Partition(0)]).await.unwrap();
        elsewhere.claim(claim("s2", new)).await.unwrap();
        post.store.lose_tail();
        assert!(elsewhere.heads(&server, &[Partition(0)]).await.is_err(), "all is claimed again");
        assert!(post.mailbox.claim(claim("s1", 20)).await.is_err(), "not in a memory that is not known");
        assert!(post.mailbox.heads(&first, &[Partition(0)]).await.is_err(), "here as well");
        let next = post.mailbox.claim(claim("s1", 20)).await.unwrap();
        assert_eq!(next.previous, Some((server, SessionId(Ulid(new)))));
    }
}

/// Each promise on a clock of its own, which does not run by itself.
macro_rules! in_simulated_time {
    ($suite:path, $make:expr; $($name:ident)+) => {
        $(#[tokio::test(start_paused = true)]
        async fn $name() {
            use $suite as suite;
            suite::$name($make).await;
        })+
    };
}
pub(crate) use in_simulated_time;

mod events {
    use super::*;

    async fn make(partitions: PartitionCount) -> impl LogFixture {
        LogOf::<Event>::new(partitions)
    }

    nimbus_contracts::each_log_promise!(crate::tests::in_simulated_time, nimbus_contracts::log, make);
}

mod mailbox {
    use super::*;

    async fn make(partitions: PartitionCount) -> impl MailboxFixture {
        Post::new(partitions)
    }

    nimbus_contracts::each_mailbox_promise!(crate::tests::in_simulated_time, nimbus_contracts::mailbox, make);
}

mod notifier {
    use super::*;

    async fn make() -> impl NotifierFixture {
        Post::new(PartitionCount(std::num::NonZeroU32::MIN))
    }

    nimbus_contracts::each_notifier_promise!(crate::tests::in_simulated_time, nimbus_contracts::notifier, make);
}
