//! The state machines of a log that is not in service: for the data tools, which read and write their state.

use std::sync::Arc;

use nimbus_core::{PartitionCount, clock::SystemClock, mailbox::MailboxLimits};
use prometheus_client::registry::Registry;

use crate::{
    groups::Groups,
    mailbox::{EmbeddedMailbox, MailboxMetrics},
    notifier::{EmbeddedNotifier, NotifierConfig, NotifierMetrics},
    state::StateMachine,
};

/// Every state machine there is, as new.
#[derive(Debug)]
pub(crate) struct Machines {
    pub(crate) groups: Groups,
    mailbox: EmbeddedMailbox,
}

impl Machines {
    pub(crate) fn new(partitions: PartitionCount) -> Self {
        let unseen = &mut Registry::default();
        let notifier = EmbeddedNotifier::new(NotifierConfig::default(), NotifierMetrics::register(unseen));
        let mailbox = EmbeddedMailbox::new(
            partitions,
            MailboxLimits::default(),
            Arc::new(SystemClock),
            notifier,
            MailboxMetrics::register(unseen),
        );
        Self { groups: Groups::new(partitions.len()), mailbox }
    }

    /// Consumer groups first: no commit in a snapshot may be ahead of the mailbox in it.
    pub(crate) fn all(&self) -> [&dyn StateMachine; 2] {
        [&self.groups, &self.mailbox]
    }
}
