//! Claiming everything again, after Redis was emptied or replaced.

use futures_util::{StreamExt as _, stream};
use nimbus_core::ports::{mailbox::ClaimError, notifier::Notification};

use super::{
    Inner,
    claim::{Lost, Why},
    held::HeldClaim,
};
use crate::error::Failure;

/// Claims under way at the same time.
const AT_ONCE: usize = 64;

impl Inner {
    /// Every client that a session of this process holds is claimed for that session again. A session that lost its client
    /// to a newer one is told so. Fails when Redis does; then it is to be done again, which does no harm.
    pub(super) async fn claim_again(&self) -> Result<(), Failure> {
        let all = self.held.all();
        let mut outcomes = stream::iter(all).map(|held| self.claim_one_again(held)).buffer_unordered(AT_ONCE);
        while let Some(outcome) = outcomes.next().await {
            outcome?;
        }
        Ok(())
    }

    async fn claim_one_again(&self, held: HeldClaim) -> Result<(), Failure> {
        let HeldClaim { claim, token } = held;
        match self.claim_as(&claim, token, Why::Again).await {
            Ok((claimed, _)) => {
                if let Some((server, session)) = claimed.previous {
                    let note = Notification::Superseded { client: claim.client.clone(), session };
                    self.notifier.send(&server, &note).await?;
                }
                Ok(())
            }
            Err(Lost::Superseded | Lost::Refused(ClaimError::Stale { .. } | ClaimError::WrongToken)) => {
                self.held.remove(&claim.client, claim.session);
                let note = Notification::Superseded { client: claim.client.clone(), session: claim.session };
                self.bus.tell(&claim.server, &note);
                Ok(())
            }
            Err(Lost::Refused(ClaimError::Unavailable(why))) => Err(Failure::Unavailable(why)),
        }
    }
}
