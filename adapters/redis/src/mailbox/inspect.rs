//! What an operator sees of a client, and of a partition's last record.

use nimbus_core::{
    ClientId, OutboxId, Partition, Position, PrincipalId, ServerId, SessionId,
    clock::UnixMillis,
    ports::mailbox::{Landmark, Page},
};

use super::Inner;
use crate::{command::command, error::Failure};

/// One client, as Redis knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientView {
    /// Where it lives.
    pub partition: Partition,
    /// To whom it belongs; `None` until its first claim.
    pub principal: Option<PrincipalId>,
    /// The session that holds it, and that session's server.
    pub owner: Option<(ServerId, SessionId)>,
    /// The outbox that claimed it last, with its session number.
    pub outbox: Option<(OutboxId, u64)>,
    /// When it claimed or was released last.
    pub touched: UnixMillis,
    /// Past its last result.
    pub last: Position,
    /// How far its partition is folded in.
    pub applied: Position,
    /// From where the mailbox can serve it.
    pub floor: Position,
    /// Where it is, if it speaks the original protocol.
    pub kept: Option<Position>,
    /// Batches with records that wait for it; each holds some.
    pub waiting: u64,
    /// Records in them; counted up to [`Self::MOST_COUNTED`].
    pub records: u64,
    /// By outbox: every event of the ordered lane up to this one is answered.
    pub answered: Vec<(OutboxId, u64)>,
}

impl ClientView {
    /// Records are counted by reading them, so there is an end to it.
    pub const MOST_COUNTED: u64 = 10_000;

    /// Whether anything was ever heard of it.
    pub fn is_known(&self) -> bool {
        let has_claimed = self.principal.is_some() || self.owner.is_some() || self.outbox.is_some();
        has_claimed || self.last > Position::START || self.waiting > 0 || !self.answered.is_empty()
    }
}

impl Inner {
    /// Changes nothing, or asking would begin a partition that Redis has forgotten.
    pub(super) async fn inspect(&self, client: &ClientId) -> Result<ClientView, Failure> {
        let (partition, keys) = self.partition_keys(client);
        let head = self.remembered(partition).await?;
        let holder = self.holder(client).await?;
        let waiting: u64 = command(&self.link.quick, "XLEN", vec![keys.stream(client).into()]).await?;
        let snapshot = holder.as_ref().and_then(|holder| holder.snapshot(client));
        let claims = snapshot.as_ref().map(|snapshot| &snapshot.claims);
        let floor =
            head.as_ref().map(|head| head.floor).max(holder.as_ref().map(|holder| holder.floor)).unwrap_or_default();
        let records = if head.is_some() && waiting > 0 { self.count(client, floor).await? } else { 0 };
        Ok(ClientView {
            partition,
            principal: claims.and_then(|claims| claims.principal.clone()),
            owner: holder.as_ref().and_then(|holder| holder.owner()).map(|(server, session)| (server.clone(), session)),
            outbox: claims.and_then(|claims| claims.current).map(|current| (current.outbox, current.session_no)),
            touched: claims.map(|claims| claims.touched).unwrap_or_default(),
            last: snapshot.as_ref().map(|snapshot| snapshot.last).unwrap_or_default(),
            applied: head.as_ref().map(|head| head.applied).unwrap_or_default(),
            floor,
            kept: holder.as_ref().and_then(|holder| holder.kept),
            waiting,
            records,
            answered: snapshot
                .map(|snapshot| snapshot.fold.iter().map(|(outbox, known)| (*outbox, known.answered)).collect())
                .unwrap_or_default(),
        })
    }

    /// How many records wait from there on.
    async fn count(&self, client: &ClientId, from: Position) -> Result<u64, Failure> {
        let (mut from, mut count) = (from, 0);
        while count < ClientView::MOST_COUNTED {
            match self.read(client, from, usize::MAX, usize::MAX).await? {
                Page::Records { records, through, complete } => {
                    count += records.len() as u64;
                    if complete || through == from {
                        break;
                    }
                    from = through;
                }
                // The floor moves meanwhile.
                Page::BelowFloor { floor } if floor > from => from = floor,
                Page::BelowFloor { .. } => break,
            }
        }
        Ok(count.min(ClientView::MOST_COUNTED))
    }

    pub(super) async fn landmark(&self, partition: Partition) -> Result<Option<Landmark>, Failure> {
        self.check(partition)?;
        let key = self.keys.partition(partition).head();
        let stored: Option<String> = command(&self.link.quick, "HGET", vec![key.into(), "fp".into()]).await?;
        let Some(stored) = stored else { return Ok(None) };
        let read = stored.split_once(':').and_then(|(position, fingerprint)| {
            let position = Position(position.parse().ok()?);
            Some(Landmark { position, fingerprint: u64::from_str_radix(fingerprint, 16).ok()? })
        });
        read.map(Some).ok_or_else(|| Failure::Unavailable("a fingerprint is not one".to_owned()))
    }
}
