//! What an operator sees of a client, and of a partition's last record.

use fred::interfaces::HashesInterface as _;
use nimbus_core::{
    ClientId, OutboxId, Partition, Position, PrincipalId, ServerId, SessionId,
    clock::UnixMillis,
};

use super::Inner;
use crate::{
    error::Failure,
    link::{decimal, text},
};

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
    /// By outbox: every event of the ordered lane up to this one is answered.
    pub answered: Vec<(OutboxId, u64)>,
}

impl Inner {
    pub(super) async fn inspect(&self, client: &ClientId) -> Result<ClientView, Failure> {
        let (partition, keys) = self.partition_keys(client);
        let head = self.head(partition).await?;
        let holder = self.holder(client).await?;
        let all = vec![keys.head(), keys.floors(), keys.claim(), keys.stream(client)];
        let arguments =
            vec![text(client.as_str()), decimal(u64::MAX >> 12), decimal(0), decimal(u64::MAX >> 12), decimal(1 << 20)];
        // A read from far beyond the floor, of every entry there is.
        let mut answer = self.link.call(&self.link.quick, &self.link.scripts.read, all, arguments).await?.list()?;
        drop((answer.item()?, answer.item()?, answer.item()?, answer.item()?));
        let waiting = answer.count() as u64;
        let snapshot = holder.as_ref().and_then(|holder| holder.snapshot(client));
        let claims = snapshot.as_ref().map(|snapshot| &snapshot.claims);
        Ok(ClientView {
            partition,
            principal: claims.and_then(|claims| claims.principal.clone()),
            owner: holder.as_ref().and_then(|holder| holder.owner()).map(|(server, session)| (server.clone(), session)),
            outbox: claims.and_then(|claims| claims.current).map(|current| (current.outbox, current.session_no)),
            touched: claims.map(|claims| claims.touched).unwrap_or_default(),
            last: snapshot.as_ref().map(|snapshot| snapshot.last).unwrap_or_default(),
            applied: head.applied,
            floor: head.floor.max(holder.as_ref().map(|holder| holder.floor).unwrap_or_default()),
            kept: holder.as_ref().and_then(|holder| holder.kept),
            waiting,
            answered: snapshot
                .map(|snapshot| snapshot.fold.iter().map(|(outbox, known)| (*outbox, known.answered)).collect())
                .unwrap_or_default(),
        })
    }

    pub(super) async fn fingerprint(&self, partition: Partition) -> Result<Option<(Position, u64)>, Failure> {
        self.check(partition)?;
        let key = self.keys.partition(partition).head();
        let stored: Option<String> = self.link.quick.hget(key, "fp").await?;
        let Some(stored) = stored else { return Ok(None) };
        let parts = stored.split_once(':');
        let read = parts.and_then(|(at, print)| Some((Position(at.parse().ok()?), u64::from_str_radix(print, 16).ok()?)));
        read.map(Some).ok_or_else(|| Failure::Unavailable("a fingerprint is not one".to_owned()))
    }
}
