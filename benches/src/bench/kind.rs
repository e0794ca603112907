//! What is measured.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Which server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    /// One fdatasync per batch.
    Baseline,
    /// Raw tonic, and nothing behind it.
    Echo,
    /// NATS JetStream doing the same work, without a sync.
    Nats,
    /// Nimbus on its embedded log.
    Nimbus,
    /// Kafka and Redis, joined without a guarantee.
    Glue,
    /// Nimbus on Kafka and Redis.
    Distributed,
}

/// Nimbus, and what it is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Setting {
    Embedded,
    Distributed,
    /// Embedded Nimbus, and a server that keeps nothing.
    Echo,
    /// Embedded Nimbus, and what one could build instead.
    Nats,
}

impl Setting {
    pub(super) const fn limit(self) -> Kind {
        match self {
            Self::Embedded => Kind::Baseline,
            Self::Distributed => Kind::Glue,
            Self::Echo => Kind::Echo,
            Self::Nats => Kind::Nats,
        }
    }

    pub(super) const fn nimbus(self) -> Kind {
        match self {
            Self::Embedded | Self::Echo | Self::Nats => Kind::Nimbus,
            Self::Distributed => Kind::Distributed,
        }
    }

    /// A drift of the machine must not favour whoever comes second.
    pub(super) fn order(self, round: usize) -> [Kind; 2] {
        if round.is_multiple_of(2) { [self.limit(), self.nimbus()] } else { [self.nimbus(), self.limit()] }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Baseline => "baseline",
            Self::Echo => "raw echo",
            Self::Nats => "NATS JetStream",
            Self::Nimbus => "Nimbus",
            Self::Glue => "glue",
            Self::Distributed => "Nimbus, distributed",
        })
    }
}
