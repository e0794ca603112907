//! Which sessions this server holds, by client id, and the inbox of each.
//!
//! A session registers *before* it claims its client, so that no notification between the two is lost (rule 18). While two
//! sessions of one client overlap, both are told everything: the mailbox decides which of them stays, by the order of
//! their claims, and ends the other.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use dashmap::DashMap;
use tokio::sync::Notify;

use crate::{
    ClientId, Partition, PartitionCount, Position, ResultRecord, SessionId, chance::HashState, ports::log::Stored,
};

/// How many batches may wait in a session's inbox before the session is told to read its mailbox instead.
pub const INBOX_BATCHES: usize = 64;

/// Into how many parts the map of sessions is divided. The same on every machine: the order of a walk over it depends on it.
const SHARDS: usize = 64;

/// New results of one client.
pub type Results = Arc<[Stored<ResultRecord>]>;

/// What is waiting in an inbox, all at once.
#[derive(Debug, Default)]
pub struct Mail {
    /// In order.
    pub results: VecDeque<Results>,
    /// Some did not fit, or may have been missed on the way, the last of them ending here as far as that is known: read the
    /// mailbox until then.
    pub missed: Option<Position>,
    /// A newer session took over.
    pub superseded: bool,
    /// The server shuts down.
    pub draining: bool,
}

impl Mail {
    fn is_empty(&self) -> bool {
        self.results.is_empty() && self.missed.is_none() && !self.superseded && !self.draining
    }
}

/// A session's inbox: bounded; what does not fit is dropped and noted, since the mailbox has it.
#[derive(Debug)]
pub struct Inbox {
    session: SessionId,
    partition: Partition,
    mail: Mutex<Mail>,
    arrived: Notify,
}

impl Inbox {
    fn lock(&self) -> MutexGuard<'_, Mail> {
        // Nothing below the lock can panic half-way through a change.
        self.mail.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Which session reads it.
    pub fn session(&self) -> SessionId {
        self.session
    }

    /// Puts results in; false when they did not fit.
    fn push(&self, results: Results) -> bool {
        let fits = {
            let mut mail = self.lock();
            let fits = mail.results.len() < INBOX_BATCHES;
            if fits {
                mail.results.push_back(results);
            } else {
                let reach = results.last().map(|last| last.offset.position_after()).unwrap_or_default();
                mail.missed = mail.missed.max(Some(reach));
            }
            fits
        };
        self.arrived.notify_one();
        fits
    }

    fn note(&self, change: impl FnOnce(&mut Mail)) {
        change(&mut self.lock());
        self.arrived.notify_one();
    }

    /// Takes everything out, if there is anything.
    pub fn take(&self) -> Option<Mail> {
        let mut mail = self.lock();
        (!mail.is_empty()).then(|| std::mem::take(&mut *mail))
    }

    /// Waits until something is there. Cancel safe. May return early: look with [`take`](Self::take).
    pub async fn arrived(&self) {
        self.arrived.notified().await;
    }
}

/// The sessions of this server.
#[derive(Debug)]
pub struct Registry {
    partitions: PartitionCount,
    /// Nearly always one inbox per client; two while one session replaces another.
    sessions: DashMap<ClientId, Vec<Arc<Inbox>>, HashState>,
}

impl Registry {
    /// An empty registry.
    pub fn new(partitions: PartitionCount) -> Self {
        Self { partitions, sessions: DashMap::with_hasher_and_shard_amount(HashState::default(), SHARDS) }
    }

    /// Registers a session. It is told of everything from now until the registration is dropped.
    pub fn register(self: &Arc<Self>, client: ClientId, session: SessionId) -> Registration {
        let inbox = Arc::new(Inbox {
            session,
            partition: self.partitions.partition_of(&client),
            mail: Mutex::default(),
            arrived: Notify::new(),
        });
        self.sessions.entry(client.clone()).or_default().push(Arc::clone(&inbox));
        Registration { registry: Arc::clone(self), client, inbox }
    }

    /// Hands results to the client's sessions; false when a session could not take them and will read its mailbox.
    pub fn deliver(&self, client: &ClientId, results: &Results) -> bool {
        let Some(inboxes) = self.sessions.get(client) else { return true };
        let mut all_fit = true;
        for inbox in inboxes.iter() {
            all_fit &= inbox.push(Arc::clone(results));
        }
        all_fit
    }

