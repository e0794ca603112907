//! One partition of the mailbox.

use std::{
    cmp::Ordering,
    collections::{BTreeSet, HashSet, VecDeque},
    sync::Arc,
};

use bytes::Bytes;

use crate::{
    ClientId, Partition, Position, ResultRecord, ServerId, SessionId,
    chance::HashMap,
    clock::UnixMillis,
    mailbox::{
        ClaimChange, Judgement, LogStarts, MailboxLimits, PartitionSnapshot, Rival, TOKEN_BYTES, Tenure,
        client::{ClientState, Undo},
        waiting::{Chunk, Trimmed},
    },
    ports::{
        log::{Batch, Range, Stored},
        mailbox::{Claim, ClaimError, Claimed, Head, MailboxAck, Page},
        notifier::{ClientResults, Notification},
    },
};

/// What became of a batch.
#[derive(Debug)]
pub enum ApplyOutcome {
    /// It is folded in, or was before.
    Folded(Folded),
    /// It would leave a hole: nothing changed.
    Hole {
        /// How far the partition is folded in.
        applied: Position,
    },
}

/// What a batch brought.
#[derive(Debug, Default)]
pub struct Folded {
    /// How far the partition is folded in now.
    pub applied: Position,
    /// How many records were new.
    pub fresh: usize,
    /// How many were copies of what was answered already.
    pub duplicates: usize,
    /// How many belong to a principal that no longer holds their client id. They are delivered to nobody.
    pub foreign: usize,
    /// What to tell whom, in this order, before the next batch of this partition is applied.
    pub notifications: Vec<(ServerId, Notification)>,
}

/// A claim that was granted.
#[derive(Debug)]
pub struct Granted {
    /// The answer, once the change is durable.
    pub claimed: Claimed,
    /// To be made durable.
    pub change: ClaimChange,
    /// For [`PartitionMailbox::undo`], should that fail.
    pub undo: Undo,
}

/// Where a chunk waits. Entries outlive their chunk (an ack trims it) until they surface or are compacted away.
#[derive(Debug, Clone)]
struct Expiry {
    client: ClientId,
    chunk: u64,
    at: UnixMillis,
}

/// The mailbox of one partition, without its storage. See the module.
#[derive(Debug, Clone)]
pub struct PartitionMailbox {
    partition: Partition,
    limits: MailboxLimits,
    applied: Position,
    /// The mailbox is complete from here on, for clients whose own floor is not higher.
    floor: Position,
    version: u64,
    /// Where this memory began, if it took the place of one that was lost.
    after_a_loss: Option<Position>,
    clients: HashMap<ClientId, ClientState>,
    /// The `last` of the newest notification for each server.
    notified: HashMap<ServerId, Position>,
    /// All chunks, oldest first.
    expiries: VecDeque<Expiry>,
    chunks: usize,
    bytes: usize,
    batch_no: u64,
    chunk_no: u64,
}

/// One client's share of the batch being applied.
struct Group {
    client: ClientId,
    /// Which of the batch's records, in order. Copied only once it is known how many there are, straight to their place.
    records: Vec<usize>,
}

/// The group of this batch that is this client's.
fn fresh_of<'a>(
    groups: &'a mut Vec<Group>,
    state: &mut ClientState,
    batch_no: u64,
    client: &ClientId,
) -> &'a mut Group {
    if state.group.0 != batch_no {
        state.group = (batch_no, groups.len());
        groups.push(Group { client: client.clone(), records: Vec::new() });
    }
    &mut groups[state.group.1]
}

/// Below this many entries the expiry queue is not worth compacting.
const EXPIRY_SLACK: usize = 1_024;

