//! Runtime and router together on the embedded backend: events in, and what waits in the mailbox at the end.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use nimbus_core::{
    ClientId, Event, GroupId, PrincipalId, ResultRecord, ServerId, SessionId,
    clock::{SystemClock, UnixMillis},
    mailbox::{Fold, Verdict},
    ports::{
        executor::{Executor, ExecutorError, Job, Output, Run},
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
    RouterPorts,
    dead_letters::{Fate, Filter, Letter, replay, scan},
    run_executors, run_router,
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
        Self::begin_with(dir, nimbus_executors::builtin()).await
    }

    async fn begin_with(dir: &Path, executors: Vec<Arc<dyn Executor>>) -> Self {
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
        let catalogue = Arc::new(Catalogue::try_new(executors).unwrap());
        let config = ExecutorConfig { unknown_grace: Duration::ZERO, ..ExecutorConfig::default() };
        let metrics = ExecutorMetrics::register(&mut registry);
        tasks.spawn(run_executors(ports, catalogue, config, metrics, (), shutdown.clone()));
        let ports = RouterPorts { results: store.results(), mailbox: store.mailbox() };
        let metrics = RouterMetrics::register(&mut registry);
        tasks.spawn(run_router(ports, RouterConfig::default(), metrics, (), shutdown.clone()));
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
                    answers.push(brief(&stored.record) + &replay_of(&stored.record));
                }
            }
        }
        answers
    }

    /// What the owning server is told of its clients' terminal answers, until there are `count` beyond `position`: a mailbox
    /// that is built anew tells everything again, and what a session has passed on is known by its place.
    async fn told(subscription: &mut dyn Subscription, position: &mut Position, count: usize) -> Vec<String> {
        let mut told = Vec::new();
        while told.len() < count {
            if let Notification::Results { clients, .. } = subscription.next().await.unwrap() {
                for stored in clients.iter().flat_map(|client| client.results.iter()) {
                    if !position.covers(stored.offset) {
                        *position = stored.offset.position_after();
                        told.push(brief(&stored.record) + &replay_of(&stored.record));
                    }
                }
            }
        }
        told
    }

    async fn open_letters(&self) -> Vec<Letter> {
        scan(&*self.store.dead_letters(), &Filter::default(), usize::MAX).await.unwrap().letters
    }

    async fn replay(&self, letters: Vec<Letter>) -> Vec<Fate> {
        let mut fates = Vec::new();
        let (log, events) = (self.store.dead_letters(), self.store.events());
        replay(&*log, &*events, &SystemClock, letters, |_, fate| fates.push(fate)).await.unwrap();
        fates
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

/// What marks an extra.
fn replay_of(record: &ResultRecord) -> String {
    if record.replay_no == 0 { String::new() } else { format!(" (replay {})", record.replay_no) }
}

/// Gives every event up until it is repaired.
#[derive(Debug, Default)]
struct Repairable {
    repaired: AtomicBool,
}

impl Executor for Repairable {
    fn name(&self) -> &str {
        "repairable"
    }

    fn run<'a>(&'a self, job: Job<'a>) -> Run<'a> {
        if self.repaired.load(Ordering::SeqCst) {
            Run::Now(Ok(Output { payload: job.event.payload.clone(), ..Output::default() }))
        } else {
            Run::Now(Err(ExecutorError::Poison("it is broken".to_owned())))
        }
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
    assert!(Life::told(&mut *told, &mut { Position::START }, 1_000).await.into_iter().eq(expected("alice", 1_000)));
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

/// Rule 9: the same identity, an extra that says so; the first terminal answer stands.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_letter_that_is_replayed_brings_an_extra_answer_and_repeats_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let executor = Arc::new(Repairable::default());
    let executors = || -> Vec<Arc<dyn Executor>> { vec![Arc::clone(&executor) as _, Arc::new(nimbus_executors::Echo)] };
    let mut alice = Client::new("alice");
    let (server, mut position) = (ServerId::try_new("s").unwrap(), Position::START);
    let failed = ["alice/1 Error EXECUTOR_GAVE_UP", "alice/2 Error EXECUTOR_GAVE_UP", "alice/3 Final three"];
    let failed_again = "alice/1 Error EXECUTOR_GAVE_UP (replay 1)";

    let life = Life::begin_with(dir.path(), executors()).await;
    let mut told = life.store.notifier().subscribe(&server).await.unwrap();
    life.claim("alice").await;
    life.send(vec![alice.event("repairable", "one"), alice.event("repairable", "two"), alice.event("echo", "three")])
        .await;
    assert_eq!(Life::told(&mut *told, &mut position, 3).await, failed);
    // Too early: it fails again, and is another letter.
    let letters = life.open_letters().await;
    let seqs: Vec<_> = letters.iter().map(|letter| letter.seq).collect();
    assert_eq!(seqs, [1, 2]);
    assert_eq!(life.replay(letters[..1].to_vec()).await, [Fate::Replayed(1)]);
    assert_eq!(Life::told(&mut *told, &mut position, 1).await, [failed_again]);
    life.end().await;

    executor.repaired.store(true, Ordering::SeqCst);
    let life = Life::begin_with(dir.path(), executors()).await;
    let mut told = life.store.notifier().subscribe(&server).await.unwrap();
    life.claim("alice").await;
    let letters = life.open_letters().await;
    let seqs: Vec<_> = letters.iter().map(|letter| (letter.seq, letter.replay_no)).collect();
    assert_eq!(seqs, [(2, 0), (1, 1)]);
    assert_eq!(life.replay(letters).await, [Fate::Replayed(1), Fate::Replayed(2)]);
    life.send(vec![alice.event("echo", "four")]).await;
    let repaired = ["alice/2 Final two (replay 1)", "alice/1 Final one (replay 2)", "alice/4 Final four"];
    assert_eq!(Life::told(&mut *told, &mut position, 3).await, repaired);
    assert!(life.open_letters().await.is_empty());
    // Whoever reads the log from its beginning gets the same.
    let all = [failed.as_slice(), &[failed_again], &repaired].concat();
    assert_eq!(life.answers("alice", all.len()).await, all);
    life.end().await;
}
