//! Folding a batch in: one script call for each bounded piece of it.
//!
//! The fold happens here, in Rust, on what the cache holds or what is read first; the script takes the outcome only if the
//! partition is where it was and no client of the piece changed hands (rules 10 to 14).

use bytes::Bytes;
use nimbus_core::{
    ClientId, Partition, Position, ResultRecord,
    ports::{
        log::{Batch, Stored},
        mailbox::Applied,
    },
};

use super::{
    ATTEMPTS, Inner, PartitionHead,
    beginning::read_head,
    cache::{Known, Route},
    fold::{Tally, fold, piece_len},
    mend::is_damage,
};
use crate::{
    codec::{Unreadable, claims, notice, seen},
    error::Failure,
    link::{decimal, text},
};

/// How often room is made before a batch is refused as too much: half of what waits, then all of it.
const PRESSES: u32 = 2;

/// Clients trimmed by one call when there is no room.
const PRESS_CLIENTS: u64 = 256;

impl Inner {
    pub(super) async fn apply(&self, batch: &Batch<ResultRecord>) -> Result<Applied, Failure> {
        self.check(batch.partition)?;
        let mut route = self.routes[batch.partition.0 as usize].lock().await;
        let mut tally = Tally::default();
        let mut presses = 0;
        for _ in 0..ATTEMPTS {
            // Taken out: should this be given up half way, nothing of it is believed.
            let mut working = route.take();
            match self.apply_to(&mut working, batch, &mut tally).await {
                Ok(Some(applied)) => {
                    self.metrics.cached(batch.partition, working.clients.len());
                    *route = working;
                    self.metrics.fresh.inc_by(tally.fresh as u64);
                    self.metrics.duplicates.inc_by(tally.duplicates as u64);
                    self.metrics.foreign.inc_by(tally.foreign as u64);
                    let (fresh, duplicates) = (tally.fresh, tally.duplicates);
                    return Ok(match applied {
                        Applied::Through { applied, .. } => Applied::Through { applied, fresh, duplicates },
                        hole @ Applied::Hole { .. } => hole,
                    });
                }
                Ok(None) => {
                    *route = working;
                    self.link.metrics.conflicts.inc()
                }
                Err(Failure::Full(why)) if presses < PRESSES => {
                    presses += 1;
                    self.press(batch.partition, presses == PRESSES, &why).await?;
                    0
                }
                Err(failure) => return Err(failure),
            };
        }
        Err(Failure::Unavailable("the partition is being changed all the time".to_owned()))
    }

    /// One attempt. `None`: something had changed, and nothing is left in `route` that may not be so any more.
    async fn apply_to(
        &self,
        route: &mut Route,
        batch: &Batch<ResultRecord>,
        tally: &mut Tally,
    ) -> Result<Option<Applied>, Failure> {
        let (mut head, asked) = match route.head.take() {
            Some(head) => (head, false),
            None => (self.head(batch.partition).await?, true),
        };
        if batch.from > head.applied && !asked {
            // Another router may have brought it further.
            route.clear();
            head = self.head(batch.partition).await?;
        }
        if batch.from > head.applied {
            self.metrics.holes.inc();
            let applied = head.applied;
            route.head = Some(head);
            return Ok(Some(Applied::Hole { applied }));
        }
        let known = batch.records.partition_point(|stored| head.applied.covers(stored.offset));
        let mut rest = &batch.records[known..];
        loop {
            route.clients.make_room();
            let (piece, after) = rest.split_at(piece_len(rest));
            let next = match (after.is_empty(), piece.last()) {
                (false, Some(last)) => last.offset.position_after(),
                _ => batch.next.max(head.applied),
            };
            if !self.apply_piece(route, &mut head, batch.partition, piece, next, tally).await? {
                return Ok(None);
            }
            rest = after;
            if rest.is_empty() {
                let applied = head.applied;
                route.head = Some(head);
                return Ok(Some(Applied::Through { applied, fresh: 0, duplicates: 0 }));
            }
        }
    }

