//! What a process on Kafka and Redis looks after while it runs: that the log is still the one that it opened, that nothing
//! is accepted that retention would delete unseen, and that Redis does not grow without bound.

use std::{sync::Arc, time::Duration};

use nimbus_core::{LogEpoch, clock::Clock, mailbox::LogStarts};
use nimbus_kafka::{Kafka, KafkaAdmin, Kept};
use nimbus_redis::RedisMailbox;
use tokio::time::{Interval, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use super::overdue;
use crate::compose::Role;

/// How often it is asked whether the log is still the same.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// How often a server looks for events that wait too long. A fifth of the retention is left to react: this is soon enough for
/// every retention of more than a minute or so.
const OVERDUE_INTERVAL: Duration = Duration::from_secs(5);
/// How often a router forgets what nobody can need any more.
const SWEEP_INTERVAL: Duration = Duration::from_secs(60);
/// The groups that execute events: one for each lane.
const EXECUTING: usize = 2;

pub(super) struct Watch {
    pub(super) admin: KafkaAdmin,
    pub(super) epoch: LogEpoch,
    pub(super) role: Role,
    pub(super) kafka: Kafka,
    pub(super) mailbox: RedisMailbox,
    pub(super) clock: Arc<dyn Clock>,
}

impl Watch {
    /// Until `stop`, or until the log is another one: then this process has to be started again.
    pub(super) async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        // The whole of it: a question to services that are away takes seconds, and an end does not wait for them.
        tokio::select! {
            biased;
            () = stop.cancelled() => Ok(()),
            ended = self.watch() => ended,
        }
    }

    async fn watch(&self) -> anyhow::Result<()> {
        let (mut look, mut late, mut sweep) = (every(LOOK_INTERVAL), every(OVERDUE_INTERVAL), every(SWEEP_INTERVAL));
        let mut gate = Gate::default();
        loop {
            tokio::select! {
                _ = look.tick() => self.look().await?,
                _ = late.tick(), if self.role.serves() => self.mind_retention(&mut gate).await,
                _ = sweep.tick(), if self.role.routes() => self.sweep().await,
            }
        }
    }

    async fn look(&self) -> anyhow::Result<()> {
        match self.admin.kept().await.map(Kept::epoch) {
            Ok(Some(epoch)) if epoch == self.epoch => {}
            Ok(Some(other)) => anyhow::bail!("the log's epoch is {other} now and was {}; start again", self.epoch),
            Ok(None) => anyhow::bail!("a topic was deleted or made anew; start again"),
            Err(error) => debug!(%error, "it cannot be asked whether the topics are the same"),
        }
        match self.mailbox.epoch_is_current().await {
            Ok(true) => Ok(()),
            Ok(false) => {
                anyhow::bail!("redis belongs to another epoch of the log than {} now; start again", self.epoch)
            }
            Err(error) => {
                debug!(%error, "redis cannot be asked for the log's epoch");
                Ok(())
            }
        }
    }

    /// Stops taking events while some wait that may be deleted before anybody executes them.
    async fn mind_retention(&self, gate: &mut Gate) {
        let waits = overdue::waits(&*self.kafka.events(), EXECUTING, self.clock.now()).await;
        let refusal = overdue::refusal(waits.longest, self.kafka.events_retention());
        match &waits.unknown {
            Some(error) if !gate.in_the_dark => warn!(%error, "it cannot be told how long some events wait"),
            _ => {}
        }
        gate.in_the_dark = waits.unknown.is_some();
        match &refusal {
            Some(why) if !gate.refusing => error!(why, "no more events are accepted"),
            // What could not be asked may be what it is closed for.
            None if gate.in_the_dark => return,
            None if gate.refusing => info!("events are accepted again"),
            _ => {}
        }
        gate.refusing = refusal.is_some();
        self.kafka.refuse_events(refusal);
    }

    async fn sweep(&self) {
        let (events, results) = (self.kafka.events(), self.kafka.results());
        let mut starts = Vec::new();
        for partition in results.partitions().all() {
            match (events.range(partition).await, results.range(partition).await) {
                (Ok(events), Ok(results)) => starts.push(LogStarts { events: events.start, results: results.start }),
                (Err(error), _) | (_, Err(error)) => {
                    return warn!(%error, "nothing is forgotten: the log does not answer");
                }
            }
        }
        if let Err(error) = self.mailbox.sweep(|partition| starts[partition.0 as usize]).await {
            warn!(%error, "nothing is forgotten: redis does not answer");
        }
    }
}

/// What was last said about events that wait.
#[derive(Debug, Default)]
struct Gate {
    refusing: bool,
    in_the_dark: bool,
}

fn every(period: Duration) -> Interval {
    let mut interval = tokio::time::interval(period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}
