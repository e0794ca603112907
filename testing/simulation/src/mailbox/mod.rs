//! The mailbox: the real rules over a memory that can be lost, in part or whole, as an adapter over Redis uses them.

mod held;
mod memory;

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use nimbus_core::{
    ClientId, Partition, PartitionCount, Position, ResultRecord, ServerId, SessionId,
    clock::Clock,
    mailbox::{ApplyOutcome, HeldClaim, MailboxLimits, TOKEN_BYTES, Tenure},
    ports::{
        log::Batch,
        mailbox::{Applied, Claim, ClaimError, Claimed, Head, Landmark, Mailbox, MailboxAck, MailboxError, Page},
        notifier::Notification,
    },
};

use self::{
    held::{Notes, Recollection, UnsureClaim},
    memory::{Holding, Memory, Shelf},
};
use crate::{bus::Bus, dice::mix, life::Life, lock, log::LogStore, plan::Bug, world::World};

/// What every incarnation shares, with the log that it is an index of.
#[derive(Debug)]
pub(crate) struct MailboxStore {
    memory: Mutex<Memory>,
    results: Arc<LogStore<ResultRecord>>,
    bus: Arc<Bus>,
    /// To go back to.
    backup: Mutex<Option<Vec<Option<Shelf>>>>,
}

/// How many bytes wait in a partition: more than a run ever makes, and few enough for the contract suite to fill.
pub(crate) const PARTITION_BYTES: usize = 2 << 20;

impl MailboxStore {
    pub(crate) fn new(world: &World, results: &Arc<LogStore<ResultRecord>>, bus: &Arc<Bus>) -> Arc<Self> {
        let limits = MailboxLimits {
            client_records: world.plan.mailbox_records,
            partition_bytes: PARTITION_BYTES,
            window: world.plan.mailbox_window,
            ..MailboxLimits::default()
        };
        let memory = Mutex::new(Memory::new(results.partitions(), limits));
        Arc::new(Self { memory, results: Arc::clone(results), bus: Arc::clone(bus), backup: Mutex::default() })
    }

    /// From now on this is what a copy knows.
    pub(crate) fn copy(&self) {
        *lock(&self.backup) = Some(lock(&self.memory).shelves.clone());
    }

    /// The copy takes over: whatever came since is lost.
    pub(crate) fn lose_tail(&self) {
        let backup = lock(&self.backup).clone();
        let mut memory = lock(&self.memory);
        memory.replication += 1;
        if let Some(shelves) = backup {
            memory.shelves = shelves;
        }
    }

    pub(crate) fn lose_everything(&self) {
        let mut memory = lock(&self.memory);
        memory.shelves.fill(None);
        *lock(&self.backup) = None;
    }

    pub(crate) fn applied(&self, partition: Partition) -> Position {
        lock(&self.memory).applied(partition).unwrap_or_default()
    }

    /// Lets go of what has waited for too long.
    #[cfg(test)]
    pub(crate) fn sweep(&self, clock: &dyn Clock) {
        let logs = nimbus_core::mailbox::LogStarts { events: Position::START, results: Position::START };
        for shelf in lock(&self.memory).shelves.iter_mut().flatten() {
            shelf.rules.sweep(clock.now(), logs);
        }
    }

    pub(crate) fn waiting_bytes(&self) -> usize {
        lock(&self.memory).shelves.iter().flatten().map(|shelf| shelf.rules.waiting_bytes()).sum()
    }
}

/// One incarnation's way to the mailbox.
#[derive(Debug)]
pub(crate) struct SimMailbox {
    life: Arc<Life>,
    store: Arc<MailboxStore>,
    clock: Arc<dyn Clock>,
    notes: Mutex<Notes>,
}

fn unavailable() -> MailboxError {
    MailboxError::Unavailable("simulated".to_owned())
}

fn refused() -> ClaimError {
    ClaimError::Unavailable("simulated".to_owned())
}