impl PartitionMailbox {
    /// A mailbox that knows nothing. Before it is used: [`restore`](Self::restore) and [`replay`](Self::replay) what was
    /// kept, then [`open`](Self::open).
    pub fn new(partition: Partition, limits: MailboxLimits) -> Self {
        Self {
            partition,
            limits,
            applied: Position::START,
            floor: Position::START,
            version: 0,
            after_a_loss: None,
            clients: HashMap::default(),
            notified: HashMap::default(),
            expiries: VecDeque::new(),
            chunks: 0,
            bytes: 0,
            batch_no: 0,
            chunk_no: 0,
        }
    }

    /// Takes over a snapshot, in place of everything known.
    pub fn restore(&mut self, snapshot: PartitionSnapshot) {
        let states =
            snapshot.clients.into_iter().map(|client| (client.claims.client.clone(), ClientState::restore(client)));
        *self = Self {
            applied: snapshot.applied,
            floor: snapshot.floor,
            version: snapshot.version,
            clients: states.collect(),
            ..Self::new(self.partition, self.limits)
        };
    }

    /// This memory took the place of one that was lost, and results have been folded into it since `began`. There may be clients,
    /// outboxes and tokens that it has never heard of, although they are not new:
    ///
    /// - An outbox that it does not know, of a client that may not have heard where it began (its Welcome was lost), begins where its
    ///   answers may lie: at `began`, if some of them are known, and otherwise behind what is folded in. So does a client of the original protocol,
    ///   which may have been away. Elsewhere such a one begins at the end of the log (rule 26).
    /// - A Hello that was delayed may be the first thing that it hears of a client, and the token that it gives is not the
    ///   client's. From now on no token is taken for a wrong one but that of another principal, for whom the authenticator
    ///   does not vouch.
    pub fn came_after_a_loss(&mut self, began: Position) {
        self.after_a_loss = Some(began);
    }

    /// Repeats a change of the claims. Changes must come in the order in which they were made; those that the snapshot
    /// holds already do no harm.
    pub fn replay(&mut self, change: ClaimChange) {
        let version = change.version();
        if version <= self.version {
            return;
        }
        self.version = version;
        match change {
            ClaimChange::Image(image) => self.clients.entry(image.client.clone()).or_default().take_image(*image),
            ClaimChange::Kept { client, position, .. } => self.clients.entry(client).or_default().keep(position),
        }
    }

    /// Fits what was restored to what the results log holds now.
    ///
    /// Folding goes on at the snapshot's `applied`, or at the start of the log without one: applying the log's tail again
    /// restores the rest. Nothing waits yet, and the floor says so. What lies beyond the log's end is clamped to it: a
    /// mailbox ahead of its log would skip the records to come.
    pub fn open(&mut self, log: Range) {
        self.applied = self.applied.clamp(log.start, log.end);
        self.floor = self.floor.max(self.applied).min(log.end);
        self.clients.values_mut().for_each(|client| client.clamp(log.end));
    }

    /// Goes on at `start`, where the results log begins now that retention has passed `applied`. What lies between is gone:
    /// the floor says so. Returns the servers to be told that something may have been missed.
    pub fn skip_to(&mut self, start: Position) -> Vec<ServerId> {
        if start <= self.applied {
            return Vec::new();
        }
        self.applied = start;
        self.floor = self.floor.max(start);
        let owners = self.clients.values().filter_map(|client| client.owner.as_ref());
        let servers: BTreeSet<ServerId> = owners.map(|owner| owner.server.clone()).collect();
        // As if the notification of what is gone had been sent and lost: until a server has repaired, its chain is behind
        // and nobody there is told "you have everything", whether or not the word arrives.
        self.notified.values_mut().for_each(|notified| *notified = start);
        self.notified.extend(servers.iter().map(|server| (server.clone(), start)));
        servers.into_iter().collect()
    }

    /// Forgets one client for good, as if it had never been.
    pub fn erase(&mut self, client: &ClientId) {
        if let Some(mut state) = self.clients.remove(client) {
            let trimmed = state.waiting.clear();
            self.account(trimmed);
        }
    }

