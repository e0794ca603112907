//! Waiting for what other processes do: look, and look again soon, until a limit.

use std::{
    thread,
    time::{Duration, Instant},
};

/// How long a service may take for anything before it counts as hanging. Generous: the machine may be busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// How soon to look again. Short against the 10 ms that Redis takes to start, long against the cost of a look.
const PAUSE: Duration = Duration::from_millis(5);

/// Looks until there is something, an error, or `limit` has passed (`None`).
///
/// # Errors
/// Those of `look`, at once.
pub(crate) fn until<T, E>(limit: Duration, mut look: impl FnMut() -> Result<Option<T>, E>) -> Result<Option<T>, E> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(found) = look()? {
            return Ok(Some(found));
        }
        if Instant::now() >= deadline {
            return Ok(None);
        }
        // sleep: another process has to get on; the loop looks again
        thread::sleep(PAUSE);
    }
}
