//! What retention frees, what it must keep, and that the log stays whole throughout.

use std::{sync::Arc, time::Duration};

use nimbus_core::{
    GroupId, Partition, Position,
    ports::log::{Committed, Consumer, ConsumerEvent, LogError, Range},
};
use prometheus_client::registry::Registry;

use crate::{
    Embedded, EmbeddedConfig,
    disk::{Disk as _, simulated::SimulatedDisk},
    embedded::AllMetrics,
    testing::{P0, P1, TestClock, dead_letter, event, event_of, origin, read_all, read_dead_letters, small},
    tools::check_on,
};

const DAY: Duration = Duration::from_secs(24 * 3600);

struct World {
    disk: SimulatedDisk,
    clock: Arc<TestClock>,
    config: EmbeddedConfig,
    log: Embedded,
    seq: u64,
}

impl World {
    fn new(config: EmbeddedConfig) -> Self {
        let (disk, clock) = (SimulatedDisk::new(), Arc::new(TestClock::default()));
        let log = Self::open(&disk, &clock, &config);
        Self { disk, clock, config, log, seq: 0 }
    }

    fn open(disk: &SimulatedDisk, clock: &Arc<TestClock>, config: &EmbeddedConfig) -> Embedded {
        let metrics = AllMetrics::register(&mut Registry::default());
        Embedded::open_on(Arc::new(disk.clone()), config.clone(), Arc::clone(clock) as _, metrics).unwrap()
    }

    /// Appends events until `segments` more segments are full.
    async fn fill(&mut self, segments: usize) {
        let goal = self.newest() + segments as u64;
        while self.newest() < goal {
            self.seq += 1;
            self.log.events().append(P0, vec![event_of(&origin("client"), self.seq, 1000)]).await.unwrap();
        }
    }

    fn newest(&self) -> u64 {
        let ids = crate::segment::ids(&self.disk.list("segments").unwrap());
        ids.last().copied().unwrap()
    }

    fn oldest(&self) -> u64 {
        crate::segment::ids(&self.disk.list("segments").unwrap())[0]
    }

    async fn range(&self, partition: Partition) -> Range {
        self.log.events().range(partition).await.unwrap()
    }

    /// Lets the keeper work until it has done what the test expects.
    fn until(&self, what: impl Fn(&Self) -> bool) {
        for _ in 0..10 {
            if what(self) {
                return;
            }
            self.log.look_around_and_wait();
        }
        panic!("it did not come to pass; segments {}..={}", self.oldest(), self.newest());
    }

    /// Lets the keeper look around a few times, and so do whatever it would do.
    fn settle(&self) {
        for _ in 0..3 {
            self.log.look_around_and_wait();
        }
    }

    fn reopen(self) -> Self {
        let Self { disk, clock, config, log, seq } = self;
        drop(log);
        let disk = disk.after_kill();
        let log = Self::open(&disk, &clock, &config);
        Self { disk, clock, config, log, seq }
    }

    fn assert_whole(&self) {
        let report = check_on(&self.disk.after_kill(), std::path::Path::new("in-memory")).unwrap();
        assert!(report.is_good(), "{:?}", report.findings);
    }
}

async fn consume_all(consumer: &mut Box<dyn Consumer<nimbus_core::Event>>, end: Position) {
    loop {
        if let ConsumerEvent::Records(batch) = consumer.next().await.unwrap() {
            let committed = Committed { position: batch.next, ..Committed::default() };
            consumer.commit(batch.partition, committed);
            if batch.next >= end {
                return consumer.flush().await.unwrap();
            }
        }
    }
}

fn by_age() -> EmbeddedConfig {
    EmbeddedConfig { retention: DAY, retention_bytes: u64::MAX, ..small() }
}

fn by_size(retention_bytes: u64) -> EmbeddedConfig {
    EmbeddedConfig { retention: DAY, retention_bytes, ..small() }
}

