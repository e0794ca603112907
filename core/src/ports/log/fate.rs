//! What becomes of records that were shown before they were durable.

use tokio::sync::watch;

/// Whether records that were shown early became durable, or were taken back. Clones speak of the same records.
#[derive(Debug, Clone)]
pub struct Fate(watch::Receiver<Option<bool>>);

/// The other end: whoever writes the records decides. Dropped undecided, it takes them back.
#[derive(Debug)]
pub struct Decision(watch::Sender<Option<bool>>);

impl Fate {
    /// Of records that are about to be written.
    pub fn undecided() -> (Decision, Self) {
        let (decision, fate) = watch::channel(None);
        (Decision(decision), Self(fate))
    }

    /// What was decided, if it was.
    pub fn decided(&self) -> Option<bool> {
        let decided = *self.0.borrow();
        decided.or_else(|| self.0.has_changed().is_err().then_some(false))
    }

    /// Waits for the decision: true, they are durable, and everything that was shown before them; false, they were taken back.
    /// Cancel safe.
    pub async fn is_durable(mut self) -> bool {
        self.0.wait_for(Option::is_some).await.is_ok_and(|decided| *decided == Some(true))
    }
}

impl Decision {
    /// They are durable.
    pub fn durable(self) {
        self.0.send_replace(Some(true));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_waits_learns_what_was_decided_and_a_decision_never_made_takes_back() {
        let (decision, fate) = Fate::undecided();
        let (waiting, later) = (tokio::spawn(fate.clone().is_durable()), fate);
        assert_eq!(later.decided(), None);
        decision.durable();
        assert!(waiting.await.unwrap());
        assert_eq!(later.decided(), Some(true));
        assert!(later.is_durable().await, "also for who asks late");
        let (decision, fate) = Fate::undecided();
        drop(decision);
        assert_eq!(fate.decided(), Some(false));
        assert!(!fate.is_durable().await);
    }
}
