//! What must happen before a session can begin, in the order that loses nothing (rule 18): authenticate, register, look at
//! the log's end, claim, look into the mailbox.

use std::sync::Arc;

use bytes::Bytes;
use nimbus_core::{
    ClientId, LogEpoch, Origin, OutboxId, Position, PrincipalId, Reason, SessionId, chance,
    ports::{
        authenticator::Credentials,
        log::Range,
        mailbox::{Claim, ClaimKind, Page},
        notifier::Notification,
    },
    registry::Registration,
    session::{Close, Hello, Opened, check_resume},
};

use crate::{shared::Shared, status};

/// How a token goes over the wire: the log's epoch, then the mailbox's token.
const EPOCH_BYTES: usize = 16;

/// What a client asks for when it opens a stream.
#[derive(Debug)]
pub(crate) struct Opening {
    pub(crate) client: ClientId,
    pub(crate) credentials: Credentials,
    pub(crate) kind: OpeningKind,
    pub(crate) hello: Hello,
}

/// What differs between the protocols.
#[derive(Debug)]
pub(crate) enum OpeningKind {
    /// The SDK's.
    V1 {
        /// Raised at every connect.
        session_no: u64,
        /// The whole token as the client gave it, if it resumes.
        token: Option<Bytes>,
    },
    /// The original one.
    Original,
}

/// A session that may begin. Dropping it leaves the registry; the mailbox is left with [`ReadySession::release`].
#[derive(Debug)]
pub(crate) struct ReadySession {
    pub(crate) id: SessionId,
    pub(crate) origin: Arc<Origin>,
    pub(crate) hello: Hello,
    pub(crate) opened: Opened,
    pub(crate) registration: Registration,
}

/// A session that holds nothing yet but its place in the registry.
#[derive(Debug)]
pub(crate) struct Prepared {
    claim: Claim,
    range: Range,
    hello: Hello,
    registration: Registration,
}

impl Opening {
    /// All that may be given up half way: nothing of it outlives the future but through what it returns.
    ///
    /// # Errors
    /// The [`Close`] that the client is told.
    pub(crate) async fn prepare(self, shared: &Shared) -> Result<Prepared, Close> {
        let principal = self.authenticate(shared).await?;
        let Self { client, kind, mut hello, .. } = self;
        let id = SessionId(chance::ulid(shared.now().unix));
        let registration = shared.registry.register(client.clone(), id);

        let results = &shared.ports.results;
        let partition = results.partitions().partition_of(&client);
        let range = results.range(partition).await.map_err(|error| {
            tracing::warn!(%client, %error, "a session could not open: the results log has no range");
            status::from_log(&error)
        })?;

        let claim = Claim {
            client,
            principal,
            server: shared.config.server.clone(),
            session: id,
            kind: claim_kind(kind, &mut hello, results.epoch())?,
            log_end: range.end,
        };
        check_resume(&hello, range)?;
        Ok(Prepared { claim, range, hello, registration })
    }

    async fn authenticate(&self, shared: &Shared) -> Result<PrincipalId, Close> {
        let asked = shared.ports.authenticator.authenticate(&self.credentials, &self.client).await;
        asked.map_err(|error| {
            tracing::info!(client = %self.client, %error, "a caller was turned away");
            status::from_auth(&error)
        })
    }
}

impl Prepared {
    /// Takes the client over. To be waited for until its end: it waits for the mailbox alone, which answers or fails in
    /// bounded time, and half way it may hold a client that nobody would release.
    ///
    /// # Errors
    /// The [`Close`] that the client is told.
    pub(crate) async fn claim(self, shared: &Shared) -> Result<ReadySession, Close> {
        let Self { claim, range, hello, registration } = self;
        let (client, principal, id) = (claim.client.clone(), claim.principal.clone(), claim.session);
        let claimed = shared.ports.mailbox.claim(claim).await.map_err(|error| {
            tracing::info!(%client, %error, "a claim was refused");
            status::from_claim(&error)
        })?;
        if let Some((server, session)) = &claimed.previous {
            supersede(shared, &client, server, *session).await;
        }

        let from = match &hello.resume {
            Some(resume) if !resume.foreign_epoch => resume.position,
            Some(_) => range.start,
            None => claimed.start,
        };
        let floor = match shared.ports.mailbox.read(&client, from, 1, 1).await {
            Ok(Page::Records { .. }) => Position::START,
            Ok(Page::BelowFloor { floor }) => floor,
            Err(error) => {
                tracing::warn!(%client, %error, "a session could not open: its mailbox cannot be read");
                release(&client, id, shared).await;
                return Err(status::from_mailbox(&error));
            }
        };
        let origin = Arc::new(Origin { client, principal, outbox: hello.outbox });
        Ok(ReadySession { id, origin, hello, opened: Opened { claimed, range, floor }, registration })
    }
}

impl ReadySession {
    /// Gives the client up, unless a newer session has it. Best effort: the next claim wins anyway.
    pub(crate) async fn release(origin: &Origin, id: SessionId, shared: &Shared) {
        release(&origin.client, id, shared).await;
    }
}

async fn release(client: &ClientId, id: SessionId, shared: &Shared) {
    if let Err(error) = shared.ports.mailbox.release(client, id).await {
        tracing::debug!(%client, %error, "a release did not reach the mailbox");
    }
}

/// Splits the wire token, and notes when it comes from another incarnation of the log.
fn claim_kind(kind: OpeningKind, hello: &mut Hello, epoch: LogEpoch) -> Result<ClaimKind, Close> {
    let (session_no, token) = match kind {
        OpeningKind::Original => return Ok(ClaimKind::Original),
        OpeningKind::V1 { session_no, token } => (session_no, token),
    };
    let outbox = hello.outbox;
    let (Some(resume), Some(mut token)) = (&mut hello.resume, token) else {
        return Ok(ClaimKind::Sdk { outbox, session_no, token: None });
    };
    if token.len() <= EPOCH_BYTES {
        let message = format!("field resume.token has {} bytes, fewer than any token", token.len());
        return Err(Close::because(Reason::ResumeTokenMismatch, message));
    }
    let secret = token.split_off(EPOCH_BYTES);
    resume.foreign_epoch = token != epoch.0.to_bytes().as_slice();
    let token = (!resume.foreign_epoch).then_some(secret);
    Ok(ClaimKind::Sdk { outbox, session_no, token })
}

/// The token as it goes to the client.
pub(crate) fn wire_token(epoch: LogEpoch, secret: &Bytes) -> Bytes {
    let mut token = Vec::with_capacity(EPOCH_BYTES + secret.len());
    token.extend_from_slice(&epoch.0.to_bytes());
    token.extend_from_slice(secret);
    token.into()
}

async fn supersede(shared: &Shared, client: &ClientId, server: &nimbus_core::ServerId, session: SessionId) {
    if *server == shared.config.server {
        shared.registry.supersede(client, session);
        return;
    }
    let note = Notification::Superseded { client: client.clone(), session };
    if let Err(error) = shared.ports.notifier.publish(server, note).await {
        // The old session cannot change shared state any more; only its stream lives on for a while.
        tracing::warn!(%client, %error, "an old session elsewhere could not be told that it was superseded");
    }
}

/// A fresh outbox, for clients of the original protocol: each stream counts anew.
pub(crate) fn fresh_outbox() -> OutboxId {
    OutboxId::new(rand::random())
}
