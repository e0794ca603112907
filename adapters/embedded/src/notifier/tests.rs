//! The bus passes the contract suite; and its bounds.

use std::sync::Arc;

use async_trait::async_trait;
use nimbus_contracts::notifier::NotifierFixture;
use nimbus_core::{
    ServerId, SessionId,
    ports::notifier::{Notification, Notifier, NotifierError},
};
use ulid::Ulid;

use super::{EmbeddedNotifier, NotifierConfig, NotifierMetrics};

const CONFIG: NotifierConfig = NotifierConfig { notifications: 32, bytes: 1_000 };

struct Fixture(EmbeddedNotifier);

#[async_trait]
impl NotifierFixture for Fixture {
    fn notifier(&self) -> Arc<dyn Notifier> {
        Arc::new(self.0.clone())
    }

    fn overflow(&self) -> usize {
        CONFIG.notifications + 1
    }
}

async fn make() -> impl NotifierFixture {
    Fixture(EmbeddedNotifier::new(CONFIG, NotifierMetrics::default()))
}

nimbus_contracts::notifier_contract!(make);

fn server(name: &str) -> ServerId {
    ServerId::try_new(name).unwrap()
}

/// Results of one client that weigh about `bytes`.
fn results(bytes: usize) -> Notification {
    use nimbus_contracts::Sample;
    use nimbus_core::{Offset, Partition, Position, ResultRecord, ports::log::Stored, ports::notifier::ClientResults};
    let client = nimbus_core::ClientId::try_new("c").unwrap();
    let record = ResultRecord { payload: vec![0; bytes].into(), ..ResultRecord::sample(&client, 0) };
    let results = Arc::new([Stored { offset: Offset(0), record }]);
    Notification::Results {
        partition: Partition(0),
        previous: Position(0),
        last: Position(1),
        clients: vec![ClientResults { client, results }],
    }
}

fn superseded() -> Notification {
    let client = nimbus_core::ClientId::try_new("c").unwrap();
    Notification::Superseded { client, session: SessionId(Ulid(1)) }
}

#[tokio::test]
async fn a_queue_is_bounded_in_bytes_and_takes_one_huge_batch_all_the_same() {
    let metrics = NotifierMetrics::default();
    let notifier = EmbeddedNotifier::new(CONFIG, metrics.clone());
    let mut subscription = notifier.subscribe(&server("s")).await.unwrap();
    assert!(matches!(subscription.next().await, Some(Notification::MayHaveMissed)));
    notifier.send(&server("s"), results(5_000));
    notifier.send(&server("s"), results(10));
    notifier.send(&server("s"), superseded());
    notifier.send(&server("nobody"), superseded());
    assert_eq!((metrics.sent.get(), metrics.dropped.get(), metrics.unheard.get()), (1, 2, 1));
    assert!(matches!(subscription.next().await, Some(Notification::MayHaveMissed)), "the miss comes first");
    assert!(matches!(subscription.next().await, Some(Notification::Results { .. })));
    notifier.send(&server("s"), results(10));
    assert!(matches!(subscription.next().await, Some(Notification::Results { .. })));
}

#[tokio::test]
async fn closing_ends_subscriptions_after_what_waits() {
    let metrics = NotifierMetrics::default();
    let notifier = EmbeddedNotifier::new(CONFIG, metrics.clone());
    let mut subscription = notifier.subscribe(&server("s")).await.unwrap();
    assert_eq!(metrics.subscriptions.get(), 1);
    notifier.send(&server("s"), superseded());
    notifier.close();
    assert!(matches!(subscription.next().await, Some(Notification::MayHaveMissed)));
    assert!(matches!(subscription.next().await, Some(Notification::Superseded { .. })));
    assert!(subscription.next().await.is_none());
    assert!(matches!(notifier.subscribe(&server("s")).await, Err(NotifierError::Unavailable(_))));
    assert!(matches!(notifier.publish(&server("s"), superseded()).await, Err(NotifierError::Unavailable(_))));
    drop(subscription);
    assert_eq!(metrics.subscriptions.get(), 0);
}

#[tokio::test]
async fn a_waiting_reader_is_woken_by_the_end() {
    let notifier = EmbeddedNotifier::new(CONFIG, NotifierMetrics::default());
    let mut subscription = notifier.subscribe(&server("s")).await.unwrap();
    assert!(subscription.next().await.is_some());
    let (ended, ()) = futures_util::join!(subscription.next(), async { notifier.close() });
    assert!(ended.is_none());
}
