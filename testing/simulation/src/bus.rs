//! Notifications on their way to servers: late, lost, twice, out of order, or too many for the queue.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use async_trait::async_trait;
use nimbus_core::{
    Partition, Position, ServerId,
    ports::{
        mailbox::Head,
        notifier::{ClientResults, Notification, Notifier, NotifierError, Subscription},
    },
};
use tokio::{sync::Notify, time::Instant};

use crate::{life::Life, lock, plan::Bug, world::World};

/// One server's channel, as one incarnation of it listens.
#[derive(Debug)]
struct Channel {
    life: u64,
    /// Which subscription it belongs to.
    number: u64,
    waiting: VecDeque<(Instant, Notification)>,
    overflowed: bool,
    /// Said ahead of what waits, once nothing is held back.
    missed: bool,
    /// No results are handed out: the mailbox is claiming again.
    held_back: bool,
}

/// The channels of all servers: the newest subscription of each hears everything.
#[derive(Debug)]
pub(crate) struct Bus {
    world: Arc<World>,
    channels: Mutex<BTreeMap<ServerId, Channel>>,
    /// Planted: what was lost and does not show, by server and partition: where the chain was before, and where it is.
    hidden: Mutex<BTreeMap<(ServerId, Partition), (Position, Position)>>,
    subscriptions: AtomicU64,
    changed: Notify,
}

impl Bus {
    pub(crate) fn new(world: &Arc<World>) -> Arc<Self> {
        Arc::new(Self {
            world: Arc::clone(world),
            channels: Mutex::default(),
            hidden: Mutex::default(),
            subscriptions: AtomicU64::new(0),
            changed: Notify::new(),
        })
    }

    /// Sends a notification, for what that is worth.
    pub(crate) fn publish(&self, server: &ServerId, notification: Notification) {
        let Some(notification) = self.plant(server, notification) else { return };
        let (calm, dice, plan) = (self.world.is_calm(), &self.world.dice, &self.world.plan);
        let meets_fault = || !calm && dice.per_mille(plan.notification_faults);
        if meets_fault() && dice.per_mille(500) {
            return;
        }
        let times = if meets_fault() { 2 } else { 1 };
        let mut channels = lock(&self.channels);
        let Some(channel) = channels.get_mut(server) else { return };
        for _ in 0..times {
            let mut due = Instant::now() + self.world.delay();
            let overtakes = meets_fault();
            if let Some((last, _)) = channel.waiting.back()
                && !overtakes
            {
                due = due.max(*last);
            }
            channel.put(due, notification.clone(), plan.bus_capacity);
        }
        drop(channels);
        self.changed.notify_waiters();
    }

    /// What a process tells itself: it does not go over the wire, and waits for nothing that does.
    pub(crate) fn tell_own(&self, life: &Life, server: &ServerId, notification: Notification) {
        self.with_own(life, server, |channel| channel.put(Instant::now(), notification, usize::MAX));
    }

    /// Hands out no results until the guard is dropped; then the server has to repair.
    pub(crate) fn hold<'a>(&'a self, life: &'a Life, server: &'a ServerId) -> HeldBack<'a> {
        self.with_own(life, server, |channel| channel.held_back = true);
        HeldBack { bus: self, life, server }
    }

    fn with_own(&self, life: &Life, server: &ServerId, act: impl FnOnce(&mut Channel)) {
        if let Some(channel) = lock(&self.channels).get_mut(server).filter(|channel| channel.life == life.id) {
            act(channel);
        }
        self.changed.notify_waiters();
    }

    /// The planted bug: a notification is lost, and what follows hides it.
    fn plant(&self, server: &ServerId, notification: Notification) -> Option<Notification> {
        if !self.world.has(Bug::MissedNotification) {
            return Some(notification);
        }
        let Notification::Results { partition, previous, last, clients } = notification else {
            return Some(notification);
        };
        let mut hidden = lock(&self.hidden);
        let key = (server.clone(), partition);
        let shown = match hidden.get(&key) {
            Some((shown, until)) if *until == previous => *shown,
            _ => previous,
        };
        if !self.world.is_calm() && self.world.dice.per_mille(100) {
            hidden.insert(key, (shown, last));
            return None;
        }
        hidden.remove(&key);
        Some(Notification::Results { partition, previous: shown, last, clients })
    }

    /// A head, as the planted bug shows it.
    pub(crate) fn as_shown(&self, server: &ServerId, mut head: Head) -> Head {
        if let Some((shown, until)) = lock(&self.hidden).get(&(server.clone(), head.partition))
            && head.notified == *until
        {
            head.notified = *shown;
        }
        head
    }
}

/// While it lives, no results are handed out.
#[derive(Debug)]
pub(crate) struct HeldBack<'a> {
    bus: &'a Bus,
    life: &'a Life,
    server: &'a ServerId,
}