    /// Everything that has to be kept, as of now.
    pub fn snapshot(&self) -> PartitionSnapshot {
        PartitionSnapshot {
            version: self.version,
            applied: self.applied,
            floor: self.floor,
            clients: self.clients.iter().map(|(client, state)| state.snapshot(client)).collect(),
        }
    }

    /// How far the results log is folded in.
    pub const fn applied(&self) -> Position {
        self.applied
    }

    /// How many bytes wait in the partition.
    pub const fn waiting_bytes(&self) -> usize {
        self.bytes
    }

    /// How many clients are remembered.
    pub fn clients(&self) -> usize {
        self.clients.len()
    }

    /// How far the partition is, as `server` sees it.
    pub fn head(&self, server: &ServerId) -> Head {
        let notified = self.notified.get(server).copied().unwrap_or_default();
        Head { partition: self.partition, applied: self.applied, notified }
    }

    /// Takes a client over. Newest wins; the change is to be made durable before anyone is told.
    ///
    /// `new_token` is used if the client has none, or changes hands: 16 bytes that nobody can guess.
    ///
    /// # Errors
    /// [`ClaimError::Stale`] and [`ClaimError::WrongToken`], both terminal; then nothing changed.
    pub fn claim(
        &mut self,
        claim: &Claim,
        new_token: [u8; TOKEN_BYTES],
        now: UnixMillis,
    ) -> Result<Granted, ClaimError> {
        let Some(began) = self.after_a_loss else { return self.take(claim, new_token, now) };
        let state = self.clients.entry(claim.client.clone()).or_default();
        let log_end = state.beginning(claim, began, self.applied);
        self.take(&Claim { log_end, ..claim.clone() }, new_token, now)
    }

    fn take(&mut self, claim: &Claim, new_token: [u8; TOKEN_BYTES], now: UnixMillis) -> Result<Granted, ClaimError> {
        let state = self.clients.entry(claim.client.clone()).or_default();
        state.check(claim, self.after_a_loss.is_some())?;
        let effect = state.claim(claim, new_token, self.applied, now);
        self.version += 1;
        let image = state.image(&claim.client, self.version);
        self.account(effect.trimmed);
        Ok(Granted { claimed: effect.claimed, change: ClaimChange::Image(Box::new(image)), undo: effect.undo })
    }

    /// Takes a client over again for a session that `held` it in a memory that was lost; `last` is whose it was in this one,
    /// held or not. Whether the holder [stays](Rival::stays) is to be asked before.
    ///
    /// `token` is what the session's client shows. If the session is known to be newer than the last one, it is the token from
    /// now on: that of the last one went to a Hello that was delayed, and its client would be refused for good.
    ///
    /// # Errors
    /// As [`claim`](Self::claim).
    pub fn claim_again(
        &mut self,
        claim: &Claim,
        held: &Tenure,
        last: Option<&Tenure>,
        token: [u8; TOKEN_BYTES],
        now: UnixMillis,
    ) -> Result<Granted, ClaimError> {
        let numbered = self.clients.get(&claim.client).and_then(ClientState::numbered);
        let again = Rival::claiming(&claim.kind, held);
        let is_newer =
            last.is_some_and(|last| again.compare(&Rival { numbered, tenure: last }) == Some(Ordering::Greater));
        // It knows where it is.
        let mut granted = self.take(claim, token, now)?;
        if let (true, Some(state)) = (is_newer, self.clients.get_mut(&claim.client)) {
            state.set_token(token);
            granted.claimed.token = Bytes::copy_from_slice(&token);
            granted.change = ClaimChange::Image(Box::new(state.image(&claim.client, self.version)));
        }
        Ok(granted)
    }

    /// Takes a claim back whose change could not be made durable: the session that held the client before holds it again,
    /// or it would wait for notifications for ever. What the claim said of outboxes stays, which only keeps delayed
    /// Hellos off.
    ///
    /// Returns the former session when it cannot have the client back (another claim came, or the client changed hands):
    /// then it has to be told that it was superseded.
    pub fn undo(&mut self, client: &ClientId, undo: Undo) -> Option<(ServerId, SessionId)> {
        self.clients.get_mut(client)?.undo(undo)
    }

