//! What a server knows apart from its sessions: the chain of notifications, the check once a second, which Redis it is.
//! `server/src/dispatch.rs` and `adapters/redis/src/mailbox/heads.rs`.

use std::collections::VecDeque;

use crate::{
    bug::Bug,
    ids::{Position, SessionId},
    mailbox::Results,
};

/// What comes over a server's channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Notice {
    /// New results.
    Results(Results),
    /// A newer session took the client over.
    Superseded(SessionId),
    /// Repair every session.
    MayHaveMissed,
}

/// How far the mailbox is, as one server sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Head {
    /// How far it is folded in.
    pub applied: Position,
    /// The newest notification for this server.
    pub notified: Position,
}

/// Which Redis it is, as far as one knows: its replication id, and the memory in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Which {
    /// The replication id.
    pub replication: Option<u8>,
    /// The memory.
    pub born: Option<u8>,
}

impl Which {
    /// Whether `found` is another one. What was not known differs from nothing.
    pub fn differs_from(self, found: Self) -> bool {
        let differ = |known: Option<u8>, found| known.is_some() && known != found;
        differ(self.replication, found.replication) || differ(self.born, found.born)
    }
}

/// One server.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ServerState {
    /// The end of the last notification; `None` before the first.
    pub chain: Option<Position>,
    /// A head that was ahead of the chain at the last check.
    pub suspect: Option<Head>,
    /// Every record before this was handed to its session, if it has one here. Handed on to the sessions by the check.
    pub bookmark: Position,
    /// The Redis it knows.
    pub knows: Which,
    /// Another Redis was found and everything claimed again in it; accepting it is still to come.
    pub accepting: Option<Which>,
    /// Published, not yet taken.
    pub channel: VecDeque<Notice>,
}

/// What follows from a check or a notification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repair {
    /// Nothing.
    Nothing,
    /// Every session reads its mailbox.
    Sessions,
}

impl ServerState {
    /// A process that has just subscribed.
    pub fn new(knows: Which) -> Self {
        Self { chain: None, suspect: None, bookmark: 0, knows, accepting: None, channel: VecDeque::new() }
    }

    /// Takes a notification of results into the chain.
    pub fn chained(&mut self, results: &Results, bug: Option<Bug>) -> Repair {
        let broken = match self.chain {
            // A server that has not been told of anything since it subscribed knows of nothing before.
            None if bug == Some(Bug::FirstOfAChainTrusted) => false,
            last => last.unwrap_or_default() != results.previous,
        };
        self.chain = Some(results.last);
        if broken && bug != Some(Bug::BrokenChainIgnored) { Repair::Sessions } else { Repair::Nothing }
    }

    /// Something may have been missed: the chain begins anew.
    pub const fn missed(&mut self) {
        self.chain = None;
        self.suspect = None;
    }

    /// Compares the chain with the mailbox. What is ahead may still be on its way, so it gets until the next check.
    pub fn checked(&mut self, head: Head, bug: Option<Bug>) -> Repair {
        let known = self.chain.unwrap_or_default();
        if self.suspect.is_some_and(|suspect| suspect.notified > known) && bug != Some(Bug::OverdueIgnored) {
            self.chain = Some(head.notified);
            self.suspect = None;
            return Repair::Sessions;
        }
        if let Some(suspect) = self.suspect
            && known >= suspect.notified
        {
            self.bookmark = self.bookmark.max(suspect.applied);
        }
        if known >= head.notified || bug == Some(Bug::BookmarkAheadOfChain) {
            self.bookmark = self.bookmark.max(head.applied);
            self.suspect = None;
        } else {
            self.suspect = Some(head);
        }
        Repair::Nothing
    }
}
