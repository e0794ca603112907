//! Two nodes that share the slots: partitions live on both, batches and notifications stay one step (rule 29).

use nimbus_core::{
    ClientId, Offset, Partition, Position, ResultRecord,
    ports::{
        log::{Batch, Stored},
        mailbox::{Applied, Mailbox as _, MailboxAck, Page},
        notifier::{Notification, Notifier as _},
    },
};
use tokio::task::JoinHandle;

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
    Batch { partition, from: Position(from), records, next: Position(from + count), provisional: None }
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

#[tokio::test]
async fn rule_20_a_node_that_does_not_answer_takes_nothing_from_the_partitions_of_the_others() {
    let Some(nodes) = cluster("a node that does not answer").await else { return };
    let config = RedisConfig {
        cluster: true,
        command_timeout: std::time::Duration::from_millis(500),
        ..config(&nodes[0].url())
    };
    let world = World::new(config, 8).await;
    let all: Vec<_> = world.partitions.all().collect();
    let one_of = |partition| {
        let here = |client: &nimbus_core::ClientId| world.partitions.partition_of(client) == partition;
        (0..).map(|number| client(&format!("c{number}"))).find(here).unwrap()
    };
    for partition in &all {
        let c = one_of(*partition);
        world.ports.mailbox.claim(sdk(&c, "s1", 1)).await.unwrap();
        world.ports.mailbox.apply(&answers_in(*partition, &c, 0, 4)).await.unwrap();
    }
    let heads = async || world.ports.mailbox.heads(&server("s1"), &all).await;
    assert_eq!(heads().await.unwrap().len(), 8);
    let on_first = nodes[0].command(&["KEYS", "*:head"]).await;
    let is_healthy = |partition: &Partition| on_first.contains(&format!("{{{partition}}}:head"));
    let healthy: Vec<_> = all.iter().copied().filter(is_healthy).collect();
    assert!(!healthy.is_empty() && healthy.len() < 8, "both nodes have a share, or this proves nothing");
    let acks: Vec<_> = all
        .iter()
        .map(|partition| MailboxAck { client: one_of(*partition), session: session(1), position: Position(4) })
        .collect();
    // Its connections stand, and nothing comes.
    nodes[1].signal("-STOP");
    let (found, counted) = futures_util::join!(heads(), world.ports.mailbox.ack(&acks));
    let found: Vec<_> = found.unwrap().iter().map(|head| (head.partition, head.applied, head.notified)).collect();
    let expected: Vec<_> = healthy.iter().map(|partition| (*partition, Position(4), Position(4))).collect();
    assert_eq!(found, expected, "of the others nothing is said");
    assert!(counted.is_err(), "some did not count");
    nodes[1].signal("-CONT");
    until("all are there again", async || heads().await.is_ok_and(|found| found.len() == 8)).await;
    for partition in &healthy {
        let view = world.ports.mailbox.inspect(&one_of(*partition)).await.unwrap();
        assert_eq!((view.waiting, view.owner), (0, Some((server("s1"), session(1)))));
    }
}

