//! The thread of a member: serves its two clients, and does what the desk says.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use nimbus_core::{GroupId, Partition, ports::log::LogError};
use tracing::{info, warn};

use super::{
    bell::{Bell, Rings},
    commits::Ended,
    desk::Desk,
    fetcher::Fetcher,
    membership::{Membership, Told},
    seat::Task,
};
use crate::{metrics::Rebalance, shared::Shared, topic::TopicRecord};

/// How long the thread sleeps when nothing rings. Everything that matters rings, but for time itself.
const TURN: Duration = Duration::from_millis(100);
/// How long a member that leaves waits for its last commits.
const LAST_COMMITS: Duration = Duration::from_secs(2);
/// Until the coordinator is asked again for what was committed.
const ASK_AGAIN: Duration = Duration::from_millis(250);

/// How long a member works on before it gives partitions up to another one that has come. The other one takes them over when it joins a
/// second time, and librdkafka joins once a second at most: given up at once they would lie idle for the rest of that second.
const GRACE: Duration = Duration::from_millis(1_000);

/// Partitions that another member is to have.
struct Postponed {
    partitions: Vec<Partition>,
    until: Instant,
}

/// Partitions that are to be released.
struct Leaving {
    partitions: Vec<Partition>,
    deadline: Instant,
}

pub(super) struct Worker<R: TopicRecord> {
    shared: Arc<Shared>,
    group: String,
    desk: Arc<Desk<R>>,
    rings: Rings,
    fetcher: Fetcher,
    membership: Membership,
    /// The group has told what this member gets, perhaps nothing; the desk does not know yet.
    taken_in: bool,
    /// Assigned, but their commits are not known yet, or they are not released by their former life.
    arriving: Vec<Partition>,
    ask_not_before: Option<Instant>,
    postponed: Option<Postponed>,
    leaving: Option<Leaving>,
    tasks: Vec<Task>,
}

impl<R: TopicRecord> Worker<R> {
    pub(super) fn join(
        shared: Arc<Shared>,
        group: &GroupId,
        desk: Arc<Desk<R>>,
        bell: Bell,
        rings: Rings,
    ) -> Result<Self, LogError> {
        let (config, metrics, topic) = (&shared.config, &shared.metrics, shared.name(R::TOPIC));
        let group = config.group_of(R::TOPIC, group);
        let membership = Membership::join(&config.member(&group), Arc::clone(&topic), &bell, metrics)?;
        let fetcher = Fetcher::open(&config.fetching(), topic, bell, metrics)?;
        Ok(Self {
            shared,
            group,
            desk,
            rings,
            fetcher,
            membership,
            taken_in: false,
            arriving: Vec::new(),
            ask_not_before: None,
            postponed: None,
            leaving: None,
            tasks: Vec::new(),
        })
    }

    pub(super) fn run(mut self) {
        let (session, release_limit) = (self.shared.config.session_timeout, self.shared.config.release_limit);
        info!(group = self.group, ?session, ?release_limit, "joining a group");
        self.fetcher.look_up();
        let (mut look, mut stirred) = (true, Instant::now());
        while !self.desk.has_left() && !self.shared.is_closed() {
            self.serve_group();
            self.begin_to_depart();
            self.arrive();
            if self.arriving.is_empty() && std::mem::take(&mut self.taken_in) {
                self.desk.take_in();
            }
            self.send_commits();
            self.depart();
            if let Some(astray) = self.fetcher.poll() {
                self.desk.read_again(astray);
            }
            self.read(look);
            self.rings.wait(TURN);
            // Also where it rings all the time: a callback that did not come costs a moment, and not the partition.
            look = stirred.elapsed() >= TURN;
            if look {
                self.membership.stir();
                stirred = Instant::now();
            }
        }
        self.end();
    }

    fn serve_group(&mut self) {
        if let Some(trouble) = self.membership.poll() {
            self.desk.tell(trouble);
        }
        while let Some(told) = self.membership.told() {
            match told {
                Told::Assigned(partitions) => {
                    self.shared.metrics.rebalanced(Rebalance::assigned, partitions.len());
                    self.membership.answer(true);
                    self.arriving.extend(partitions);
                    self.taken_in = true;
                    self.ask_not_before = None;
                }
                Told::Revoked { partitions, lost: true } => self.lose(partitions),
                Told::Revoked { partitions, lost: false } => {
                    self.postponed = Some(Postponed { partitions, until: Instant::now() + GRACE });
                }
                Told::Committed(outcome) => self.committed(outcome),
            }
        }
    }

    /// They are this member's until it has answered; so there is no hurry.
    fn begin_to_depart(&mut self) {
        let Some(Postponed { partitions, .. }) = self.postponed.take_if(|it| Instant::now() >= it.until) else {
            return;
        };
        self.shared.metrics.rebalanced(Rebalance::revoked, partitions.len());
        self.take_away(&partitions, false);
        let deadline = Instant::now() + self.shared.config.release_limit;
        self.leaving = Some(Leaving { partitions, deadline });
    }

