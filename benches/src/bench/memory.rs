//! What idle streams cost: resident memory of the server process before and after, and its CPU time while they say nothing.

use std::time::{Duration, Instant};

use nimbus_loadtest::{Protocol, idle::IdleStreams};
use serde::{Deserialize, Serialize};

use super::{kind::Kind, server::Server};

/// Opened and closed before the first look, so that what is allocated once is not counted.
const WARM_UP_STREAMS: usize = 50;
/// Memory counts as settled when it moved by less than this between two looks.
const SETTLED_KIB: f64 = 64.0;
const BETWEEN_LOOKS: Duration = Duration::from_millis(250);
const MOST_LOOKS: usize = 20;

/// What an idle stream costs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct IdleStream {
    pub(super) kind: Kind,
    /// Whether the connections are encrypted.
    pub(super) tls: bool,
    pub(super) protocol: Protocol,
    pub(super) streams: usize,
    pub(super) kib_per_stream: f64,
    /// How much of a core all of them together keep busy, pings included. Nothing: it was not looked at.
    pub(super) cores: Option<f64>,
}

/// Looks at the CPU for so long; at least as long as the server takes from ping to ping says something.
pub(super) async fn per_idle_stream(
    server: &Server,
    protocol: Protocol,
    count: usize,
    looking: Duration,
) -> anyhow::Result<IdleStream> {
    let to = server.destination();
    drop(IdleStreams::open(&to, protocol, WARM_UP_STREAMS, "warm", None).await?);
    let before = settled(server).await?;
    let streams = IdleStreams::open(&to, protocol, count, "idle", None).await?;
    let after = settled(server).await?;
    let cores = if looking.is_zero() {
        None
    } else {
        let (used, began) = (server.cpu_seconds()?, Instant::now());
        tokio::time::sleep(looking).await;
        Some((server.cpu_seconds()? - used) / began.elapsed().as_secs_f64())
    };
    drop(streams);
    #[allow(clippy::cast_precision_loss)]
    let kib_per_stream = (after - before).max(0.0) / count as f64;
    Ok(IdleStream { kind: server.kind, tls: server.speaks_tls(), protocol, streams: count, kib_per_stream, cores })
}

async fn settled(server: &Server) -> anyhow::Result<f64> {
    let mut last = server.resident_kib()?;
    for _ in 0..MOST_LOOKS {
        tokio::time::sleep(BETWEEN_LOOKS).await;
        let now = server.resident_kib()?;
        if (now - last).abs() < SETTLED_KIB {
            return Ok(now);
        }
        last = now;
    }
    Ok(last)
}