    /// Gives a client up if `session` holds it; says whether it did.
    pub fn release(&mut self, client: &ClientId, session: SessionId, now: UnixMillis) -> bool {
        self.clients.get_mut(client).is_some_and(|state| state.release(session, now))
    }

    /// Takes an acknowledgement. Returns a change to be kept when the client keeps its place here (original protocol) and
    /// it moved. A stale session's word is ignored.
    pub fn ack(&mut self, ack: &MailboxAck, now: UnixMillis) -> Option<ClaimChange> {
        let state = self.clients.get_mut(&ack.client)?;
        let (trimmed, moved) = state.ack(ack.session, ack.position, now);
        self.account(trimmed);
        moved.then(|| {
            self.version += 1;
            ClaimChange::Kept { version: self.version, client: ack.client.clone(), position: ack.position }
        })
    }

    /// Reads what waits for a client; see [`crate::ports::mailbox::Mailbox::read`].
    pub fn read(&self, client: &ClientId, from: Position, max_records: usize, max_bytes: usize) -> Page {
        let state = self.clients.get(client);
        let floor = state.map_or(self.floor, |state| state.floor.max(self.floor));
        if from < floor {
            return Page::BelowFloor { floor };
        }
        let (records, all) =
            state.map_or_else(|| (Vec::new(), true), |state| state.waiting.read(from, max_records, max_bytes));
        let through = match records.last() {
            Some(last) if !all => last.offset.position_after(),
            _ => self.applied.max(from),
        };
        Page::Records { records, through, complete: all }
    }

    /// Folds a batch in, exactly once: records before `applied` are skipped, a batch that begins past it is refused.
    pub fn apply(&mut self, batch: &Batch<ResultRecord>, now: UnixMillis) -> ApplyOutcome {
        if batch.from > self.applied {
            return ApplyOutcome::Hole { applied: self.applied };
        }
        let mut folded = Folded::default();
        let known = batch.records.partition_point(|stored| self.applied.covers(stored.offset));
        let groups = self.fold(&batch.records[known..], now, &mut folded);
        self.applied = self.applied.max(batch.next);
        folded.applied = self.applied;
        folded.notifications = self.hand_out(&batch.records[known..], groups, now);
        self.expire(now);
        ApplyOutcome::Folded(folded)
    }

    /// Folds records and groups the fresh ones by client, in the order of the batch.
    fn fold(&mut self, records: &[Stored<ResultRecord>], now: UnixMillis, folded: &mut Folded) -> Vec<Group> {
        self.batch_no += 1;
        let mut groups: Vec<Group> = Vec::new();
        for (index, stored) in records.iter().enumerate() {
            let client = &stored.record.origin.client;
            if !self.clients.contains_key(client) {
                self.clients.insert(client.clone(), ClientState::default());
            }
            let Some(state) = self.clients.get_mut(client) else { continue };
            match state.judge(stored, now) {
                Judgement::Foreign => folded.foreign += 1,
                Judgement::Duplicate => folded.duplicates += 1,
                // Applied again after a restart, and never to be served from here.
                Judgement::Buried => folded.fresh += 1,
                Judgement::Fresh => {
                    folded.fresh += 1;
                    fresh_of(&mut groups, state, self.batch_no, client).records.push(index);
                }
            }
        }
        groups
    }

