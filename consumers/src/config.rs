//! What can be set, with its reasons.

use std::{num::NonZeroUsize, sync::Arc, time::Duration};

use crate::Backoff;

const fn at_least_one(number: usize) -> NonZeroUsize {
    NonZeroUsize::new(number).expect("the defaults below are not zero")
}

/// How events are executed. All bounds are per partition and lane unless said otherwise.
#[derive(Debug, Clone)]
pub struct ExecutorConfig {
    /// Who this is, for logs. Default `"executor"`.
    pub instance: Arc<str>,
    /// How many attempts that do not end at once may be under way; further ones wait in line. Waiting between two
    /// attempts does not count. Default [`Self::CONCURRENCY`].
    pub concurrency: NonZeroUsize,
    /// How many events may be taken and not yet durably answered; then the partition is read no further.
    /// Default [`Self::MAX_IN_HAND`].
    pub max_in_hand: NonZeroUsize,
    /// The same in bytes. Default [`Self::MAX_IN_HAND_BYTES`].
    pub max_in_hand_bytes: NonZeroUsize,
    /// The number of events again, for one client in the ordered lane: what it has beyond is left in the log and read again when its turn
    /// comes, so that a client whose events take long holds up nobody else. Default [`Self::MAX_IN_HAND_PER_CLIENT`].
    pub max_in_hand_per_client: NonZeroUsize,
    /// How many attempts an event gets before it becomes a dead letter. Default [`Self::ATTEMPTS`].
    pub attempts: NonZeroUsize,
    /// The wait between two attempts. Default 100 ms doubling up to 10 s ([`Self::RETRY`]).
    pub retry: Backoff,
    /// How long after it was received (and after this runtime started) an event whose name nobody handles waits for
    /// someone who does. Zero: not at all. Default [`Self::UNKNOWN_GRACE`].
    pub unknown_grace: Duration,
    /// Largest result or part: payload, media type and attributes together, in bytes. Default [`Self::MAX_RESULT_BYTES`].
    pub max_result_bytes: usize,
    /// How many parts of one event may be emitted and not yet durable; then the executor waits.
    /// Default [`Self::PARTS_IN_FLIGHT`].
    pub parts_in_flight: NonZeroUsize,
    /// How many answered jobs may lie beyond the oldest open one; then the jobs lane reads no further. At most
    /// [`nimbus_core::mailbox::JOBS_WINDOW`], which is how many the fold remembers. Default [`Self::JOBS_WINDOW`].
    pub jobs_window: NonZeroUsize,
    /// How often finished positions are committed. A crash repeats at most this much work.
    /// Default [`Self::COMMIT_INTERVAL`].
    pub commit_interval: Duration,
    /// How often the lag is measured. Default [`Self::LAG_INTERVAL`].
    pub lag_interval: Duration,
    /// How long a revoked partition, or a shutdown, may take to end the attempts under way, commit and flush. What is
    /// not done by then is abandoned and executed again by the next owner. Default [`Self::DRAIN_LIMIT`].
    pub drain_limit: Duration,
    /// The wait before a partition that had to be given up is read again, and between tries at a log that is full or
    /// cannot be reached. Default [`Self::LOG_BACKOFF`].
    pub log_backoff: Backoff,
}

