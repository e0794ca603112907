//! What an operator is shown of an installation: plain values, so that showing them needs no backend.

use nimbus_core::{Partition, Position, clock::UnixMillis};

/// How much a check matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Severity {
    /// As it should be.
    Ok,
    /// It works, but not in every failure.
    Warning,
    /// It does not work, or would lose something.
    Problem,
}

impl Severity {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Problem => "problem",
        }
    }
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Check {
    pub(crate) name: &'static str,
    pub(crate) severity: Severity,
    pub(crate) found: String,
    /// What to do about it; empty when it is fine.
    pub(crate) remedy: String,
}

impl Check {
    pub(crate) fn ok(name: &'static str, found: impl Into<String>) -> Self {
        Self { name, severity: Severity::Ok, found: found.into(), remedy: String::new() }
    }

    pub(crate) fn warning(name: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { name, severity: Severity::Warning, found: found.into(), remedy: remedy.into() }
    }

    pub(crate) fn problem(name: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { name, severity: Severity::Problem, found: found.into(), remedy: remedy.into() }
    }
}

/// How far one consumer group is in one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GroupView {
    pub(crate) group: String,
    /// `None`: it never committed here.
    pub(crate) committed: Option<Position>,
    /// What it has not finished.
    pub(crate) lag: u64,
}

/// One partition of one topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PartitionView {
    pub(crate) topic: String,
    pub(crate) partition: Partition,
    pub(crate) start: Position,
    pub(crate) end: Position,
    pub(crate) groups: Vec<GroupView>,
}

/// One client, and where it lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ClientReport {
    pub(crate) client: String,
    pub(crate) principal: Option<String>,
    /// The server and the session that hold it.
    pub(crate) owner: Option<(String, String)>,
    /// Since when the session is open; without one, when the client came or went last.
    pub(crate) since: Option<UnixMillis>,
    /// The outbox that claimed it last, with its session number.
    pub(crate) outbox: Option<(String, u64)>,
    /// By outbox: every event up to this one is answered.
    pub(crate) answered: Vec<(String, u64)>,
    /// Batches with records that wait for it.
    pub(crate) batches: u64,
    /// Records in them.
    pub(crate) records: u64,
    /// There are more, which were not counted.
    pub(crate) more_records: bool,
    /// Past its last result.
    pub(crate) last: Position,
    /// From where its mailbox can serve it.
    pub(crate) floor: Position,
    /// Where it is, if it speaks the original protocol.
    pub(crate) kept: Option<Position>,
    /// How far the results of its partition are in the mailboxes.
    pub(crate) applied: Position,
    pub(crate) events: PartitionView,
    pub(crate) results: PartitionView,
}
