//! What an idle stream costs: resident memory of the server process before and after.

use std::time::Duration;

use nimbus_loadtest::{Protocol, idle::IdleStreams};
use serde::{Deserialize, Serialize};

use super::{kind::Kind, server::Server};

/// Opened and closed before the first look, so that what is allocated once is not counted.
const WARM_UP_STREAMS: usize = 50;
/// Memory counts as settled when it moved by less than this between two looks.
const SETTLED_KIB: u64 = 64;
const BETWEEN_LOOKS: Duration = Duration::from_millis(250);
const MOST_LOOKS: usize = 20;

/// What an idle stream costs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct IdleStream {
    pub(super) kind: Kind,
    pub(super) protocol: Protocol,
    pub(super) streams: usize,
    pub(super) kib_per_stream: f64,
}

pub(super) async fn per_idle_stream(server: &Server, protocol: Protocol, count: usize) -> anyhow::Result<IdleStream> {
    drop(IdleStreams::open(&server.address(), protocol, WARM_UP_STREAMS, "warm", None).await?);
    let before = settled(server).await?;
    let streams = IdleStreams::open(&server.address(), protocol, count, "idle", None).await?;
    let after = settled(server).await?;
    drop(streams);
    #[allow(clippy::cast_precision_loss)]
    let kib_per_stream = after.saturating_sub(before) as f64 / count as f64;
    Ok(IdleStream { kind: server.kind, protocol, streams: count, kib_per_stream })
}

async fn settled(server: &Server) -> anyhow::Result<u64> {
    let mut last = server.resident_kib()?;
    for _ in 0..MOST_LOOKS {
        tokio::time::sleep(BETWEEN_LOOKS).await;
        let now = server.resident_kib()?;
        if now.abs_diff(last) < SETTLED_KIB {
            return Ok(now);
        }
        last = now;
    }
    Ok(last)
}
