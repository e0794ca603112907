//! Becoming a member.

use nimbus_core::{
    GroupId,
    ports::log::{Consumer, Log, LogError, LogRecord},
};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::GroupConfig;
use crate::{ConsumersError, metrics::GroupMetrics};

/// Joins the group, however long the log cannot be reached; `None` when the shutdown came first.
pub(super) async fn join<R: LogRecord>(
    log: &dyn Log<R>,
    config: &GroupConfig,
    metrics: &GroupMetrics,
    shutdown: &CancellationToken,
) -> Result<Option<Box<dyn Consumer<R>>>, ConsumersError> {
    let group = GroupId::try_new(config.name).expect("group names are constants of this crate within the rules of ids");
    let mut failures = 0;
    loop {
        let joined = tokio::select! {
            biased;
            () = shutdown.cancelled() => return Ok(None),
            joined = log.consume(&group) => joined,
        };
        match joined {
            Ok(consumer) => return Ok(Some(consumer)),
            Err(source @ (LogError::Closed | LogError::Damaged(_))) => {
                return Err(ConsumersError::Log { group: config.name, source });
            }
            Err(error) => {
                failures += 1;
                metrics.read_failures.inc();
                warn!(group = config.name, %error, failures, "cannot join the group yet");
                tokio::select! {
                    biased;
                    () = shutdown.cancelled() => return Ok(None),
                    () = tokio::time::sleep(config.backoff.jittered(failures)) => {}
                }
            }
        }
    }
}
