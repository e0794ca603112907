//! Questions to the broker, which librdkafka answers to whoever blocks: on blocking threads, so many at a time.

use std::{sync::Arc, time::Duration};

use nimbus_core::ports::log::LogError;
use tokio::sync::Semaphore;

/// How long a question waits for its answer.
pub(crate) const ASK_LIMIT: Duration = Duration::from_secs(5);
/// Questions at a time; more wait. Each holds a blocking thread for one round trip.
pub(crate) const QUESTIONS: usize = 8;

/// Runs `work` on a blocking thread when there is a permit. Dropped: it goes on, and keeps its permit until it is done.
pub(crate) async fn blocking<T: Send + 'static>(
    permits: &Arc<Semaphore>,
    work: impl FnOnce() -> Result<T, LogError> + Send + 'static,
) -> Result<T, LogError> {
    let permit = Arc::clone(permits).acquire_owned().await.map_err(|_| LogError::Closed)?;
    let run = move || {
        let outcome = work();
        drop(permit);
        outcome
    };
    match tokio::task::spawn_blocking(run).await {
        Ok(outcome) => outcome,
        // The runtime is going down, or asking panicked: either way there is no answer.
        Err(error) => Err(LogError::Unavailable(error.to_string())),
    }
}
