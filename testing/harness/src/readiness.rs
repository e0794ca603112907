//! Waits until a process should get work, as an orchestrator does: by asking its admin endpoint.

use std::net::SocketAddr;

use anyhow::bail;
use tokio::time::{Instant, sleep};

use crate::{
    PATIENCE, TestNimbus,
    metrics::{LOOK_AGAIN, get},
};

/// Waits until `/ready` says yes.
///
/// # Errors
/// The endpoint cannot be reached, or it still says no after [`PATIENCE`].
pub async fn until_ready(admin: SocketAddr) -> anyhow::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (status, body) = get(admin, "/ready").await?;
        if status == 200 {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!("after {PATIENCE:?} still {body}");
        }
        sleep(LOOK_AGAIN).await;
    }
}

impl TestNimbus {
    /// Waits until it should get work: it has started before, which is all that [`Builder::start`](crate::Builder::start) waits for.
    ///
    /// # Errors
    /// As [`until_ready`].
    pub async fn until_ready(&self) -> anyhow::Result<()> {
        until_ready(self.admin()).await
    }
}
