//! One scenario on one ground, from the first process to the last answer: the ground, the open load, and what is found.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::Context as _;
use tokio::time::{Instant, sleep, timeout};

use super::{
    Act, Conditions, On, Scenario,
    ground::Ground,
    report::{Finding, count, times},
};
use crate::{
    Latency, News,
    load::{Load, Shape},
    logs,
    meter::Now,
    recovery::round,
};

/// How long anything may take that is waited for.
pub(super) const PATIENCE: Duration = Duration::from_secs(120);
/// The same when the run is cut short.
const HURRY: Duration = Duration::from_secs(10);
/// How often it is looked who has ended by itself.
const LOOK: Duration = Duration::from_millis(500);

pub(super) struct Stage<'a> {
    pub(super) conditions: &'a Conditions,
    pub(super) ground: Ground,
    /// The clients whose latency is measured.
    pub(super) load: Arc<Load>,
    pub(super) act: Act,
    /// What client ids begin with.
    pub(super) run: String,
    origin: Instant,
    /// How far the whole run is, from 0 to 1.
    done: f64,
    tell: &'a mut dyn FnMut(News<'_>),
}

impl<'a> Stage<'a> {
    /// Starts everything, and the load; returns when its first answers have come and it has settled.
    pub(super) async fn set(
        conditions: &'a Conditions,
        (scenario, on): (Scenario, On),
        clients: usize,
        directory: &Path,
        done: f64,
        tell: &'a mut dyn FnMut(News<'_>),
    ) -> anyhow::Result<Self> {
        tell(News::Doing(&format!("{scenario}, {on}: starting")));
        std::fs::create_dir_all(directory).with_context(|| format!("{} cannot be made", directory.display()))?;
        let ground = Ground::start(on, &conditions.binary, directory, conditions.settings()).await?;
        let began = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let run = format!("{scenario}-{on}-{:x}", began.as_millis());
        let rate = conditions.rate_of(scenario, on);
        let shape = Shape { run: run.clone(), clients, rate, payload_bytes: conditions.payload_bytes };
        let load = Load::start(&format!("http://{}", ground.way().address()), &shape).await?;
        let mut act = Act::new(scenario, on, clients);
        act.findings.push(count("events a second of the open load", rate.round() as u64, None));
        let origin = Instant::now();
        Ok(Self { conditions, ground, load: Arc::new(load), act, run, origin, done, tell })
    }

    /// Waits for the first answers, and until a fresh installation is one at work.
    pub(super) async fn settle(&mut self) -> anyhow::Result<()> {
        let load = Arc::clone(&self.load);
        let enough = self.act.clients as u64;
        let first = timeout(PATIENCE, load.until(|now| now.answered >= enough)).await;
        first.context("nothing was answered in the beginning")??;
        self.wait(self.conditions.settle()).await
    }

    pub(super) fn say(&mut self, what: &str) {
        let text = format!("{}, {}: {what}", self.act.scenario, self.act.on);
        (self.tell)(News::Doing(&text));
    }

    pub(super) fn found(&mut self, finding: Finding) {
        self.act.findings.push(finding);
    }

    /// Lets the load be for a while and measures it. What was due in it and answered late belongs to it.
    pub(super) async fn window(&mut self, time: Duration) -> anyhow::Result<Latency> {
        self.load.mark();
        self.load.lap();
        self.wait(time).await?;
        self.answered().await?;
        self.load.mark().context("nothing was answered in a whole window")
    }

    /// The load before anything is done to it, which everything else is compared with.
    pub(super) async fn steady(&mut self) -> anyhow::Result<Latency> {
        self.say("measuring the steady load");
        let steady = self.window(self.conditions.window).await?;
        self.act.steady = Some(steady);
        self.found(Finding::ms("p99 of the steady load", steady.p99_ms));
        Ok(steady)
    }

    /// Sets what was measured beside the steady load.
    pub(super) fn compare(&mut self, what: &str, steady: Latency, then: Latency, bound: f64) {
        self.found(Finding::ms(&format!("p99 {what}"), then.p99_ms));
        self.found(times(&format!("p99 {what}, compared with steady"), then.p99_ms / steady.p99_ms, bound));
        self.found(Finding::ms(&format!("longest wait of an event {what}"), then.max_ms));
    }

    /// Waits until everything has its answer that was due before now.
    pub(super) async fn answered(&mut self) -> anyhow::Result<()> {
        let (now, load) = (Instant::now(), Arc::clone(&self.load));
        let answered = timeout(PATIENCE, load.answered_until(now)).await;
        answered.with_context(|| format!("events had no answer within {PATIENCE:?}"))?
    }

    /// Lets the load be, and looks after the processes.
    pub(super) async fn wait(&mut self, time: Duration) -> anyhow::Result<()> {
        let end = Instant::now() + time;
        loop {
            self.look().await?;
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            sleep(left.min(LOOK)).await;
        }
    }

    pub(super) async fn look(&mut self) -> anyhow::Result<()> {
        for death in self.ground.look().await? {
            (self.tell)(News::Died(&death));
            self.act.deaths.push(death);
        }
        let Now { answers, latency, outstanding, books, .. } = self.load.now();
        (self.tell)(News::Load { done: self.done, answers, latency, outstanding, books });
        Ok(())
    }

    /// Waits for the last answers, ends everything, and closes the books.
    pub(super) async fn close(self, directory: &Path, is_cut_short: bool) -> anyhow::Result<Act> {
        let Self { ground, load, mut act, origin, .. } = self;
        act.seconds = round(origin.elapsed().as_secs_f64());
        let load = Arc::into_inner(load).context("the load is still looked at")?;
        let outcomes = load.finish(if is_cut_short { HURRY } else { PATIENCE }, is_cut_short).await;
        act.books += outcomes.books;
        act.outstanding += outcomes.outstanding;
        act.violations.extend(outcomes.violations);
        act.timeline = outcomes.timeline;
        act.is_cut_short = is_cut_short;
        drop(ground);
        act.troubles.extend(logs::panics(directory)?);
        Ok(act)
    }
}
