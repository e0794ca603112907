//! A lane that no executor of this process is in: its partition is finished as far as the log goes, and not read.
//!
//! Reading it would cost as much as the other lane's reading: every event fetched and decoded once more, to be passed over.

use std::{convert::Infallible, time::Duration};

use nimbus_core::{Position, ports::log::LogError};
use tracing::warn;

use super::{Worker, halted};
use crate::{
    group::WorkerEnd,
    lane::{
        cx::PartitionCx,
        run::{Halt, sleep},
        schedule::Schedule,
    },
};

/// How long the end of the log may lie ahead of what is finished. It keeps retention waiting, and shows as lag.
const INTERVAL: Duration = Duration::from_secs(1);

impl<S: Schedule> Worker<S> {
    /// Whether no event can be this lane's to answer: by today's names, and none of before counts any more. (What nobody
    /// knows is the ordered lane's.) Nothing is in hand then.
    pub(super) fn has_nothing_to_read(&self) -> bool {
        self.lanes.is_settled() && !self.cx.runtime.has_work(self.cx.lane)
    }

    /// Finishes the partition up to the end of the log, again and again, until it is left.
    ///
    /// No batch is taken any more. A successor that knows other names hears of it from the commit's notes, as ever.
    pub(super) async fn pass_over(mut self) -> WorkerEnd {
        self.current = None;
        self.desk.read_no_more();
        let Err(halt) = self.follow_end().await;
        halted(halt)
    }

    async fn follow_end(&mut self) -> Result<Infallible, Halt> {
        loop {
            let end = end_of_log(&self.cx).await?;
            if end > self.schedule.read() {
                self.schedule.read_to(end);
                self.note();
            }
            sleep(&self.cx, INTERVAL).await?;
        }
    }
}

/// Where the log ends now. Asks until it is told, or the partition is left.
pub(super) async fn end_of_log(cx: &PartitionCx) -> Result<Position, Halt> {
    let mut failures = 0;
    loop {
        let range = tokio::select! {
            biased;
            () = cx.stop.cancelled() => return Err(Halt::Stopped),
            range = cx.runtime.ports.events.range(cx.partition) => range,
        };
        match range {
            Ok(range) => return Ok(range.end),
            Err(error @ (LogError::Damaged(_) | LogError::Replaced(_) | LogError::Closed)) => {
                return Err(Halt::Broken(error));
            }
            Err(error) => {
                failures += 1;
                warn!(%error, failures, "the log cannot be asked for its end just now");
                sleep(cx, cx.runtime.config.log_backoff.jittered(failures)).await?;
            }
        }
    }
}