    /// Puts each client's records into its mailbox and gathers what the owning servers are told.
    fn hand_out(
        &mut self,
        batch: &[Stored<ResultRecord>],
        groups: Vec<Group>,
        now: UnixMillis,
    ) -> Vec<(ServerId, Notification)> {
        let mut told: Vec<(ServerId, Position, Vec<ClientResults>)> = Vec::new();
        for Group { client, records } in groups {
            let Some(state) = self.clients.get_mut(&client) else { continue };
            let records: Arc<[_]> = records.into_iter().map(|index| batch[index].clone()).collect();
            let end = records.last().map_or(Position::START, |stored| stored.offset.position_after());
            if let Some(owner) = &state.owner {
                let results = ClientResults { client: client.clone(), results: Arc::clone(&records) };
                match told.iter_mut().find(|(server, ..)| *server == owner.server) {
                    Some((_, last, clients)) => {
                        *last = end.max(*last);
                        clients.push(results);
                    }
                    None => told.push((owner.server.clone(), end, vec![results])),
                }
            }
            self.chunk_no += 1;
            self.chunks += 1;
            self.bytes += state.waiting.push(Chunk::new(self.chunk_no, now, records));
            self.expiries.push_back(Expiry { client, chunk: self.chunk_no, at: now });
            let trimmed = state.waiting.trim_to(self.limits.client_records, self.limits.client_bytes);
            state.floor = state.floor.max(trimmed.through);
            self.account(trimmed);
        }
        let partition = self.partition;
        told.into_iter()
            .map(|(server, last, clients)| {
                let previous = self.notified.insert(server.clone(), last).unwrap_or_default();
                (server, Notification::Results { partition, previous, last, clients })
            })
            .collect()
    }

    /// Lets go of what has waited too long, or is the oldest while there is too much.
    fn expire(&mut self, now: UnixMillis) {
        while let Some(oldest) = self.expiries.front() {
            let state = self.clients.get_mut(&oldest.client);
            let alive = state.filter(|state| state.waiting.oldest().is_some_and(|chunk| chunk.no == oldest.chunk));
            if let Some(state) = alive {
                if self.bytes <= self.limits.partition_bytes && now.since(oldest.at) <= self.limits.window {
                    break;
                }
                let trimmed = state.waiting.pop();
                state.floor = state.floor.max(trimmed.through);
                self.account(trimmed);
            }
            self.expiries.pop_front();
        }
        // One client that does not acknowledge holds the front; behind it the dead entries of all others would pile up.
        if self.expiries.len() > 2 * self.chunks + EXPIRY_SLACK {
            let clients = &self.clients;
            self.expiries.retain(|entry| {
                let oldest = clients.get(&entry.client).and_then(|state| state.waiting.oldest());
                oldest.is_some_and(|chunk| chunk.no <= entry.chunk)
            });
        }
    }

    /// Forgets what nothing can need any more: records past their window, answered events whose logs are gone, and
    /// clients that have been idle for longer than the retention. Call it every minute or so.
    ///
    /// Returns how many clients were forgotten.
    pub fn sweep(&mut self, now: UnixMillis, logs: LogStarts) -> usize {
        self.expire(now);
        let before = self.clients.len();
        let limits = self.limits;
        let mut floor = self.floor;
        self.clients.retain(|_, state| {
            state.fold.retain(|_, known| {
                now.since(known.last_seen) <= limits.retention
                    || known.last_event > logs.events
                    || known.last_result > logs.results
            });
            let idle = state.owner.is_none()
                && state.waiting.is_empty()
                && state.fold.is_empty()
                && state.last <= logs.results
                && now.since(state.touched) > limits.retention;
            if idle {
                // Its own floor is forgotten with it, so the partition has to remember: silence would pass for "nothing".
                floor = floor.max(state.floor.min(logs.results));
            }
            !idle
        });
        self.floor = floor;
        let owners: HashSet<_> =
            self.clients.values().filter_map(|state| state.owner.as_ref()).map(|owner| owner.server.clone()).collect();
        // A server that returns finds its chain broken, which makes it repair: the safe side.
        self.notified.retain(|server, _| owners.contains(server));
        before - self.clients.len()
    }

    fn account(&mut self, trimmed: Trimmed) {
        self.bytes -= trimmed.bytes;
        self.chunks -= trimmed.chunks;
    }
}

#[cfg(test)]
impl PartitionMailbox {
    pub(super) fn expiries(&self) -> usize {
        self.expiries.len()
    }
}
