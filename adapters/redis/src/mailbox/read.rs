//! What waits for a client, and what it has.

use std::{collections::BTreeMap, time::Duration};

use nimbus_core::{
    ClientId, Partition, Position, ResultRecord,
    ports::{
        log::{LogRecord as _, Stored},
        mailbox::{MailboxAck, Page},
    },
};

use tokio::{sync::watch, time::timeout};

use super::{ATTEMPTS, Inner};
use crate::{
    codec::{chunk, claims, owner},
    error::Failure,
    link::{Answers, decimal, text},
};

/// Chunks in one answer: bounds the work of one call, not what the caller gets in the end.
const PAGE_CHUNKS: usize = 64;
const PAGE_BYTES: usize = 4 << 20;

/// How long a read or a claim waits for what the check does once a second.
const REPAIR_LIMIT: Duration = Duration::from_secs(3);

/// Acknowledgements in one call.
const ACKS: usize = 128;

impl Inner {
    pub(super) async fn read(
        &self,
        client: &ClientId,
        from: Position,
        max_records: usize,
        max_bytes: usize,
    ) -> Result<Page, Failure> {
        let (partition, keys) = self.partition_keys(client);
        let mut attempts = 0;
        while attempts < ATTEMPTS {
            let mut repaired = self.memories.repaired();
            let all = vec![keys.head(), keys.floors(), keys.claim(), keys.stream(client)];
            let arguments = vec![
                text(client.as_str()),
                decimal(from.0),
                // An entry's id is the position past its last record.
                decimal(from.0.saturating_add(1)),
                decimal(max_records.clamp(1, PAGE_CHUNKS) as u64),
                decimal(max_bytes.clamp(1, PAGE_BYTES) as u64),
            ];
            let mut answer = self.link.call(&self.link.quick, &self.link.scripts.read, all, arguments).await?.list()?;
            let is_known = self.is_known(partition).await?;
            match answer.item()?.number()? {
                _ if !is_known => self.wait_for_repair(&mut repaired).await?,
                0 => drop(self.begin(partition).await?),
                1 => {
                    self.metrics.below_floor.inc();
                    return Ok(Page::BelowFloor { floor: Position(answer.item()?.number()?) });
                }
                _ if self.memories.is_other(partition, answer.item()?.bytes()) => {
                    // What its clients had before is read when they are claimed in it, and not passed over.
                    self.wait_for_repair(&mut repaired).await?;
                }
                _ => return self.page(client, from, max_records, max_bytes, answer),
            }
            attempts += 1;
        }
        Err(Failure::Unavailable("redis forgets what it was just told".to_owned()))
    }

    /// Until everything was claimed again: whoever reads or claims has come at a bad moment, and not in vain.
    pub(super) async fn wait_for_repair(&self, repaired: &mut watch::Receiver<()>) -> Result<(), Failure> {
        // Without a sender this process is ending.
        let waited = timeout(REPAIR_LIMIT, repaired.changed()).await;
        waited.ok().and_then(Result::ok).ok_or_else(|| {
            Failure::Unavailable("redis lost its memory, or another one answers, and it is not repaired yet".to_owned())
        })
    }

    fn page(
        &self,
        client: &ClientId,
        from: Position,
        max_records: usize,
        max_bytes: usize,
        mut answer: Answers,
    ) -> Result<Page, Failure> {
        let applied = Position(answer.item()?.number()?);
        let claims = answer.item()?.bytes().map(|bytes| claims::decode(client, &bytes)).transpose()?;
        let principal = claims.and_then(|claims| claims.image.principal);
        let more = answer.item()?.number()? != 0;
        let (mut records, mut bytes, mut through) = (Vec::<Stored<ResultRecord>>::new(), 0, from);
        for entry in answer {
            let Some(entry) = entry.bytes() else { continue };
            let chunk = match chunk::decode(&entry) {
                Ok(chunk) => chunk,
                Err(error) => {
                    // A newer build wrote it. The log has the same, in a form that this build can read or not.
                    tracing::warn!(%client, %error, "a mailbox cannot be read, the log serves instead");
                    self.metrics.unreadable.inc();
                    return Ok(Page::BelowFloor { floor: applied.max(Position(from.0 + 1)) });
                }
            };
            for stored in chunk.into_iter().filter(|stored| !from.covers(stored.offset)) {
                // What waited before the first claim may be somebody else's.
                if principal.as_ref().is_some_and(|principal| *principal != stored.record.origin.principal) {
                    through = stored.offset.position_after();
                    continue;
                }
                bytes += stored.record.weight();
                if !records.is_empty() && (records.len() >= max_records || bytes > max_bytes) {
                    return Ok(Page::Records { records, through, complete: false });
                }
                through = stored.offset.position_after();
                records.push(stored);
            }
        }
        let through = if more { through } else { applied.max(from) };
        Ok(Page::Records { records, through, complete: !more })
    }

    pub(super) async fn ack(&self, acks: &[MailboxAck]) -> Result<(), Failure> {
        let mut by_partition: BTreeMap<Partition, Vec<&MailboxAck>> = BTreeMap::new();
        for ack in acks {
            self.held().acked(&ack.client, ack.session, ack.position);
            by_partition.entry(self.partitions.partition_of(&ack.client)).or_default().push(ack);
        }
        let calls = by_partition.iter().flat_map(|(partition, acks)| acks.chunks(ACKS).map(|some| (*partition, some)));
        // Each for itself: a node that does not answer takes away only what is on it.
        let done = futures_util::future::join_all(calls.map(|(partition, some)| self.ack_some(partition, some))).await;
        done.into_iter().collect()
    }

    async fn ack_some(&self, partition: Partition, acks: &[&MailboxAck]) -> Result<(), Failure> {
        let keys = self.keys.partition(partition);
        let mut all = vec![keys.head(), keys.owner(), keys.floors(), keys.kept(), keys.waiting()];
        let mut arguments = Vec::with_capacity(acks.len() * 3);
        for ack in acks {
            all.push(keys.stream(&ack.client));
            arguments.extend([text(ack.client.as_str()), owner::session_bytes(ack.session), decimal(ack.position.0)]);
        }
        self.link.call(&self.link.quick, &self.link.scripts.ack, all, arguments).await?;
        Ok(())
    }
}