impl SimMailbox {
    pub(crate) fn new(life: &Arc<Life>, store: &Arc<MailboxStore>, clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self { life: Arc::clone(life), store: Arc::clone(store), clock, notes: Mutex::default() })
    }

    fn world(&self) -> &World {
        &self.life.world
    }

    fn partitions(&self) -> PartitionCount {
        self.store.results.partitions()
    }

    fn with<T>(&self, partition: Partition, act: impl FnOnce(&mut Shelf) -> T) -> T {
        let mut memory = lock(&self.store.memory);
        act(memory.shelf(partition, &self.store.results, self.clock.now()))
    }

    /// Which memory a partition is in now.
    fn look(&self, partition: Partition) -> Recollection {
        let mut memory = lock(&self.store.memory);
        let born = memory.shelf(partition, &self.store.results, self.clock.now()).born;
        Recollection { partition, born, replication: memory.replication }
    }

    /// A call is on its way; it may get lost.
    async fn ask(&self, what: &str, detail: u64) -> Result<(), MailboxError> {
        self.life.request(what, detail).await;
        if self.world().fails() { Err(unavailable()) } else { Ok(()) }
    }

    /// The answer is on its way; it may get lost.
    async fn told<T>(&self, answer: T) -> Result<T, MailboxError> {
        self.life.answer().await;
        if self.world().fails() { Err(unavailable()) } else { Ok(answer) }
    }

    /// Makes a claim, now; again, if it was `held`.
    fn claim_now(
        &self,
        claim: &Claim,
        token: [u8; TOKEN_BYTES],
        held: Option<&Tenure>,
    ) -> Result<(Claimed, Tenure, Recollection), ClaimError> {
        let partition = self.partitions().partition_of(&claim.client);
        let now = self.clock.now();
        let (claimed, tenure, seen) = {
            let mut memory = lock(&self.store.memory);
            let shelf = memory.shelf(partition, &self.store.results, now);
            let born = shelf.born;
            let before = shelf.tenures.get(&claim.client);
            let (granted, tenure) = match held {
                None => (shelf.rules.claim(claim, token, now)?, Tenure::begin(claim.session, before)),
                Some(held) => (shelf.rules.claim_again(claim, held, before, token, now)?, held.again(before)),
            };
            let claimed = granted.claimed;
            if let Some((server, _)) = claimed.previous.as_ref().filter(|(server, _)| *server != claim.server) {
                *shelf.taken.entry(server.clone()).or_default() += 1;
            }
            let holding = Holding { session: claim.session, kind: claim.kind.clone() };
            shelf.holders.insert(claim.client.clone(), holding);
            shelf.tenures.insert(claim.client.clone(), tenure.clone());
            (claimed, tenure, Recollection { partition, born, replication: memory.replication })
        };
        lock(&self.notes).first(seen);
        self.world().note(|| {
            format!(
                "  claimed {} for {} at {}, before {:?}; begins at {}, known: {}",
                claim.client, claim.session, claim.server, claimed.previous, claimed.start, claimed.known
            )
        });
        Ok((claimed, tenure, seen))
    }

    fn release_now(&self, client: &ClientId, session: SessionId) -> bool {
        let now = self.clock.now();
        let released = self.with(self.partitions().partition_of(client), |shelf| {
            let holder = shelf.holders.get(client).map(|holder| holder.session);
            let session = match holder {
                Some(holder) if self.world().has(Bug::CleanupOfNewer) => holder,
                _ => session,
            };
            if holder == Some(session) {
                shelf.holders.remove(client);
            }
            shelf.rules.release(client, session, now)
        });
        self.world().note(|| format!("  released {client} of {session}: {released}"));
        released
    }

    fn tell(&self, server: &ServerId, notification: Notification) {
        self.world().note(|| format!("  to {server}: {}", crate::bus::brief(&notification)));
        self.store.bus.publish(server, notification);
    }

    /// Gives up what unsure claims took after all, and tells those who lost their clients to them.
    fn settle_unsure(&self) {
        let unsure = std::mem::take(&mut lock(&self.notes).unsure);
        for UnsureClaim { client, session, former } in unsure {
            lock(&self.notes).held.remove(&client, session);
            if self.release_now(&client, session)
                && let Some((server, session)) = former
            {
                self.tell(&server, Notification::Superseded { client, session });
            }
        }
    }

    /// Every client that a session of this process holds is claimed for it again, one after the other.
    async fn claim_again(&self) -> Result<(), MailboxError> {
        let held = lock(&self.notes).held.of_those(|_| true);
        for held in held {
            self.ask("again", 0).await?;
            let HeldClaim { claim, token, tenure } = &held;
            if !lock(&self.notes).held.has(&claim.client, claim.session) {
                continue;
            }
            let partition = self.partitions().partition_of(&claim.client);
            let superseded = self.with(partition, |shelf| shelf.keeps(&claim.client, &held.rival()));
            let again = if superseded { None } else { self.claim_now(claim, *token, Some(tenure)).ok() };
            match again {
                Some((claimed, tenure, _)) => {
                    lock(&self.notes).held.renew(&claim.client, tenure);
                    if let Some((server, session)) = claimed.previous {
                        self.tell(&server, Notification::Superseded { client: claim.client.clone(), session });
                    }
                }
                None => {
                    lock(&self.notes).held.remove(&claim.client, claim.session);
                    let note = Notification::Superseded { client: claim.client.clone(), session: claim.session };
                    self.store.bus.tell_own(&self.life, &claim.server, note);
                }
            }
        }
        Ok(())
    }

    /// Sessions of this incarnation whose client another server took, when it took more than the last time.
    async fn tell_who_lost(&self, partition: Partition, taken: u64) -> Result<(), MailboxError> {
        if lock(&self.notes).taken.get(&partition).copied().unwrap_or(0) == taken {
            return Ok(());
        }
        let is_here = |client: &ClientId| self.partitions().partition_of(client) == partition;
        let held = lock(&self.notes).held.of_those(is_here);
        self.ask("owners", taken).await?;
        let holders = self.with(partition, |shelf| shelf.holders.clone());
        let seen = self.look(partition);
        self.life.answer().await;
        // Of another memory than the one the claims are in, it says nothing.
        if !lock(&self.notes).is_known(seen) {
            return Ok(());
        }
        for HeldClaim { claim, .. } in held {
            if holders.get(&claim.client).is_none_or(|holding| holding.session != claim.session) {
                lock(&self.notes).held.remove(&claim.client, claim.session);
                let note = Notification::Superseded { client: claim.client, session: claim.session };
                self.store.bus.tell_own(&self.life, &claim.server, note);
            }
        }
        lock(&self.notes).taken.insert(partition, taken);
        Ok(())
    }

    /// Folds a batch in and tells the owners, in one step.
    fn apply_now(&self, batch: &Batch<ResultRecord>) -> Applied {
        let now = self.clock.now();
        let mut batch = batch.clone();
        let (applied, notifications) = self.with(batch.partition, |shelf| {
            if self.world().has(Bug::ApplyWithoutFence) {
                batch.from = batch.from.min(shelf.rules.applied());
            }
            let before = shelf.rules.applied();
            match shelf.rules.apply(&batch, now) {
                ApplyOutcome::Hole { applied } => (Applied::Hole { applied }, Vec::new()),
                ApplyOutcome::Folded(folded) => {
                    if let Some(last) = batch.records.last().filter(|last| !before.covers(last.offset)) {
                        let position = last.offset.position_after();
                        shelf.landmark = Some(Landmark { position, fingerprint: last.record.fingerprint() });
                    }
                    let (fresh, duplicates) = (folded.fresh, folded.duplicates);
                    (Applied::Through { applied: folded.applied, fresh, duplicates }, folded.notifications)
                }
            }
        });
        self.world().note(|| {
            let seqs: Vec<_> = batch
                .records
                .iter()
                .map(|stored| (stored.record.origin.client.as_str(), stored.record.seq, stored.record.kind))
                .collect();
            format!("  folded in {}..{}: {seqs:?}: {applied:?}", batch.from, batch.next)
        });
        for (server, notification) in notifications {
            self.tell(&server, notification);
        }
        applied
    }
}

