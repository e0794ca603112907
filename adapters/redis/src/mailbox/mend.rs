//! What is damaged of one client is taken for lost, so that it stops nobody else.
//!
//! It should never happen: nothing but this crate writes these fields. If it does, the log still has everything, and a floor
//! says so. A lost fold costs copies of older answers, as after an emptied Redis; lost claims cost the session that holds the
//! client, which is told. What a newer build wrote is not damaged, and is never touched.

use bytes::Bytes;
use nimbus_core::{ClientId, SessionId, ports::notifier::Notification};

use super::Inner;
use crate::{
    codec::{
        Unreadable, claims,
        owner::{self, Holding},
        seen,
    },
    error::Failure,
    link::text,
};

impl Inner {
    /// To be called when something of a client was found damaged; the caller reads again. `but`: the session that finds it,
    /// and need not be told that it has lost its client.
    pub(super) async fn mend(&self, client: &ClientId, but: Option<SessionId>) -> Result<(), Failure> {
        let (_, keys) = self.partition_keys(client);
        let all = vec![keys.head(), keys.claim(), keys.seen(), keys.floors(), keys.kept(), keys.owner(), keys.tenure()];
        let arguments = vec![text(client.as_str())];
        let mut answer = self.link.call(&self.link.quick, &self.link.scripts.holder, all, arguments).await?.list()?;
        answer.item()?;
        let (claims, seen) = (answer.item()?.bytes(), answer.item()?.bytes());
        answer.item()?;
        answer.item()?;
        let owner = answer.item()?.bytes();
        let claims = claims.filter(|blob| claims::decode(client, blob).is_err_and(|error| is_damage(&error)));
        let seen = seen.filter(|blob| seen::decode(blob).is_err_and(|error| is_damage(&error)));
        if claims.is_none() && seen.is_none() {
            return Ok(());
        }
        self.metrics.unreadable.inc();
        tracing::error!(%client, claims = claims.is_some(), answered = seen.is_some(), "what redis keeps of a client is damaged, and taken for lost");
        // Told first: when that fails, all of it is done again.
        if claims.is_some()
            && let Some(Holding::Held { server, session }) = owner.as_ref().and_then(|owner| owner::decode(owner))
            && Some(session) != but
        {
            self.notifier.send(&server, &Notification::Superseded { client: client.clone(), session }).await?;
        }
        let all = vec![
            keys.head(),
            keys.claim(),
            keys.owner(),
            keys.seen(),
            keys.floors(),
            keys.waiting(),
            keys.stream(client),
        ];
        let is = |blob: &Option<Bytes>| Bytes::from_static(if blob.is_some() { b"1" } else { b"0" });
        let arguments =
            vec![text(client.as_str()), is(&claims), claims.unwrap_or_default(), is(&seen), seen.unwrap_or_default()];
        self.link.call(&self.link.quick, &self.link.scripts.mend, all, arguments).await?;
        Ok(())
    }
}

/// Whether nobody will ever be able to read it.
pub(super) fn is_damage(error: &Unreadable) -> bool {
    match error {
        Unreadable::Damaged { .. } => true,
        Unreadable::Newer { .. } => false,
    }
}
