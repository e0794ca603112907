//! Questions to the broker, which librdkafka answers to whoever blocks: on blocking threads, so many at a time.

use std::{
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
    thread::Thread,
    time::{Duration, Instant},
};

use nimbus_core::ports::log::LogError;
use rdkafka::error::KafkaError;
use tokio::sync::Semaphore;

use crate::fault;

/// How long a question waits for its answer.
pub(crate) const ASK_LIMIT: Duration = Duration::from_secs(5);
/// Questions at a time; more wait. Each holds a blocking thread for one round trip.
pub(crate) const QUESTIONS: usize = 8;

/// Until a question that met a passing failure is asked again.
const ASK_AGAIN: Duration = Duration::from_millis(25);

/// Asks until there is an answer, or a failure that lasts, for as long as a question may take. Blocks. `ask` is told how
/// long it may still take.
pub(crate) fn patiently<T>(ask: impl Fn(Duration) -> Result<T, KafkaError>) -> Result<T, LogError> {
    patiently_for(ASK_LIMIT, ask).map_err(|error| fault::unavailable(&error))
}

/// The same, for as long as it is told.
pub(crate) fn patiently_for<T>(
    limit: Duration,
    ask: impl Fn(Duration) -> Result<T, KafkaError>,
) -> Result<T, KafkaError> {
    let deadline = Instant::now() + limit;
    loop {
        let error = match ask(deadline.saturating_duration_since(Instant::now())) {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        let passing = error.rdkafka_error_code().is_some_and(fault::is_passing);
        if !passing || Instant::now() + ASK_AGAIN > deadline {
            return Err(error);
        }
        std::thread::sleep(ASK_AGAIN);
    }
}

/// Waits for a future that needs no runtime, on a thread that may block.
pub(crate) fn wait<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(Thread);

    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}

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