impl Drop for HeldBack<'_> {
    fn drop(&mut self) {
        self.bus.with_own(self.life, self.server, |channel| {
            channel.held_back = false;
            channel.missed = true;
        });
    }
}

impl Channel {
    fn put(&mut self, due: Instant, notification: Notification, capacity: usize) {
        if self.waiting.len() >= capacity {
            self.overflowed = true;
            return;
        }
        let at = self.waiting.partition_point(|(other, _)| *other <= due);
        self.waiting.insert(at, (due, notification));
    }
}

/// A notification in a few words.
pub(crate) fn brief(notification: &Notification) -> String {
    match notification {
        Notification::Results { partition, previous, last, clients } => {
            let seqs = |results: &ClientResults| {
                let seqs: Vec<u64> = results.results.iter().map(|stored| stored.record.seq).collect();
                format!("{} {seqs:?}", results.client)
            };
            let clients: Vec<String> = clients.iter().map(seqs).collect();
            format!("results of partition {partition} ({previous}..{last}): {clients:?}")
        }
        Notification::Superseded { client, session } => format!("{client} has superseded {session}"),
        Notification::MayHaveMissed => "may have missed".to_owned(),
    }
}

/// One incarnation's way to the bus.
#[derive(Debug)]
pub(crate) struct SimNotifier {
    life: Arc<Life>,
    bus: Arc<Bus>,
}

impl SimNotifier {
    pub(crate) fn new(life: &Arc<Life>, bus: &Arc<Bus>) -> Arc<Self> {
        Arc::new(Self { life: Arc::clone(life), bus: Arc::clone(bus) })
    }
}

#[async_trait]
impl Notifier for SimNotifier {
    async fn subscribe(&self, server: &ServerId) -> Result<Box<dyn Subscription>, NotifierError> {
        self.life.request("subscribe", 0).await;
        let number = self.bus.subscriptions.fetch_add(1, Ordering::Relaxed);
        let (life, waiting) = (self.life.id, VecDeque::new());
        let channel = Channel { life, number, waiting, overflowed: false, missed: true, held_back: false };
        lock(&self.bus.channels).insert(server.clone(), channel);
        self.life.answer().await;
        let (life, bus) = (Arc::clone(&self.life), Arc::clone(&self.bus));
        Ok(Box::new(SimSubscription { life, bus, number, server: server.clone() }))
    }

    async fn publish(&self, server: &ServerId, notification: Notification) -> Result<(), NotifierError> {
        self.life.request("publish", 0).await;
        if self.life.world.fails() {
            return Err(NotifierError::Unavailable("simulated".to_owned()));
        }
        self.bus.publish(server, notification);
        self.life.answer().await;
        Ok(())
    }
}

struct SimSubscription {
    life: Arc<Life>,
    bus: Arc<Bus>,
    number: u64,
    server: ServerId,
}

impl fmt::Debug for SimSubscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimSubscription").field("server", &self.server).finish_non_exhaustive()
    }
}

/// What a look into the channel finds.
enum Found {
    Due(Notification),
    Later(Option<Instant>),
}

impl SimSubscription {
    fn look(&self) -> Found {
        let mut channels = lock(&self.bus.channels);
        let Some(channel) = channels.get_mut(&self.server).filter(|channel| channel.number == self.number) else {
            return Found::Later(None);
        };
        if channel.missed && !channel.held_back {
            channel.missed = false;
            return Found::Due(Notification::MayHaveMissed);
        }
        loop {
            match channel.waiting.pop_front() {
                Some((due, notification)) if due > Instant::now() => {
                    channel.waiting.push_front((due, notification));
                    return Found::Later(Some(due));
                }
                // What is missed with it is said when that is over.
                Some((_, Notification::Results { .. })) if channel.held_back => {}
                Some((_, notification)) => return Found::Due(notification),
                None if channel.held_back || !std::mem::take(&mut channel.overflowed) => return Found::Later(None),
                None => return Found::Due(Notification::MayHaveMissed),
            }
        }
    }
}

#[async_trait]
impl Subscription for SimSubscription {
    async fn next(&mut self) -> Option<Notification> {
        loop {
            self.life.pass().await;
            let mut changed = std::pin::pin!(self.bus.changed.notified());
            changed.as_mut().enable();
            match self.look() {
                Found::Due(notification) => {
                    self.life.world.step("notified", self.life.id, 0);
                    self.life.world.note(|| format!("  {} hears {}", self.server, brief(&notification)));
                    return Some(notification);
                }
                Found::Later(None) => changed.await,
                Found::Later(Some(due)) => {
                    tokio::select! {
                        biased;
                        () = tokio::time::sleep_until(due) => {}
                        () = changed => {}
                    }
                }
            }
        }
    }
}

impl Drop for SimSubscription {
    fn drop(&mut self) {
        let mut channels = lock(&self.bus.channels);
        if channels.get(&self.server).is_some_and(|channel| channel.number == self.number) {
            channels.remove(&self.server);
        }
    }
}
