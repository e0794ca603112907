//! Scans of the results log: each client its own records, folded, in pages, many clients in one pass.

use std::sync::Arc;

use futures_util::future::join_all;
use nimbus_core::{Position, session::Fetch};
use prometheus_client::registry::Registry;

use super::{ScanRequest, Scanner};
use crate::{
    metrics::Metrics,
    testing::{answer, origin, store},
};

fn fetch(from: u64, max_records: usize, answered: u64) -> Fetch {
    Fetch { from: Position(from), max_records, max_bytes: 1 << 20, answered, answered_beyond: Vec::new() }
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