/// Over one connection goes what is asked of a node's own partitions, and what another node would have asked there that is on its way.
#[tokio::test]
async fn guarantee_4_what_is_asked_while_a_slot_moves_is_answered_to_whoever_asked() {
    let Some(nodes) = cluster("a slot that moves").await else { return };
    let config = RedisConfig { cluster: true, ..config(&nodes[0].url()) };
    let world = World::new(config, 8).await;
    let mailbox = &world.ports.mailbox;
    let (mut on_first, mut on_second) = (Vec::new(), Vec::new());
    for partition in world.partitions.all() {
        let is_on_first = slot(&nodes, partition).await < 8192;
        if is_on_first { &mut on_first } else { &mut on_second }.push(partition);
    }
    let (moving, staying) = (on_first[0], on_second[0]);
    let in_partition = |partition| {
        let all = (0..).map(|number| client(&format!("c{number}")));
        all.filter(move |c| world.partitions.partition_of(c) == partition).take(2).collect::<Vec<_>>()
    };
    for partition in [moving, staying] {
        for (number, c) in (0..).zip(in_partition(partition)) {
            mailbox.claim(sdk(&c, "s1", 1)).await.unwrap();
            mailbox.apply(&answers_in(partition, &c, number * 4, 4)).await.unwrap();
            mailbox.read(&c, Position::START, 100, 1 << 20).await.unwrap();
        }
    }
    move_keys(&nodes, slot(&nodes, moving).await).await;

    nodes[1].signal("-STOP");
    let reads: Vec<_> = in_partition(staying).into_iter().cycle().take(8).map(|c| read(&world, c)).collect();
    let asked = tokio::spawn({
        let mailbox = mailbox.clone();
        async move { mailbox.landmark(moving).await }
    });
    until("the other node is named", async || nodes[0].command(&["INFO", "errorstats"]).await.contains("_ASK:")).await;
    // Nothing comes of whatever the first is asked in the meantime.
    nodes[0].signal("-STOP");
    nodes[1].signal("-CONT");
    for read in reads {
        let (c, owners) = read.await.unwrap();
        assert_eq!(owners, vec![c.clone(); 4], "{c} reads its own");
    }
    nodes[0].signal("-CONT");
    let refused = asked.await.unwrap();
    assert!(refused.is_err(), "what is on its way is refused: {refused:?}");

    end_move(&nodes, slot(&nodes, moving).await).await;
    for c in in_partition(moving) {
        let (c, owners) = read(&world, c).await.unwrap();
        assert_eq!(owners, vec![c.clone(); 4], "what has arrived is found at once");
    }
    assert_eq!(world.store.link.metrics.silences.get(), 0, "no client had to be started again");
}

/// Whose are the records in the mailbox of a client?
fn read(world: &World, of: ClientId) -> JoinHandle<(ClientId, Vec<ClientId>)> {
    let mailbox = world.ports.mailbox.clone();
    tokio::spawn(async move {
        let page = mailbox.read(&of, Position::START, 100, 1 << 20).await.unwrap();
        let Page::Records { records, complete: true, .. } = page else { panic!("{of} got {page:?}") };
        (of, records.into_iter().map(|stored| stored.record.origin.client.clone()).collect())
    })
}

async fn slot(nodes: &[OwnRedis; 2], partition: Partition) -> u16 {
    let answer = nodes[0].command(&["CLUSTER", "KEYSLOT", &format!("{{{partition}}}")]).await;
    answer.trim().trim_start_matches(':').parse().unwrap()
}

async fn id(node: &OwnRedis) -> String {
    node.command(&["CLUSTER", "MYID"]).await.lines().nth(1).unwrap().to_owned()
}

/// All keys of a slot go from the first node to the second. The slot itself does not, until the [end](end_move).
async fn move_keys(nodes: &[OwnRedis; 2], slot: u16) {
    let (from, to, slot) = (id(&nodes[0]).await, id(&nodes[1]).await, slot.to_string());
    nodes[1].command(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &from]).await;
    nodes[0].command(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &to]).await;
    let found = nodes[0].command(&["CLUSTER", "GETKEYSINSLOT", &slot, "100"]).await;
    let keys: Vec<_> = found.lines().filter(|line| !line.starts_with(['*', '$'])).collect();
    let port = nodes[1].port.to_string();
    let words = [&["MIGRATE", "127.0.0.1", &port, "", "0", "5000", "KEYS"], &keys[..]].concat();
    assert!(nodes[0].command(&words).await.contains("OK"));
}

async fn end_move(nodes: &[OwnRedis; 2], slot: u16) {
    let (to, slot) = (id(&nodes[1]).await, slot.to_string());
    for node in [&nodes[1], &nodes[0]] {
        assert!(node.command(&["CLUSTER", "SETSLOT", &slot, "NODE", &to]).await.contains("OK"));
    }
}