    /// Ends one session of a client, if it is here.
    pub fn supersede(&self, client: &ClientId, session: SessionId) {
        if let Some(inboxes) = self.sessions.get(client) {
            for inbox in inboxes.iter().filter(|inbox| inbox.session == session) {
                inbox.note(|mail| mail.superseded = true);
            }
        }
    }

    /// Makes every session of a partition (or of all) read its mailbox, until `reach` at least.
    pub fn missed(&self, partition: Option<Partition>, reach: Position) {
        for inboxes in &self.sessions {
            for inbox in inboxes.iter().filter(|inbox| partition.is_none_or(|p| p == inbox.partition)) {
                inbox.note(|mail| mail.missed = mail.missed.max(Some(reach)));
            }
        }
    }

    /// The inboxes of all sessions, for pacing a drain.
    pub fn inboxes(&self) -> Vec<Arc<Inbox>> {
        self.sessions.iter().flat_map(|entry| entry.value().clone()).collect()
    }

    /// How many clients have a session here.
    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Whether no client has a session here.
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }
}

impl Inbox {
    /// Tells the session that the server shuts down.
    pub fn drain(&self) {
        self.note(|mail| mail.draining = true);
    }
}

/// A session's place in the registry; dropping it takes only this session out.
pub struct Registration {
    registry: Arc<Registry>,
    client: ClientId,
    inbox: Arc<Inbox>,
}

impl Registration {
    /// What the session is told.
    pub fn inbox(&self) -> &Arc<Inbox> {
        &self.inbox
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let session = self.inbox.session;
        self.registry.sessions.remove_if_mut(&self.client, |_, inboxes| {
            inboxes.retain(|inbox| inbox.session != session);
            inboxes.is_empty()
        });
    }
}

impl fmt::Debug for Registration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registration").field("client", &self.client).field("session", &self.inbox.session).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use ulid::Ulid;

    use super::*;

    fn registry() -> Arc<Registry> {
        Arc::new(Registry::new(PartitionCount(NonZeroU32::new(4).unwrap())))
    }

    fn client(id: &str) -> ClientId {
        ClientId::try_new(id).unwrap()
    }

    #[test]
    fn an_old_sessions_cleanup_leaves_the_new_session_alone() {
        let registry = registry();
        let old = registry.register(client("a"), SessionId(Ulid(1)));
        let new = registry.register(client("a"), SessionId(Ulid(2)));
        drop(old);
        assert!(registry.deliver(&client("a"), &Arc::from([])));
        assert_eq!(new.inbox().take().unwrap().results.len(), 1);
        drop(new);
        assert!(registry.is_empty());
    }

    #[test]
    fn only_the_named_session_is_superseded() {
        let registry = registry();
        let old = registry.register(client("a"), SessionId(Ulid(1)));
        let new = registry.register(client("a"), SessionId(Ulid(2)));
        registry.supersede(&client("a"), SessionId(Ulid(1)));
        assert!(old.inbox().take().unwrap().superseded);
        assert!(new.inbox().take().is_none());
    }

    #[test]
    fn what_does_not_fit_is_dropped_and_noted() {
        let registry = registry();
        let slow = registry.register(client("a"), SessionId(Ulid(1)));
        for _ in 0..INBOX_BATCHES {
            assert!(registry.deliver(&client("a"), &Arc::from([])));
        }
        assert!(!registry.deliver(&client("a"), &Arc::from([])));
        let mail = slow.inbox().take().unwrap();
        assert_eq!((mail.results.len(), mail.missed), (INBOX_BATCHES, Some(Position::START)));
    }

    #[test]
    fn a_repair_reaches_the_sessions_of_its_partition() {
        let registry = registry();
        let partition = registry.partitions.partition_of(&client("a"));
        let elsewhere = |name: &String| registry.partitions.partition_of(&client(name)) != partition;
        let other = (0..100).map(|n| n.to_string()).find(elsewhere).unwrap();
        let a = registry.register(client("a"), SessionId(Ulid(1)));
        let b = registry.register(client(&other), SessionId(Ulid(2)));
        registry.missed(Some(partition), Position(7));
        registry.missed(Some(partition), Position(5));
        assert_eq!(a.inbox().take().unwrap().missed, Some(Position(7)));
        assert!(b.inbox().take().is_none());
        registry.missed(None, Position::START);
        assert_eq!(b.inbox().take().unwrap().missed, Some(Position::START));
    }
}