impl ExecutorConfig {
    /// Enough to keep slow remote calls busy, few enough not to flood what they call.
    pub const CONCURRENCY: NonZeroUsize = at_least_one(256);
    /// Some milliseconds of work at full speed; with usual events a few MiB.
    pub const MAX_IN_HAND: NonZeroUsize = at_least_one(8_192);
    /// A thousand of the usual largest events.
    pub const MAX_IN_HAND_BYTES: NonZeroUsize = at_least_one(64 << 20);
    /// As many as a client may have in flight towards the server by default.
    pub const MAX_IN_HAND_PER_CLIENT: NonZeroUsize = at_least_one(1_024);
    /// With [`Self::RETRY`] 6 s to 13 s from the first to the last.
    pub const ATTEMPTS: NonZeroUsize = at_least_one(8);
    /// Fast enough for a hiccup, slow enough for a restart of whatever failed.
    pub const RETRY: Backoff = Backoff { base: Duration::from_millis(100), max: Duration::from_secs(10) };
    /// A rolling deploy.
    pub const UNKNOWN_GRACE: Duration = Duration::from_secs(30);
    /// The largest payload that may be configured for an event, so that `echo` can always answer.
    pub const MAX_RESULT_BYTES: usize = 1 << 20;
    /// Keeps a busy stream of parts going over one durable append.
    pub const PARTS_IN_FLIGHT: NonZeroUsize = at_least_one(64);
    /// Its notes fit into a commit (4 KiB) also when jobs lie far apart.
    pub const JOBS_WINDOW: NonZeroUsize = at_least_one(1_024);
    /// A commit is an append of its own: seldom enough not to cost throughput.
    pub const COMMIT_INTERVAL: Duration = Duration::from_millis(50);
    /// As often as metrics are usually read.
    pub const LAG_INTERVAL: Duration = Duration::from_secs(5);
    /// Half of the process's default shutdown limit of 20 s.
    pub const DRAIN_LIMIT: Duration = Duration::from_secs(10);
    /// From "at once" to "someone is looking at it".
    pub const LOG_BACKOFF: Backoff = Backoff { base: Duration::from_millis(100), max: Duration::from_secs(10) };
}

impl Default for ExecutorConfig {
    fn default() -> Self {
        Self {
            instance: Arc::from("executor"),
            concurrency: Self::CONCURRENCY,
            max_in_hand: Self::MAX_IN_HAND,
            max_in_hand_bytes: Self::MAX_IN_HAND_BYTES,
            max_in_hand_per_client: Self::MAX_IN_HAND_PER_CLIENT,
            attempts: Self::ATTEMPTS,
            retry: Self::RETRY,
            unknown_grace: Self::UNKNOWN_GRACE,
            max_result_bytes: Self::MAX_RESULT_BYTES,
            parts_in_flight: Self::PARTS_IN_FLIGHT,
            jobs_window: Self::JOBS_WINDOW,
            commit_interval: Self::COMMIT_INTERVAL,
            lag_interval: Self::LAG_INTERVAL,
            drain_limit: Self::DRAIN_LIMIT,
            log_backoff: Self::LOG_BACKOFF,
        }
    }
}

/// How results are brought into the mailbox.
#[derive(Debug, Clone)]
pub struct RouterConfig {
    /// How many records the mailbox is given at once. Default [`Self::MAX_BATCH`].
    pub max_batch: NonZeroUsize,
    /// How often finished positions are committed: a hint for retention and lag, the mailbox is the truth.
    /// Default [`Self::COMMIT_INTERVAL`].
    pub commit_interval: Duration,
    /// How often a partition without traffic asks the mailbox whether it still is where it was: a mailbox that lost its
    /// memory is filled again without waiting for a new result. Default [`Self::CHECK_INTERVAL`].
    pub check_interval: Duration,
    /// How long the batch under way may take at a revoke or a shutdown. Default [`Self::DRAIN_LIMIT`].
    pub drain_limit: Duration,
    /// The wait between tries at a mailbox or a log that cannot be reached. Default [`Self::BACKOFF`].
    pub backoff: Backoff,
}

impl RouterConfig {
    /// Bounds how long one step of the mailbox takes, and so how long others wait for it.
    pub const MAX_BATCH: NonZeroUsize = at_least_one(4_096);
    /// Results are routed again after a crash at no cost but time.
    pub const COMMIT_INTERVAL: Duration = Duration::from_millis(200);
    /// As the delivery rules promise (rule 20).
    pub const CHECK_INTERVAL: Duration = Duration::from_secs(1);
    /// A batch takes milliseconds; the rest is patience with a mailbox that hangs.
    pub const DRAIN_LIMIT: Duration = Duration::from_secs(5);
    /// Short: every client of the partition waits.
    pub const BACKOFF: Backoff = Backoff { base: Duration::from_millis(50), max: Duration::from_secs(2) };
}

impl Default for RouterConfig {
    fn default() -> Self {
        Self {
            max_batch: Self::MAX_BATCH,
            commit_interval: Self::COMMIT_INTERVAL,
            check_interval: Self::CHECK_INTERVAL,
            drain_limit: Self::DRAIN_LIMIT,
            backoff: Self::BACKOFF,
        }
    }
}
