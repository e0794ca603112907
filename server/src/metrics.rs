//! What the edge counts. Labels are closed sets, so that their number is bounded whatever clients do.

use std::sync::atomic::AtomicU64;

use nimbus_core::{
    Reason,
    session::{Dialect, Held},
};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::{Registry, Unit},
};

/// A protocol as a label.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ProtocolLabel {
    /// `v1` or `original`.
    pub(crate) protocol: &'static str,
}

/// A reason as a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ReasonLabel {
    /// As in docs/errors.md, or `OK`; of what holds a stream back, in small letters.
    pub(crate) reason: &'static str,
}

/// The counters of the edge.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    pub(crate) streams_opened: Family<ProtocolLabel, Counter>,
    pub(crate) streams_open: Family<ProtocolLabel, Gauge>,
    pub(crate) openings_waiting: Gauge,
    pub(crate) streams_ended: Family<ReasonLabel, Counter>,
    pub(crate) streams_broken: Counter,
    pub(crate) streams_held: Family<ReasonLabel, Counter>,
    pub(crate) streams_held_seconds: Family<ReasonLabel, Counter<f64, AtomicU64>>,
    pub(crate) sessions_open: Gauge,
    pub(crate) events_received: Counter,
    pub(crate) events_accepted: Counter,
    pub(crate) events_rejected: Family<ReasonLabel, Counter>,
    pub(crate) deliveries: Counter,
    pub(crate) unknown_frames: Counter,
    pub(crate) inbox_overflows: Counter,
    pub(crate) fetches: Counter,
    pub(crate) log_scans: Counter,
    pub(crate) log_scan_records: Counter,
    pub(crate) gaps: Counter,
    pub(crate) repairs: Counter,
    pub(crate) missed_notifications: Counter,
    pub(crate) queue_bytes: Gauge,
    pub(crate) tls_handshakes: Counter,
    pub(crate) tls_handshakes_failed: Counter,
    pub(crate) tls_handshakes_crowded_out: Counter,
    pub(crate) tls_handshakes_under_way: Gauge,
    pub(crate) tls_reloads: Counter,
    pub(crate) tls_reload_failures: Counter,
}

impl Metrics {
    /// Makes the counters and registers them.
    pub fn register(registry: &mut Registry) -> Self {
        let m = Self::default();
        registry.register("nimbus_streams_opened", "Streams opened", m.streams_opened.clone());
        registry.register("nimbus_streams_open", "Streams open now", m.streams_open.clone());
        registry.register(
            "nimbus_openings_waiting",
            "Streams that said hello and wait until those before them have opened",
            m.openings_waiting.clone(),
        );
        registry.register("nimbus_streams_ended", "Streams ended by this server, by reason", m.streams_ended.clone());
        registry.register(
            "nimbus_streams_broken",
            "Streams of a session that ended without a word: the connection broke, or the client dropped it",
            m.streams_broken.clone(),
        );
        registry.register(
            "nimbus_streams_held",
            "Times that a client was held back, because it sent or left unread as much as it may",
            m.streams_held.clone(),
        );
        registry.register_with_unit(
            "nimbus_streams_held",
            "For how long, all streams together",
            Unit::Seconds,
            m.streams_held_seconds.clone(),
        );
        registry.register("nimbus_sessions_open", "Sessions open now", m.sessions_open.clone());
        registry.register("nimbus_events_received", "Events received", m.events_received.clone());
        registry.register("nimbus_events_accepted", "Events made durable and accepted", m.events_accepted.clone());
        registry.register("nimbus_events_rejected", "Transient refusals, by reason", m.events_rejected.clone());
        registry.register("nimbus_deliveries", "Deliveries handed to streams", m.deliveries.clone());
        registry.register(
            "nimbus_unknown_frames",
            "Frames of a kind this version does not know",
            m.unknown_frames.clone(),
        );
        registry.register(
            "nimbus_inbox_overflows",
            "Notifications dropped because a session's inbox was full (it reads its mailbox instead)",
            m.inbox_overflows.clone(),
        );
        registry.register("nimbus_fetches", "Mailbox reads by sessions", m.fetches.clone());
        registry.register("nimbus_log_scans", "Scans of the results log for resuming clients", m.log_scans.clone());
        registry.register("nimbus_log_scan_records", "Records read by such scans", m.log_scan_records.clone());
        registry.register("nimbus_gaps", "Resumes answered with GAP", m.gaps.clone());
        registry.register("nimbus_repairs", "Partitions repaired after missed notifications", m.repairs.clone());
        registry.register(
            "nimbus_missed_notifications",
            "Breaks in the chain of notifications",
            m.missed_notifications.clone(),
        );
        registry.register("nimbus_session_queue_bytes", "Bytes waiting in outgoing queues", m.queue_bytes.clone());
        registry.register("nimbus_tls_handshakes", "TLS handshakes that came about", m.tls_handshakes.clone());
        registry.register(
            "nimbus_tls_handshakes_failed",
            "Connections that ended before, or spoke no TLS, or took too long",
            m.tls_handshakes_failed.clone(),
        );
        registry.register(
            "nimbus_tls_handshakes_crowded_out",
            "Those of them that were the oldest when there were too many",
            m.tls_handshakes_crowded_out.clone(),
        );
        registry.register(
            "nimbus_tls_handshakes_under_way",
            "Connections that have not spoken TLS yet",
            m.tls_handshakes_under_way.clone(),
        );
        registry.register("nimbus_tls_reloads", "Certificates that took another's place", m.tls_reloads.clone());
        registry.register(
            "nimbus_tls_reload_failures",
            "Looks at new files of a certificate that could not be used",
            m.tls_reload_failures.clone(),
        );
        for protocol in [Dialect::V1, Dialect::Original].map(protocol) {
            drop(m.streams_opened.get_or_create(&protocol));
            drop(m.streams_open.get_or_create(&protocol));
        }
        drop(m.streams_ended.get_or_create(&reason(None)));
        for known in Reason::ALL {
            drop(m.streams_ended.get_or_create(&reason(Some(*known))));
        }
        for why in [TURN, SHARE, held(Held::InFlight), held(Held::Queue), held(Held::Window)] {
            drop(m.streams_held.get_or_create(&why));
            if why != TURN {
                drop(m.streams_held_seconds.get_or_create(&why));
            }
        }
        for transient in [Reason::RateLimited, Reason::StorageFull] {
            drop(m.events_rejected.get_or_create(&reason(Some(transient))));
        }
        m
    }
}

/// Counts one on a gauge for as long as it lives.
#[derive(Debug)]
pub(crate) struct Counted(Gauge);

impl Counted {
    pub(crate) fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// The label of a protocol.
pub(crate) fn protocol(dialect: Dialect) -> ProtocolLabel {
    ProtocolLabel {
        protocol: match dialect {
            Dialect::V1 => "v1",
            Dialect::Original => "original",
        },
    }
}

/// What is held back for having sent more than is taken in one turn.
pub(crate) const TURN: ReasonLabel = ReasonLabel { reason: "turn" };

/// What is held back for having sent more than its share.
pub(crate) const SHARE: ReasonLabel = ReasonLabel { reason: "share" };

/// The label of what holds a client back.
pub(crate) const fn held(held: Held) -> ReasonLabel {
    ReasonLabel {
        reason: match held {
            Held::InFlight => "in_flight",
            Held::Queue => "queue",
            Held::Window => "window",
        },
    }
}

/// The label of a reason; `None` is a clean end.
pub(crate) fn reason(reason: Option<Reason>) -> ReasonLabel {
    ReasonLabel { reason: reason.map_or("OK", Reason::as_str) }
}
