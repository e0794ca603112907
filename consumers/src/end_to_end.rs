//! Runtime and router together on the embedded backend: events in, and what waits in the mailbox at the end.

use std::{path::Path, sync::Arc, time::Duration};

use nimbus_core::{
    ClientId, Event, GroupId, PrincipalId, ServerId, SessionId,
    clock::{SystemClock, UnixMillis},
    mailbox::{Fold, Verdict},
    ports::{
        log::ConsumerEvent,
        mailbox::{Claim, ClaimKind},
        notifier::{Notification, Subscription},
    },
    position::Position,
};
use nimbus_embedded::{Embedded, EmbeddedConfig};
use prometheus_client::registry::Registry;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::{
    Catalogue, ConsumersError, ExecutorConfig, ExecutorMetrics, ExecutorPorts, RouterConfig, RouterMetrics,
    RouterPorts, run_executors, run_router,
    testing::{Client, brief},
};

/// One life of a process.
struct Life {
    store: Embedded,
    tasks: JoinSet<Result<(), ConsumersError>>,
    shutdown: CancellationToken,
}

impl Life {
    async fn begin(dir: &Path) -> Self {
        let mut registry = Registry::default();
        let clock = Arc::new(SystemClock);
        let store = Embedded::open(EmbeddedConfig::new(dir), Arc::clone(&clock) as _, &mut registry).await.unwrap();
        let shutdown = CancellationToken::new();
        let mut tasks = JoinSet::new();
        let ports = ExecutorPorts {
            events: store.events(),
            results: store.results(),
            dead_letters: store.dead_letters(),
            clock,
        };
        let catalogue = Arc::new(Catalogue::try_new(nimbus_executors::builtin()).unwrap());
        let config = ExecutorConfig { unknown_grace: Duration::ZERO, ..ExecutorConfig::default() };
        let metrics = ExecutorMetrics::register(&mut registry);
        tasks.spawn(run_executors(ports, catalogue, config, metrics, shutdown.clone()));
        let ports = RouterPorts { results: store.results(), mailbox: store.mailbox() };
        let metrics = RouterMetrics::register(&mut registry);
        tasks.spawn(run_router(ports, RouterConfig::default(), metrics, shutdown.clone()));
        Self { store, tasks, shutdown }
    }

    /// In good order.
    async fn end(mut self) {
        self.shutdown.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap().unwrap();
        }
        self.store.close().await.unwrap();
    }

    /// Consumers are cut off where they are.
    async fn cut_off(mut self) {
        self.tasks.abort_all();
        while self.tasks.join_next().await.is_some() {}
        self.store.close().await.unwrap();
    }

    async fn send(&self, events: Vec<Event>) {
        let log = self.store.events();
        let partition = log.partitions().partition_of(&events[0].origin.client);
        log.append(partition, events).await.unwrap();
    }

    /// The terminal answers to a client after the fold, read from the results log, once there are `count`.
    async fn answers(&self, client: &str, count: usize) -> Vec<String> {
        let log = self.store.results();
        let group = GroupId::try_new(&format!("reader-of-{client}")).unwrap();
        let mut consumer = log.consume(&group).await.unwrap();
        let (mut fold, mut answers) = (Fold::default(), Vec::new());
        while answers.len() < count {
            let ConsumerEvent::Records(batch) = consumer.next().await.unwrap() else { continue };
            let mine = batch.records.iter().filter(|stored| stored.record.origin.client.as_str() == client);
            for stored in mine {
                let fresh = fold.admit(stored.offset, &stored.record, UnixMillis(0)) == Verdict::Fresh;
                if fresh && stored.record.kind.is_terminal() {
                    answers.push(brief(&stored.record));
                }
            }
        }
        answers
    }

    /// What the owning server is told of its clients' terminal answers, until there are `count`.
    async fn told(subscription: &mut dyn Subscription, count: usize) -> Vec<String> {
        let mut told = Vec::new();
        while told.len() < count {
            if let Notification::Results { clients, .. } = subscription.next().await.unwrap() {
                let results = clients.iter().flat_map(|client| client.results.iter());
                told.extend(results.map(|stored| brief(&stored.record)));
            }
        }
        told
    }

    async fn claim(&self, client: &str) {
        let claim = Claim {
            client: ClientId::try_new(client).unwrap(),
            principal: PrincipalId::try_new("tester").unwrap(),
            server: ServerId::try_new("s").unwrap(),
            session: SessionId(ulid::Ulid::nil()),
            kind: ClaimKind::Original,
            log_end: Position::START,
        };
        self.store.mailbox().claim(claim).await.unwrap();
    }
}

fn squares(client: &mut Client, from: u64, count: u64) -> Vec<Event> {
    (from..from + count).map(|number| client.event("sq", &number.to_string())).collect()
}

fn expected(client: &str, count: u64) -> impl Iterator<Item = String> {
    (0..count).map(move |number| format!("{client}/{} Final {}", number + 1, number * number))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_become_answers_and_their_servers_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let life = Life::begin(dir.path()).await;
    let mut told = life.store.notifier().subscribe(&ServerId::try_new("s").unwrap()).await.unwrap();
    let (mut alice, mut bob) = (Client::new("alice"), Client::new("bob"));
    life.claim("alice").await;
    for round in 0..10 {
        life.send(squares(&mut alice, round * 100, 100)).await;
    }
    life.send(vec![
        bob.event("nobody", ""),
        bob.refused("EVENT_TOO_LARGE"),
        bob.event("fail", r#"{"kind":"poison"}"#),
        bob.event("delay", r#"{"ms":20,"steps":2}"#),
        bob.event("echo", "at last"),
    ])
    .await;
    assert!(Life::told(&mut *told, 1_000).await.into_iter().eq(expected("alice", 1_000)));
    assert_eq!(
        life.answers("bob", 5).await,
        [
            "bob/1 Error UNKNOWN_EVENT",
            "bob/2 Error EVENT_TOO_LARGE",
            "bob/3 Error EXECUTOR_GAVE_UP",
            "bob/4 Final {\"ms\":20}",
            "bob/5 Final at last"
        ]
    );
    life.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn consumers_that_are_cut_off_again_and_again_lose_and_repeat_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut clients: Vec<_> = (0..5).map(|number| (format!("c{number}"), Client::new(&format!("c{number}")))).collect();
    for round in 0..6 {
        let life = Life::begin(dir.path()).await;
        for (_, client) in &mut clients {
            life.send(squares(client, round * 200, 200)).await;
        }
        // Cut off somewhere in the middle: after so many answers of one client, wherever the others are.
        let (name, _) = &clients[round as usize % clients.len()];
        life.answers(name, (round as usize + 1) * 150).await;
        life.cut_off().await;
    }
    let life = Life::begin(dir.path()).await;
    for (name, _) in &clients {
        assert!(life.answers(name, 1_200).await.into_iter().eq(expected(name, 1_200)), "{name}");
    }
    life.end().await;
}
