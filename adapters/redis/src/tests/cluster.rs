//! Two nodes that share the slots: partitions live on both, batches and notifications stay one step (rule 29).

use nimbus_core::{
    Offset, Partition, Position, ResultRecord,
    ports::{
        log::{Batch, Stored},
        mailbox::{Applied, Mailbox as _, MailboxAck, Page},
        notifier::{Notification, Notifier as _},
    },
};

use super::races::{listen, told};
use crate::{
    RedisConfig,
    testing::{OwnRedis, World, answer, client, config, sdk, server, session, until},
};

async fn cluster(test: &str) -> Option<[OwnRedis; 2]> {
    let enabled = ["--cluster-enabled", "yes"];
    let nodes = [OwnRedis::start(test, &enabled).await?, OwnRedis::start(test, &enabled).await?];
    for (node, slots) in nodes.iter().zip([["0", "8191"], ["8192", "16383"]]) {
        let words = ["CLUSTER", "ADDSLOTSRANGE", slots[0], slots[1]];
        assert!(node.command(&words).await.contains("OK"));
    }
    nodes[0].command(&["CLUSTER", "MEET", "127.0.0.1", &nodes[1].port.to_string()]).await;
    for node in &nodes {
        until("the cluster agrees", async || {
            let info = node.command(&["CLUSTER", "INFO"]).await;
            info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:2")
        })
        .await;
    }
    Some(nodes)
}

fn answers_in(partition: Partition, of: &nimbus_core::ClientId, from: u64, count: u64) -> Batch<ResultRecord> {
    let stored = |at| Stored { offset: Offset(at), record: answer(of, "alice", at + 1) };
    let records = (from..from + count).map(stored).collect();
    Batch { partition, from: Position(from), records, next: Position(from + count) }
}

#[tokio::test]
async fn rule_29_a_batch_and_its_notification_are_one_step_on_the_node_of_their_partition() {
    let Some(nodes) = cluster("a cluster").await else { return };
    let config = RedisConfig { cluster: true, ..config(&nodes[0].url()) };
    let world = World::new(config, 4).await;
    let other = world.another().await;
    let mut heard = listen(&other, "s1").await;
    for partition in world.partitions.all() {
        let here = |client: &nimbus_core::ClientId| world.partitions.partition_of(client) == partition;
        let c = (0..).map(|number| client(&format!("c{number}"))).find(here).unwrap();
        other.ports.mailbox.claim(sdk(&c, "s1", 1)).await.unwrap();
        for round in 0..3 {
            let batch = answers_in(partition, &c, round * 4, 4);
            let applied = world.ports.mailbox.apply(&batch).await.unwrap();
            assert_eq!(applied, Applied::Through { applied: batch.next, fresh: 4, duplicates: 0 });
            assert_eq!(told(&mut heard).await, (round * 4..round * 4 + 4).collect::<Vec<_>>());
        }
        let ack = MailboxAck { client: c.clone(), session: session(1), position: Position(8) };
        other.ports.mailbox.ack(&[ack]).await.unwrap();
        let page = other.ports.mailbox.read(&c, Position(8), 100, 1 << 20).await.unwrap();
        assert!(matches!(page, Page::Records { records, complete: true, .. } if records.len() == 4));
        other.ports.mailbox.release(&c, session(1)).await.unwrap();
    }
    let all: Vec<_> = world.partitions.all().collect();
    let heads = other.ports.mailbox.heads(&server("s1"), &all).await.unwrap();
    assert!(heads.iter().all(|head| head.applied == Position(12) && head.notified == Position(12)));
    let note = Notification::Superseded { client: client("c"), session: session(1) };
    world.ports.notifier.publish(&server("s1"), note).await.unwrap();
    assert!(matches!(heard.next().await, Some(Notification::Superseded { .. })));
    // Both nodes have a share, or this proves nothing.
    for node in &nodes {
        assert!(node.command(&["KEYS", "*:head"]).await.contains("head"));
    }
}