#[tokio::test]
async fn old_segments_go_and_the_start_says_so() {
    let mut world = World::new(by_age());
    world.fill(3).await;
    world.settle();
    assert_eq!(world.oldest(), 1, "nothing is old yet");
    world.clock.advance(DAY * 2);
    world.fill(3).await;
    world.until(|world| world.oldest() > 3);
    let start = world.range(P0).await.start;
    assert!(start > Position::START);
    let expired = world.log.events().read(P0, Position::START, 1000).await.unwrap_err();
    assert!(matches!(expired, LogError::Expired { start: named, .. } if named == start), "{expired}");
    let found = read_all(&*world.log.events(), P0).await.unwrap();
    world.assert_whole();

    let world = world.reopen();
    assert_eq!(world.range(P0).await.start, start);
    assert_eq!(read_all(&*world.log.events(), P0).await.unwrap(), found);
}

#[tokio::test]
async fn a_quiet_partition_keeps_its_offsets() {
    let mut world = World::new(by_age());
    world.log.events().append(P1, vec![event(1), event(2)]).await.unwrap();
    world.fill(2).await;
    world.clock.advance(DAY * 2);
    world.fill(2).await;
    world.until(|world| world.oldest() > 1);
    let empty = Range { start: Position(2), end: Position(2) };
    assert_eq!(world.range(P1).await, empty);
    let world = world.reopen();
    assert_eq!(world.range(P1).await, empty);
    assert_eq!(world.log.events().append(P1, vec![event(3)]).await.unwrap(), Position(3));
}

#[tokio::test]
async fn what_a_group_has_not_finished_stays_however_old() {
    let mut world = World::new(by_age());
    let mut consumer = world.log.events().consume(&GroupId::try_new("g").unwrap()).await.unwrap();
    world.fill(3).await;
    world.clock.advance(DAY * 9);
    world.fill(3).await;
    world.settle();
    assert_eq!(world.oldest(), 1);
    let end = world.range(P0).await.end;
    consume_all(&mut consumer, end).await;
    // Snapshots must have caught up with the commits as well.
    world.fill(3).await;
    world.until(|world| world.oldest() > 3);
    assert!(world.range(P0).await.start <= end, "what came since is not finished");
}

#[tokio::test]
async fn an_abandoned_group_can_be_forgotten() {
    let mut world = World::new(by_age());
    let group = GroupId::try_new("abandoned").unwrap();
    let consumer = world.log.events().consume(&group).await.unwrap();
    world.fill(2).await;
    assert!(!world.log.forget_group(&group).await.unwrap(), "it has a member");
    drop(consumer);
    assert!(world.log.forget_group(&group).await.unwrap());
    assert!(!world.log.forget_group(&group).await.unwrap(), "it is gone");
    world.clock.advance(DAY * 2);
    world.fill(3).await;
    world.until(|world| world.oldest() > 1);
    assert_eq!(world.reopen().log.events().committed(P0).await.unwrap(), []);
}

#[tokio::test]
async fn a_log_that_is_too_large_loses_its_oldest_segments_before_their_time() {
    let mut world = World::new(by_size(30_000));
    for _ in 0..10 {
        world.fill(4).await;
        world.until(|world| world.disk.used() < 45_000);
    }
    world.assert_whole();
    assert!(world.range(P0).await.start > Position::START);
}

#[tokio::test]
async fn young_dead_letters_stay_but_hold_nothing_else() {
    let mut world = World::new(by_size(30_000));
    let mut expected = Vec::new();
    for n in 0..10 {
        world.log.dead_letters().append(P0, vec![dead_letter(n)]).await.unwrap();
        expected.push((n, n));
        world.fill(4).await;
    }
    world.until(|world| world.disk.used() < 60_000);
    let segments = crate::segment::ids(&world.disk.list("segments").unwrap());
    assert!(segments.len() < 15, "compact segments are merged: {segments:?}");
    let start = world.range(P0).await.start;
    assert!(start > Position::START, "its events do not");
    assert_eq!(read_dead_letters(&world.log).await.unwrap(), expected);
    world.assert_whole();

    let mut world = world.reopen();
    assert_eq!(read_dead_letters(&world.log).await.unwrap(), expected);
    assert!(world.range(P0).await.start >= start);
    let expired = world.log.events().read(P0, Position::START, 1000).await;
    assert!(matches!(expired, Err(LogError::Expired { .. })), "what is gone is not skipped silently");

    let compact = world.oldest();
    world.clock.advance(DAY * 2);
    world.fill(3).await;
    world.until(|world| world.oldest() > compact);
    assert!(read_dead_letters(&world.log).await.unwrap().len() < expected.len());
    world.assert_whole();
}

