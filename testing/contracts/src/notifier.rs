//! What every [`Notifier`] promises: at most once, in order, and a miss is announced.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::FutureExt;
use nimbus_core::{
    ClientId, ServerId,
    ports::notifier::{Notification, Notifier, Subscription},
};

use crate::support::{client_in, partitions, server, session, within};

/// A bus of its own for each test.
#[async_trait]
pub trait NotifierFixture: Send + Sync {
    /// The bus.
    fn notifier(&self) -> Arc<dyn Notifier>;

    /// How many notifications surely overflow the queue of a server that does not read.
    fn overflow(&self) -> usize;
}

/// Runs the whole suite as tests: `notifier_contract!(make)`, where `async fn make() -> impl NotifierFixture`.
#[macro_export]
macro_rules! notifier_contract {
    ($make:expr) => {
        $crate::each_notifier_promise!($crate::__contract_tests, $crate::notifier, $make);
    };
}

/// Hands the names of the suite's functions to a macro.
#[doc(hidden)]
#[macro_export]
macro_rules! each_notifier_promise {
    ($with:path, $($args:tt)*) => {
        $with! { $($args)*;
            the_first_word_is_may_have_missed
            notifications_arrive_in_the_order_of_sending
            a_notification_reaches_only_its_server
            a_server_that_is_not_there_is_no_error
            a_dropped_subscription_hears_nothing_and_a_new_one_begins_anew
            a_newer_subscription_outlives_the_older_ones_end
            waiting_is_cancel_safe
            what_overflows_is_announced
        }
    };
}

/// Runs the whole suite, one promise after another.
pub async fn run_notifier_contract<X: NotifierFixture>(make: impl AsyncFn() -> X) {
    crate::each_notifier_promise!(crate::__contract_calls, &make);
}

/// `number` survives the trip as the client's name.
fn numbered(number: u32) -> Notification {
    let client = client_in(nimbus_core::Partition(0), partitions(1), number);
    Notification::Superseded { client, session: session(u128::from(number)) }
}

fn number_of(notification: &Notification) -> Option<u32> {
    match notification {
        Notification::Superseded { session, .. } => Some(session.0.0 as u32),
        Notification::Results { .. } | Notification::MayHaveMissed => None,
    }
}

async fn subscribe(notifier: &dyn Notifier, name: &ServerId) -> Box<dyn Subscription> {
    let mut subscription = within("subscribing", notifier.subscribe(name)).await.expect("subscribe");
    let first = within("the first notification", subscription.next()).await;
    assert!(matches!(first, Some(Notification::MayHaveMissed)), "first came {first:?}");
    subscription
}

async fn publish(notifier: &dyn Notifier, name: &ServerId, number: u32) {
    within("publishing", notifier.publish(name, numbered(number))).await.expect("publish");
}

async fn next(subscription: &mut Box<dyn Subscription>) -> Notification {
    within("a notification", subscription.next()).await.expect("the subscription ended")
}

/// Before a subscription there may have been anything, so its first word is to repair.
pub async fn the_first_word_is_may_have_missed<X: NotifierFixture>(make: impl AsyncFn() -> X) {
    let fixture = make().await;
    subscribe(&*fixture.notifier(), &server("s1")).await;
}

/// What one caller sends one after another arrives in that order, unchanged.
pub async fn notifications_arrive_in_the_order_of_sending<X: NotifierFixture>(make: impl AsyncFn() -> X) {
    let fixture = make().await;
    let (notifier, name) = (fixture.notifier(), server("s1"));
    let mut subscription = subscribe(&*notifier, &name).await;
    for number in 0..20 {
        publish(&*notifier, &name, number).await;
    }
    for number in 0..20 {
        let Notification::Superseded { client, session: ended } = next(&mut subscription).await else {
            panic!("something else came before {number}")
        };
        let sent: (ClientId, _) = (client_in(nimbus_core::Partition(0), partitions(1), number), session(number.into()));
        assert_eq!((client, ended), sent);
    }
}

