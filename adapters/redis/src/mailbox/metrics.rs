//! What the mailbox counts. Names in common with the embedded mailbox mean the same.

use std::fmt::{self, Write as _};

use nimbus_core::Partition;
use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder},
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

/// What became of a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Outcome {
    /// New: waits for its client.
    Fresh,
    /// A copy of what was answered already.
    Duplicate,
    /// It belongs to a principal that no longer holds the client id.
    Foreign,
}

impl EncodeLabelValue for Outcome {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        encoder.write_str(match self {
            Self::Fresh => "fresh",
            Self::Duplicate => "duplicate",
            Self::Foreign => "foreign",
        })
    }
}

/// How a claim ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum ClaimOutcome {
    /// The session holds the client.
    Granted,
    /// A delayed Hello.
    Stale,
    /// Not this client's token.
    WrongToken,
    /// It could not be made durable.
    Unavailable,
}

impl EncodeLabelValue for ClaimOutcome {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        encoder.write_str(match self {
            Self::Granted => "granted",
            Self::Stale => "stale",
            Self::WrongToken => "wrong_token",
            Self::Unavailable => "unavailable",
        })
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabel {
    outcome: Outcome,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ClaimLabel {
    outcome: ClaimOutcome,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PartitionLabel {
    partition: u32,
}

/// Counters and gauges of the mailbox. Clones share their values.
#[derive(Debug, Clone, Default)]
pub struct MailboxMetrics {
    pub(super) fresh: Counter,
    pub(super) duplicates: Counter,
    pub(crate) foreign: Counter,
    claims: Family<ClaimLabel, Counter>,
    pub(super) holes: Counter,
    pub(super) below_floor: Counter,
    pub(super) forgotten: Counter,
    pub(crate) unreadable: Counter,
    pub(crate) pressed: Counter,
    pub(crate) loads: Counter,
    pub(crate) untold: Counter,
    cached: Family<PartitionLabel, Gauge>,
}

impl MailboxMetrics {
    /// Makes the counters and puts them into a registry.
    pub fn register(registry: &mut Registry) -> Self {
        let results = Family::<ResultLabel, Counter>::default();
        let result = |outcome| results.get_or_create(&ResultLabel { outcome }).clone();
        let metrics = Self {
            fresh: result(Outcome::Fresh),
            duplicates: result(Outcome::Duplicate),
            foreign: result(Outcome::Foreign),
            ..Self::default()
        };
        for outcome in [ClaimOutcome::Granted, ClaimOutcome::Stale, ClaimOutcome::WrongToken, ClaimOutcome::Unavailable]
        {
            drop(metrics.claims.get_or_create(&ClaimLabel { outcome }));
        }
        registry.register("nimbus_mailbox_results", "Results folded into the mailbox, by outcome", results);
        registry.register("nimbus_mailbox_claims", "Claims of clients, by outcome", metrics.claims.clone());
        registry.register(
            "nimbus_mailbox_holes",
            "Batches refused because one before them was missing",
            metrics.holes.clone(),
        );
        registry.register(
            "nimbus_mailbox_below_floor",
            "Reads from before a floor, to be served from the results log",
            metrics.below_floor.clone(),
        );
        registry.register(
            "nimbus_mailbox_forgotten",
            "Clients forgotten after the retention",
            metrics.forgotten.clone(),
        );
        registry.register(
            "nimbus_mailbox_unreadable",
            "Pieces that a newer build wrote or that are damaged: skipped, or served from the results log",
            metrics.unreadable.clone(),
        );
        registry.register(
            "nimbus_mailbox_pressed",
            "Times that waiting results were left to the log because the store was full",
            metrics.pressed.clone(),
        );
        registry.register(
            "nimbus_mailbox_loads",
            "Clients whose fold had to be read before a batch",
            metrics.loads.clone(),
        );
        registry.register(
            "nimbus_mailbox_lost_sessions",
            "Sessions that the check once a second found to have lost their client to another server",
            metrics.untold.clone(),
        );
        registry.register(
            "nimbus_mailbox_cached_clients",
            "Clients whose fold this router keeps in memory, by partition",
            metrics.cached.clone(),
        );
        metrics
    }

    pub(super) fn cached(&self, partition: Partition, clients: usize) {
        self.cached.get_or_create(&PartitionLabel { partition: partition.0 }).set(clients as i64);
    }

    pub(super) fn claim(&self, outcome: ClaimOutcome) {
        self.claims.get_or_create(&ClaimLabel { outcome }).inc();
    }
}