#[tokio::test]
async fn dead_letters_expire_although_segments_are_merged() {
    let mut world = World::new(by_size(20_000));
    for n in 0..40 {
        world.log.dead_letters().append(P0, vec![dead_letter(n)]).await.unwrap();
        world.fill(2).await;
        world.clock.advance(DAY / 10);
        world.settle();
    }
    let kept = read_dead_letters(&world.log).await.unwrap();
    let oldest = kept[0].0;
    assert!((25..31).contains(&oldest), "a day's worth is kept, and a little more: {kept:?}");
    assert_eq!(kept, (oldest..40).map(|n| (n, n)).collect::<Vec<_>>());
    world.assert_whole();
}

#[tokio::test]
async fn a_merged_segment_that_comes_back_after_a_power_loss_is_of_no_account() {
    let mut world = World::new(by_size(10_000));
    world.log.dead_letters().append(P0, vec![dead_letter(7)]).await.unwrap();
    world.fill(1).await;
    let original = world.disk.files()["segments/00000000000000000001.log"].clone();
    world.fill(5).await;
    world.until(|world| world.oldest() > 1);
    assert_eq!(read_dead_letters(&world.log).await.unwrap(), [(0, 7)]);

    let mut files = world.disk.files();
    files.insert("segments/00000000000000000001.log".into(), original);
    world.disk = SimulatedDisk::with_files(&files);
    world.assert_whole();
    let world = world.reopen();
    assert_eq!(read_dead_letters(&world.log).await.unwrap(), [(0, 7)]);
    assert!(world.oldest() > 1, "it is removed");
}

#[tokio::test]
async fn when_consumers_lag_new_events_are_refused_and_their_results_are_not() {
    let mut world = World::new(EmbeddedConfig { max_bytes: 20_000, ..by_size(10_000) });
    let mut consumer = world.log.events().consume(&GroupId::try_new("g").unwrap()).await.unwrap();
    let refusal = loop {
        world.seq += 1;
        match world.log.events().append(P0, vec![event_of(&origin("client"), world.seq, 1000)]).await {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert!(matches!(&refusal, LogError::Full(why) if why.contains("consumers must catch up")), "{refusal}");
    world.log.dead_letters().append(P0, vec![dead_letter(1)]).await.unwrap();

    let end = world.range(P0).await.end;
    consume_all(&mut consumer, end).await;
    // Room comes back once a snapshot has seen the commits, which the refused log must bring about by itself.
    loop {
        world.log.look_around_and_wait();
        match world.log.events().append(P0, vec![event(0)]).await {
            Ok(_) => break,
            Err(LogError::Full(_)) => {}
            Err(other) => panic!("{other}"),
        }
    }
}

#[tokio::test]
async fn a_disk_that_the_log_has_filled_is_emptied_by_its_consumers() {
    let mut world = World::new(by_size(20_000));
    let mut consumer = world.log.events().consume(&GroupId::try_new("g").unwrap()).await.unwrap();
    world.disk.set_capacity(Some(100_000));
    let refusal = loop {
        world.seq += 1;
        match world.log.events().append(P0, vec![event_of(&origin("client"), world.seq, 1000)]).await {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert!(matches!(&refusal, LogError::Full(why) if why.contains("bytes left")), "{refusal}");
    let end = world.range(P0).await.end;
    consume_all(&mut consumer, end).await;
    world.until(|world| world.disk.used() < 50_000);
    world.fill(1).await;
}