/// Channels are apart.
pub async fn a_notification_reaches_only_its_server<X: NotifierFixture>(make: impl AsyncFn() -> X) {
    let fixture = make().await;
    let notifier = fixture.notifier();
    let mut one = subscribe(&*notifier, &server("s1")).await;
    let mut two = subscribe(&*notifier, &server("s2")).await;
    publish(&*notifier, &server("s1"), 1).await;
    publish(&*notifier, &server("s2"), 2).await;
    assert_eq!(number_of(&next(&mut two).await), Some(2));
    assert_eq!(number_of(&next(&mut one).await), Some(1));
}

/// Servers come and go; the mailbox keeps what they missed.
pub async fn a_server_that_is_not_there_is_no_error<X: NotifierFixture>(make: impl AsyncFn() -> X) {
    let fixture = make().await;
    publish(&*fixture.notifier(), &server("nobody"), 1).await;
}

/// Dropping unsubscribes; what is sent in between is not kept, and the next subscription says so.
pub async fn a_dropped_subscription_hears_nothing_and_a_new_one_begins_anew<X: NotifierFixture>(
    make: impl AsyncFn() -> X,
) {
    let fixture = make().await;
    let (notifier, name) = (fixture.notifier(), server("s1"));
    drop(subscribe(&*notifier, &name).await);
    publish(&*notifier, &name, 1).await;
    let mut again = subscribe(&*notifier, &name).await;
    publish(&*notifier, &name, 2).await;
    assert_eq!(number_of(&next(&mut again).await), Some(2));
}

/// A server that subscribes again (after a lost connection) keeps its new channel when the old one is cleaned up.
pub async fn a_newer_subscription_outlives_the_older_ones_end<X: NotifierFixture>(make: impl AsyncFn() -> X) {
    let fixture = make().await;
    let (notifier, name) = (fixture.notifier(), server("s1"));
    let older = subscribe(&*notifier, &name).await;
    let mut newer = subscribe(&*notifier, &name).await;
    drop(older);
    publish(&*notifier, &name, 1).await;
    assert_eq!(number_of(&next(&mut newer).await), Some(1));
}

/// A wait that is given up takes nothing with it.
pub async fn waiting_is_cancel_safe<X: NotifierFixture>(make: impl AsyncFn() -> X) {
    let fixture = make().await;
    let (notifier, name) = (fixture.notifier(), server("s1"));
    let mut subscription = subscribe(&*notifier, &name).await;
    let mut got = Vec::new();
    for number in 0..10 {
        // Polled once, then dropped; what it returns counts, what it would have returned must come later.
        got.extend(subscription.next().now_or_never().flatten());
        publish(&*notifier, &name, number).await;
        got.extend(subscription.next().now_or_never().flatten());
    }
    while got.len() < 10 {
        got.push(next(&mut subscription).await);
    }
    assert_eq!(got.iter().map(number_of).collect::<Vec<_>>(), (0..10).map(Some).collect::<Vec<_>>());
}

/// A server that does not read loses notifications rather than slow anyone down. It learns of it, and what arrives is
/// still in order.
pub async fn what_overflows_is_announced<X: NotifierFixture>(make: impl AsyncFn() -> X) {
    let fixture = make().await;
    let (notifier, name) = (fixture.notifier(), server("s1"));
    let mut subscription = subscribe(&*notifier, &name).await;
    let more = u32::try_from(fixture.overflow()).expect("a queue is not that long");
    let mut sent = 0;
    let mut got = Vec::new();
    // What is on its way to the queue does not fill it, so that one round may fit.
    let mut announced = false;
    while !announced {
        for number in sent..sent + more {
            publish(&*notifier, &name, number).await;
        }
        sent += more;
        while !announced && got.last().is_none_or(|last| last + 1 < sent) {
            match number_of(&next(&mut subscription).await) {
                Some(number) => got.push(number),
                None => announced = true,
            }
        }
    }
    // It goes on, and ends the list: by then everything that was kept has come.
    let last = sent;
    loop {
        publish(&*notifier, &name, last).await;
        let number = loop {
            if let Some(number) = number_of(&next(&mut subscription).await) {
                break number;
            }
        };
        if number == last {
            break;
        }
        got.push(number);
    }
    assert!(got.is_sorted_by(|earlier, later| earlier < later), "{got:?}");
    assert!(got.len() < sent as usize);
}