    fn lose(&mut self, partitions: Vec<Partition>) {
        self.shared.metrics.rebalanced(Rebalance::lost, partitions.len());
        self.take_away(&partitions, true);
        // What was to be given up is among them, and waits for an answer of its own.
        if self.postponed.take().is_some() {
            self.membership.answer(false);
        }
        warn!(group = self.group, count = partitions.len(), "partitions were lost, others may own them already");
        self.membership.answer(false);
    }

    fn take_away(&mut self, partitions: &[Partition], lost: bool) {
        self.arriving.retain(|partition| !partitions.contains(partition));
        for partition in partitions {
            self.fetcher.stop(*partition);
            self.desk.revoke(*partition, lost);
        }
    }

    /// Hands over partitions that were assigned, with what was committed of them.
    fn arrive(&mut self) {
        let early = self.ask_not_before.is_some_and(|instant| Instant::now() < instant);
        let free: Vec<_> = self.arriving.iter().copied().filter(|partition| self.desk.is_free(*partition)).collect();
        if early || free.is_empty() {
            return;
        }
        match self.membership.committed(&free) {
            Ok(found) => {
                self.ask_not_before = None;
                for (partition, committed) in found {
                    self.arriving.retain(|arriving| *arriving != partition);
                    self.desk.assign(partition, committed);
                }
            }
            Err(error) => {
                self.ask_not_before = Some(Instant::now() + ASK_AGAIN);
                self.desk.tell(error);
            }
        }
    }

    /// Answers a revocation when everything was released and committed, or when there is no more time.
    fn depart(&mut self) {
        let Some(leaving) = &self.leaving else { return };
        if !leaving.partitions.iter().all(|partition| self.desk.has_settled(*partition)) {
            if Instant::now() < leaving.deadline {
                return;
            }
            let forced = leaving.partitions.iter().filter(|partition| self.desk.force(**partition)).count();
            self.shared.metrics.rebalanced(Rebalance::forced, forced);
            warn!(group = self.group, forced, "partitions were not released in time, others take them over");
        }
        self.leaving = None;
        self.membership.answer(false);
    }

    fn send_commits(&self) {
        let failed = self.desk.with_commits(|commits, now| {
            let sent = self.membership.commit(commits.send(now)?);
            // It did not even go out: that is how it ended.
            sent.err().map(|code| (code, commits.ended(Err(code), now)))
        });
        if let Some((code, ended)) = failed {
            self.count_commit(ended, Err(code));
        }
    }

    fn committed(&self, outcome: Result<(), rdkafka::types::RDKafkaErrorCode>) {
        let ended = self.desk.with_commits(|commits, now| commits.ended(outcome, now));
        self.count_commit(ended, outcome);
    }

    fn count_commit(&self, ended: Ended, outcome: Result<(), rdkafka::types::RDKafkaErrorCode>) {
        match (ended, outcome) {
            (Ended::Stored, _) => drop(self.shared.metrics.commits.inc()),
            (Ended::Again | Ended::Lost, Ok(())) => {}
            (Ended::Again, Err(code)) => {
                self.shared.metrics.commit_failures.inc();
                tracing::debug!(group = self.group, %code, "a commit failed, trying again");
            }
            (Ended::Lost, Err(code)) => {
                self.shared.metrics.commit_failures.inc();
                warn!(group = self.group, %code, "a commit is lost, work is repeated");
            }
        }
    }

    fn read(&mut self, look: bool) {
        let mut tasks = std::mem::take(&mut self.tasks);
        self.desk.tasks(&mut tasks);
        for task in &tasks {
            if task.restart {
                match self.fetcher.start(task.partition, task.from) {
                    Ok(()) => self.desk.restarted(*task),
                    Err(error) => {
                        self.desk.put(*task, Err(error));
                        continue;
                    }
                }
            }
            if let Some(found) = self.fetcher.gather::<R>(task.partition, task.from, look) {
                self.desk.put(*task, found);
            }
        }
        self.tasks = tasks;
    }

    /// Lets the last commits out, and leaves the group.
    fn end(self) {
        let deadline = Instant::now() + LAST_COMMITS;
        while Instant::now() < deadline && self.desk.with_commits(|commits, _| !commits.is_idle()) {
            self.send_commits();
            // Nobody is there any more to hear of it.
            let _trouble = self.membership.poll();
            let mut unanswered = Vec::new();
            while let Some(told) = self.membership.told() {
                match told {
                    Told::Committed(outcome) => self.committed(outcome),
                    Told::Assigned(_) => unanswered.push(true),
                    Told::Revoked { .. } => unanswered.push(false),
                }
            }
            unanswered.into_iter().for_each(|assigned| self.membership.answer(assigned));
            self.rings.wait(Duration::from_millis(10));
        }
        self.desk.wake();
        info!(group = self.group, "leaving a group");
        let Self { fetcher, membership, postponed, leaving, .. } = self;
        membership.leave(postponed.is_some() || leaving.is_some());
        drop(fetcher);
    }
}