#[async_trait]
impl Mailbox for SimMailbox {
    async fn claim(&self, claim: Claim) -> Result<Claimed, ClaimError> {
        self.ask("claim", 0).await.map_err(|_| refused())?;
        // Another claim may be lost, of a newer session of this client: first all are claimed again.
        if !lock(&self.notes).is_known(self.look(self.partitions().partition_of(&claim.client))) {
            return Err(refused());
        }
        let (one, two) = (self.world().dice.number(), self.world().dice.number());
        let mut token = [0; TOKEN_BYTES];
        token[..8].copy_from_slice(&one.to_le_bytes());
        token[8..].copy_from_slice(&two.to_le_bytes());
        let (claimed, tenure, seen) = self.claim_now(&claim, token, None)?;
        self.world().ledger.claimed(self.world(), &claim, &claimed);
        let former = claimed.previous.clone();
        match self.told(claimed).await {
            // The memory that the claim was made in may be gone by now, and everything else claimed again. (Over one connection
            // answers come in order, so that an adapter hears of the claim first.)
            Ok(claimed) if lock(&self.notes).is_current(seen) => {
                let client = claim.client.clone();
                let token = claimed.token.as_ref().try_into().unwrap_or(token);
                let replaced = lock(&self.notes).held.insert(HeldClaim::new(claim, &claimed, token, tenure));
                if let Some((server, session)) = replaced
                    && claimed.previous.as_ref().is_none_or(|(_, told)| *told != session)
                {
                    // A memory that has lost the claim of the session before does not name it, so that nobody would tell it.
                    let note = Notification::Superseded { client, session };
                    self.store.bus.tell_own(&self.life, &server, note);
                }
                Ok(claimed)
            }
            Ok(_) | Err(_) => {
                let unsure = UnsureClaim { client: claim.client, session: claim.session, former };
                lock(&self.notes).unsure.push(unsure);
                Err(refused())
            }
        }
    }