    /// Whether it was taken; if so `head` is where the partition is now.
    async fn apply_piece(
        &self,
        route: &mut Route,
        head: &mut PartitionHead,
        partition: Partition,
        records: &[Stored<ResultRecord>],
        next: Position,
        tally: &mut Tally,
    ) -> Result<bool, Failure> {
        let now = self.clock.now();
        if !self.load(route, head, partition, records).await? {
            return Ok(false);
        }
        let mut piece_tally = Tally::default();
        let groups = fold(route, records, now, &self.limits, &mut piece_tally);
        let keys = self.keys.partition(partition);

        let before = head.clone();
        let noted = head.timeline.note(now, next, self.limits.window);
        let expired = head.timeline.expire(now, self.limits.window);
        head.floor = head.floor.max(expired.unwrap_or_default());
        let mut all = vec![keys.head(), keys.notified(), keys.seen(), keys.owner(), keys.waiting(), keys.floors()];
        let mut clients = Vec::with_capacity(groups.len() * 6);
        let mut trims = Vec::new();
        for (place, group) in (1..).zip(&groups) {
            // It was loaded above, and nothing has been removed since.
            let Some(known) = route.clients.get_mut(&group.client) else {
                route.clear();
                return Ok(false);
            };
            if let Some(through) = known.seen.backlog.trim(&self.limits) {
                trims.extend([decimal(place), decimal(through.0), decimal(through.0 + 1)]);
            }
            all.push(keys.stream(&group.client));
            clients.extend([
                text(group.client.as_str()),
                Bytes::copy_from_slice(&known.hands.0),
                seen::encode(&known.seen),
                decimal(group.chunks.len() as u64),
            ]);
            for (end, chunk) in &group.chunks {
                clients.extend([decimal(end.0), chunk.clone()]);
            }
        }
        let mut arguments = Vec::with_capacity(14 + trims.len() + clients.len());
        arguments.extend([
            decimal(head.applied.0),
            head.born.clone(),
            decimal(next.0),
            records.last().map(fingerprint_text).unwrap_or_default(),
            Bytes::from_static(if self.link.cluster { b"SPUBLISH" } else { b"PUBLISH" }),
            text(&self.keys.channel_prefix(partition)),
            notice::results_prefix(partition),
            decimal(head.floor.0),
            decimal(head.floor.0 + 1),
            if noted || expired.is_some() { head.timeline.encode() } else { Bytes::new() },
            text(&keys.stream_prefix()),
            decimal(groups.len() as u64),
            decimal(trims.len() as u64 / 3),
            decimal(self.limits.partition_bytes as u64),
        ]);
        arguments.extend(trims);
        arguments.extend(clients);
        let mut answer = self.link.call(&self.link.bulk, &self.link.scripts.apply, all, arguments).await?.list()?;
        match answer.item()?.number()? {
            0 => {
                head.applied = next;
                tally.fresh += piece_tally.fresh;
                tally.duplicates += piece_tally.duplicates;
                tally.foreign += piece_tally.foreign;
                Ok(true)
            }
            // Moved: everything is read again.
            1 => {
                route.clear();
                Ok(false)
            }
            // Some changed hands. The fold of the others of this piece went on here, and not there. The partition is where
            // it was, so all that is known of other clients still is so.
            _ => {
                groups.iter().for_each(|group| route.clients.remove(&group.client));
                route.head = Some(before);
                Ok(false)
            }
        }
    }

    /// Reads what is not known of the clients of these records. Whether the partition still is where it was.
    async fn load(
        &self,
        route: &mut Route,
        head: &PartitionHead,
        partition: Partition,
        records: &[Stored<ResultRecord>],
    ) -> Result<bool, Failure> {
        let mut missing: Vec<&ClientId> = Vec::new();
        for stored in records {
            let client = &stored.record.origin.client;
            if !route.clients.touch(client) {
                // Stands in until it is read, so that it is asked for once.
                route.clients.insert(client.clone(), Known::default());
                missing.push(client);
            }
        }
        if missing.is_empty() {
            return Ok(true);
        }
        self.metrics.loads.inc_by(missing.len() as u64);
        let keys = self.keys.partition(partition);
        let all = vec![keys.head(), keys.seen(), keys.claim()];
        let arguments = missing.iter().map(|client| text(client.as_str())).collect();
        let mut answer = self.link.call(&self.link.bulk, &self.link.scripts.load, all, arguments).await?.list()?;
        let found = read_head(answer.item()?)?;
        if !found.is_some_and(|found| found.applied == head.applied && found.born == head.born) {
            route.clear();
            return Ok(false);
        }
        let (mut seen, mut claims) = (answer.item()?.list()?, answer.item()?.list()?);
        let mut mended = false;
        for client in missing {
            match known(client, seen.item()?.bytes(), claims.item()?.bytes()) {
                Ok(known) => route.clients.insert(client.clone(), known),
                // The partition must not stand still for one client.
                Err(error) if is_damage(&error) => {
                    self.mend(client, None).await?;
                    mended = true;
                }
                Err(newer) => return Err(newer.into()),
            }
        }
        if mended {
            route.clear();
        }
        Ok(!mended)
    }

    /// Makes room in a full Redis: the older half of what waits in this partition is left to the log, or all of it.
    async fn press(&self, partition: Partition, everything: bool, why: &str) -> Result<(), Failure> {
        let mut head = self.head(partition).await?;
        let floor = if everything { head.applied } else { head.timeline.press(head.floor, head.applied) };
        tracing::warn!(%partition, %floor, why, "redis is full, what waits before this is left to the results log");
        self.metrics.pressed.inc();
        self.trim(partition, floor, PRESS_CLIENTS).await
    }

    /// Raises the floor and trims all that is below it, some clients at a time.
    pub(super) async fn trim(&self, partition: Partition, floor: Position, step: u64) -> Result<(), Failure> {
        let keys = self.keys.partition(partition);
        loop {
            let all = vec![keys.head(), keys.waiting()];
            let arguments = vec![decimal(floor.0), decimal(floor.0 + 1), text(&keys.stream_prefix()), decimal(step)];
            let trimmed = self.link.call(&self.link.bulk, &self.link.scripts.trim, all, arguments).await?;
            if trimmed.number()? < step {
                return Ok(());
            }
        }
    }
}

/// What Redis knows of a client.
fn known(client: &ClientId, seen: Option<Bytes>, claims: Option<Bytes>) -> Result<Known, Unreadable> {
    let seen = seen.map(|bytes| seen::decode(&bytes)).transpose()?.unwrap_or_default();
    let mut known = Known { seen, ..Known::default() };
    if let Some(bytes) = claims {
        let stored = claims::decode(client, &bytes)?;
        known.hands = stored.hands;
        known.principal = stored.image.principal;
        known.floor = stored.image.floor;
    }
    Ok(known)
}

/// The position past a record, and what it is.
fn fingerprint_text(last: &Stored<ResultRecord>) -> Bytes {
    format!("{}:{:016x}", last.offset.position_after(), last.record.fingerprint()).into()
}
