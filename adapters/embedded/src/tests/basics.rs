//! Append, read, consume, close, open again, on the real file system.

use std::{num::NonZeroU32, sync::Arc};

use nimbus_core::{
    GroupId, Offset, PartitionCount, Position,
    ports::log::{Committed, ConsumerEvent, LogError},
};
use prometheus_client::registry::Registry;

use crate::{
    Embedded, EmbeddedConfig, OpenError,
    testing::{P0, P1, TestClock, event, read_all},
};

fn config(dir: &tempfile::TempDir) -> EmbeddedConfig {
    EmbeddedConfig {
        partitions: PartitionCount(NonZeroU32::new(2).unwrap()),
        segment_bytes: 4096,
        ..EmbeddedConfig::new(dir.path())
    }
}

async fn open(config: EmbeddedConfig) -> Result<Embedded, OpenError> {
    Embedded::open(config, Arc::new(TestClock::default()), &mut Registry::default()).await
}

#[tokio::test]
async fn what_was_appended_is_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let mut epoch = None;
    for round in 0..3u64 {
        let log = open(config(&dir)).await.unwrap();
        assert_eq!(*epoch.get_or_insert(log.epoch()), log.epoch());
        let events = log.events();
        for n in 0..40 {
            let seq = round * 100 + n * 2;
            let position = events.append(P0, vec![event(seq), event(seq + 1)]).await.unwrap();
            assert_eq!(position, Position(round * 80 + n * 2 + 2));
        }
        let expected: Vec<_> =
            (0..=round).flat_map(|r| (0..80).map(move |n| (Offset(r * 80 + n), r * 100 + n))).collect();
        assert_eq!(read_all(&*events, P0).await.unwrap(), expected);
        assert_eq!(read_all(&*events, P1).await.unwrap(), vec![]);
        log.close().await.unwrap();
        assert!(matches!(events.append(P0, vec![event(1)]).await, Err(LogError::Closed)));
    }
}

#[tokio::test]
async fn a_group_goes_on_where_it_committed() {
    let dir = tempfile::tempdir().unwrap();
    let group = GroupId::try_new("executors").unwrap();
    for round in 0..3u64 {
        let log = open(config(&dir)).await.unwrap();
        let events = log.events();
        let mut consumer = events.consume(&group).await.unwrap();
        for partition in [P0, P1] {
            match consumer.next().await.unwrap() {
                ConsumerEvent::Assigned { partition: assigned, committed } => {
                    assert_eq!(assigned, partition);
                    assert_eq!(committed.position, Position(if partition == P0 { round } else { 0 }));
                }
                other => panic!("{other:?}"),
            }
        }
        drop(events.append(P0, vec![event(round)]));
        match consumer.next().await.unwrap() {
            ConsumerEvent::Records(batch) => {
                assert_eq!(batch.partition, P0);
                assert_eq!(batch.records.iter().map(|s| s.record.seq).collect::<Vec<_>>(), vec![round]);
                consumer.commit(P0, Committed { position: batch.next, ..Committed::default() });
            }
            other => panic!("{other:?}"),
        }
        consumer.flush().await.unwrap();
        assert_eq!(events.committed(P0).await.unwrap(), vec![(group.clone(), Position(round + 1))]);
        log.close().await.unwrap();
        assert!(matches!(consumer.next().await, Err(LogError::Closed)));
    }
}

#[tokio::test]
async fn a_second_process_is_turned_away_until_the_first_has_closed() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(config(&dir)).await.unwrap();
    let second = open(config(&dir)).await.unwrap_err();
    assert!(matches!(&second, OpenError::InUse { dir: named } if named == dir.path()), "{second}");
    first.close().await.unwrap();
    open(config(&dir)).await.unwrap().close().await.unwrap();
}

#[tokio::test]
async fn another_number_of_partitions_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    open(config(&dir)).await.unwrap().close().await.unwrap();
    let other = EmbeddedConfig { partitions: PartitionCount(NonZeroU32::new(3).unwrap()), ..config(&dir) };
    let error = open(other).await.unwrap_err();
    assert!(matches!(error, OpenError::Partitions { found: 2, wanted: 3, .. }), "{error}");
}