    async fn release(&self, client: &ClientId, session: SessionId) -> Result<(), MailboxError> {
        lock(&self.notes).held.remove(client, session);
        self.ask("release", 0).await?;
        self.release_now(client, session);
        self.told(()).await
    }

    async fn apply(&self, batch: &Batch<ResultRecord>) -> Result<Applied, MailboxError> {
        self.ask("apply", mix(&[batch.partition.0.into(), batch.from.0, batch.next.0])).await?;
        let applied = self.apply_now(batch);
        self.told(applied).await
    }

    async fn applied(&self, partition: Partition) -> Result<Position, MailboxError> {
        self.ask("applied", partition.0.into()).await?;
        let applied = self.with(partition, |shelf| shelf.rules.applied());
        self.told(applied).await
    }

    async fn landmark(&self, partition: Partition) -> Result<Option<Landmark>, MailboxError> {
        self.ask("landmark", partition.0.into()).await?;
        let landmark = self.with(partition, |shelf| shelf.landmark);
        self.told(landmark).await
    }

    async fn skip_to(&self, partition: Partition, start: Position) -> Result<(), MailboxError> {
        self.ask("skip", start.0).await?;
        for server in self.with(partition, |shelf| shelf.rules.skip_to(start)) {
            self.tell(&server, Notification::MayHaveMissed);
        }
        self.told(()).await
    }

    async fn read(
        &self,
        client: &ClientId,
        from: Position,
        max_records: usize,
        max_bytes: usize,
    ) -> Result<Page, MailboxError> {
        self.ask("read", from.0).await?;
        let partition = self.partitions().partition_of(client);
        let page = self.with(partition, |shelf| shelf.rules.read(client, from, max_records, max_bytes));
        self.world().note(|| match &page {
            Page::Records { records, through, complete } => {
                let seqs: Vec<_> = records.iter().map(|stored| (stored.record.seq, stored.offset.0)).collect();
                format!("  {client} reads from {from}: {seqs:?} through {through}, complete: {complete}")
            }
            Page::BelowFloor { floor } => format!("  {client} reads from {from}: the floor is {floor}"),
        });
        self.told(page).await
    }

    async fn ack(&self, acks: &[MailboxAck]) -> Result<(), MailboxError> {
        self.ask("ack", acks.len() as u64).await?;
        let now = self.clock.now();
        for ack in acks {
            // Nothing of an SDK client is kept here.
            drop(self.with(self.partitions().partition_of(&ack.client), |shelf| shelf.rules.ack(ack, now)));
        }
        self.told(()).await
    }

    async fn heads(&self, server: &ServerId, partitions: &[Partition]) -> Result<Vec<Head>, MailboxError> {
        self.ask("heads", 0).await?;
        self.settle_unsure();
        // First: whoever replaces the memory from here on is found the next time.
        let replication = lock(&self.store.memory).replication;
        let look = |partition: &Partition| {
            let taken = |shelf: &Shelf| shelf.taken.get(server).copied().unwrap_or(0);
            self.with(*partition, |shelf| (shelf.rules.head(server), shelf.born, taken(shelf)))
        };
        let found: Vec<(Head, u64, u64)> = partitions.iter().map(look).collect();
        let born: Vec<_> = found.iter().map(|(head, born, _)| (head.partition, *born)).collect();
        let lost = lock(&self.notes).differ(&born, replication);
        if lost {
            let held_back = self.store.bus.hold(&self.life, server);
            lock(&self.notes).accept(born, replication);
            self.claim_again().await?;
            lock(&self.notes).is_whole();
            drop(held_back);
            return Err(unavailable());
        }
        for (head, _, taken) in &found {
            self.tell_who_lost(head.partition, *taken).await?;
        }
        let heads = found.into_iter().map(|(head, _, _)| self.store.bus.as_shown(server, head)).collect();
        self.told(heads).await
    }
}
