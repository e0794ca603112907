//! Scans of the results log: each client its own records, folded, in pages, many clients in one pass.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::future::join_all;
use nimbus_core::{
    GroupId, LogEpoch, Partition, PartitionCount, Position, ResultRecord,
    ports::log::{Appender, Appending, Batch, Consumer, Log, LogError, Range, ResultLog},
    session::Fetch,
};
use prometheus_client::registry::Registry;

use super::{ScanRequest, Scanner};
use crate::{
    metrics::Metrics,
    testing::{answer, origin, store},
};

fn fetch(from: u64, max_records: usize, answered: u64) -> Fetch {
    Fetch {
        from: Position(from),
        max_records,
        max_bytes: 1 << 20,
        answered,
        answered_beyond: Vec::new(),
        pause: Default::default(),
    }
}

#[tokio::test]
async fn rule_23_each_client_gets_its_own_results_once_from_its_position() {
    let (_dir, store) = store().await;
    let log = store.results();
    let clients = ["a", "b", "c", "d", "e"];
    for seq in 1..=50 {
        for id in clients {
            let partition = log.partitions().partition_of(&origin(id).client);
            // Every third is answered twice: a zombie's copy, which the fold drops.
            let copies = if seq % 3 == 0 { 2 } else { 1 };
            log.append(partition, vec![answer(id, seq); copies]).await.unwrap();
        }
    }
    let metrics = Metrics::register(&mut Registry::default());
    let scanner = Scanner::new(Arc::clone(&log), metrics.clone());
    let scans = clients.iter().map(|id| {
        let scanner = &scanner;
        async move {
            let (mut at, mut seqs) = (0, Vec::new());
            loop {
                let answered = seqs.last().copied().unwrap_or(10);
                let page = scanner.scan(ScanRequest::new(origin(id), fetch(at, 7, answered))).await.unwrap();
                assert!(page.records.len() <= 7);
                assert!(page.records.iter().all(|stored| stored.record.origin.client.as_str() == *id));
                seqs.extend(page.records.iter().map(|stored| stored.record.seq));
                at = page.through.0;
                if page.complete {
                    return seqs;
                }
            }
        }
    });
    for seqs in join_all(scans).await {
        assert_eq!(seqs, (11..=50).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn results_of_a_former_principal_are_not_handed_out() {
    let (_dir, store) = store().await;
    let log = store.results();
    let mut foreign = answer("a", 1);
    let mut former = (*foreign.origin).clone();
    former.principal = nimbus_core::PrincipalId::try_new("former").unwrap();
    foreign.origin = Arc::new(former);
    let partition = log.partitions().partition_of(&foreign.origin.client);
    log.append(partition, vec![foreign, answer("a", 1)]).await.unwrap();
    let scanner = Scanner::new(log, Metrics::register(&mut Registry::default()));
    let page = scanner.scan(ScanRequest::new(origin("a"), fetch(0, 10, 0))).await.unwrap();
    assert_eq!(page.records.len(), 1);
    assert_eq!(page.records[0].record.origin.principal.as_str(), "anyone");
    let rest = scanner.scan(ScanRequest::new(origin("a"), fetch(page.through.0, 10, 1))).await.unwrap();
    assert!(rest.complete && rest.records.is_empty());
}

/// A log that was cut at its start, and that has a record which nobody can read.
#[derive(Debug)]
struct Broken {
    log: Arc<ResultLog>,
    start: Position,
    damaged: Position,
}

#[async_trait]
impl Log<ResultRecord> for Broken {
    fn epoch(&self) -> LogEpoch {
        self.log.epoch()
    }

    fn partitions(&self) -> PartitionCount {
        self.log.partitions()
    }

    async fn ready(&self) {
        self.log.ready().await;
    }

    fn append(&self, partition: Partition, records: Vec<ResultRecord>) -> Appending {
        self.log.append(partition, records)
    }

    fn appender(&self) -> Box<dyn Appender<ResultRecord>> {
        self.log.appender()
    }

    async fn consume(&self, group: &GroupId) -> Result<Box<dyn Consumer<ResultRecord>>, LogError> {
        self.log.consume(group).await
    }

    async fn range(&self, partition: Partition) -> Result<Range, LogError> {
        self.log.range(partition).await
    }

    async fn read(&self, partition: Partition, from: Position, max: usize) -> Result<Batch<ResultRecord>, LogError> {
        // Requests that come together are one pass.
        tokio::task::yield_now().await;
        if from < self.start {
            return Err(LogError::Expired { partition, wanted: from, start: self.start });
        }
        if from == self.damaged {
            return Err(LogError::Damaged("no record".to_owned()));
        }
        self.log.read(partition, from, max).await
    }

    async fn committed(&self, partition: Partition) -> Result<Vec<(GroupId, Position)>, LogError> {
        self.log.committed(partition).await
    }
}

#[tokio::test]
async fn what_one_client_cannot_read_ends_nobody_elses_scan() {
    let (_dir, store) = store().await;
    let log = store.results();
    let partition = log.partitions().partition_of(&origin("a").client);
    let records = (1..=20).map(|seq| answer("a", seq)).collect();
    log.append(partition, records).await.unwrap();
    let broken = Arc::new(Broken { log, start: Position(5), damaged: Position(8) });
    let scanner = Scanner::new(broken, Metrics::register(&mut Registry::default()));
    let scan = |from: u64| scanner.scan(ScanRequest::new(origin("a"), fetch(from, 100, 0)));
    let [too_old, also_too_old, in_front, behind] = join_all([0, 4, 8, 9].map(scan)).await.try_into().unwrap();
    for gone in [too_old, also_too_old] {
        let error = gone.unwrap_err();
        assert!(matches!(error, LogError::Expired { start: Position(5), .. }), "{error}");
        assert!(error.class().is_retryable(), "whoever comes back is told of the gap");
    }
    assert!(matches!(in_front.unwrap_err(), LogError::Damaged(_)));
    assert_eq!(behind.unwrap().records.len(), 11);
}
