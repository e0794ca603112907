//! One run, from the first process to the report: steady load, fault after fault, the books.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::Context as _;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::{
    Books, Config, Kind, Limit, Plan, Report, Step, disk,
    load::{Load, Outcomes, Shape},
    logs,
    meter::{Latency, Now, Violation},
    recovery,
    report::{Fault, Steady},
    site::{Death, Site},
    strike::strike,
};

/// How long the last answers may take.
const PATIENCE: Duration = Duration::from_secs(120);
/// The same when the run is cut short.
const HURRY: Duration = Duration::from_secs(10);
/// How often it is looked who has ended by itself while the load recovers.
const LOOK: Duration = Duration::from_millis(500);

/// Short, so that a silent side is noticed within a fault and not after it.
const PING: &str = "2s";
/// What is told so.
const SILENCE: [&str; 2] = ["NIMBUS_SESSION_PING_INTERVAL", "NIMBUS_SESSION_PONG_TIMEOUT"];

/// What a run tells while it runs.
#[derive(Debug)]
pub enum News<'a> {
    /// It does this now.
    Doing(&'a str),
    /// How the load is.
    Load {
        /// How far the run is, from 0 to 1.
        done: f64,
        /// Answers in the last second.
        answers: u64,
        /// Of those answers.
        latency: Option<Latency>,
        /// Events without an answer.
        outstanding: u64,
        /// What is wrong so far.
        books: Books,
    },
    /// A fault begins.
    Strikes(&'a Step),
    /// A fault is over.
    Over(&'a Fault),
    /// A process ended although nobody had done anything to it.
    Died(&'a Death),
}

/// Runs to the end of its time, or until `interrupted`; then with what there is by then. The report is returned and nothing of it is
/// written; logs and data of all processes are in the directory that it names.
///
/// # Errors
/// The installation could not be started, or nothing was answered in the beginning: nothing was found out.
pub async fn run(
    config: &Config,
    interrupted: &CancellationToken,
    mut tell: impl FnMut(News<'_>),
) -> anyhow::Result<Report> {
    let began = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let directory = work_directory(&config.out, config.seed, began)?;
    let name = format!("chaos-{:x}", began.as_millis());
    tell(News::Doing("starting Kafka, Redis and two of each role"));
    let settings = SILENCE.map(|name| (name, PING.to_owned()));
    let starting = Site::start(&config.binary, &directory, &settings);
    let site = tokio::select! {
        site = starting => site.with_context(|| format!("logs are in {}", directory.display()))?,
        () = interrupted.cancelled() => return Ok(Report::empty(config, began, directory)),
    };
    let shape = Shape { run: name, clients: config.clients, rate: config.rate, payload_bytes: config.payload_bytes };
    let load = Load::start(&format!("http://{}", site.clients.address()), &shape).await?;
    let mut course = Running {
        config,
        site,
        load: Arc::new(load),
        directory: directory.clone(),
        origin: Instant::now(),
        steady: Latency::default(),
        faults: Vec::new(),
        deaths: Vec::new(),
        books: Books::default(),
        violations: Vec::new(),
        troubles: Vec::new(),
    };
    let cut_short = tokio::select! {
        done = course.go(&mut tell) => {
            if let Err(error) = done {
                course.troubles.push(format!("{error:#}"));
            }
            false
        }
        () = interrupted.cancelled() => true,
    };
    course.close(cut_short, began, &mut tell).await
}

struct Running<'a> {
    config: &'a Config,
    site: Site,
    load: Arc<Load>,
    directory: PathBuf,
    origin: Instant,
    steady: Latency,
    faults: Vec<Fault>,
    deaths: Vec<Death>,
    /// Of loads beside the main one.
    books: Books,
    violations: Vec<Violation>,
    /// What ended the run early.
    troubles: Vec<String>,
}

impl Running<'_> {
    async fn go(&mut self, tell: &mut impl FnMut(News<'_>)) -> anyhow::Result<()> {
        tell(News::Doing("waiting for the first answers"));
        let enough = self.config.clients as u64;
        let first = timeout(PATIENCE, self.load.until(|now| now.answered >= enough)).await;
        first.context("nothing was answered in the beginning")??;
        // A fresh installation is not measured yet: connections open, groups form, Java warms up.
        self.wait(self.config.steady, tell).await?;
        self.load.mark();
        tell(News::Doing("measuring the steady load"));
        self.wait(self.config.steady, tell).await?;
        self.steady = self.load.mark().context("nothing is answered any more, and nothing was done yet")?;
        let plan = Plan::new(self.config.seed, &self.config.kinds);
        for step in plan {
            if !self.is_time_for(&step) {
                break;
            }
            self.wait(step.quiet, tell).await?;
            let fault = match step.kind {
                Kind::DiskFull => self.disk(&step, tell).await?,
                _ => self.fault(&step, tell).await?,
            };
            tell(News::Over(&fault));
            self.faults.push(fault);
        }
        // What comes late comes in here.
        self.wait(self.config.steady, tell).await
    }

    /// Whether a fault would be over before the end of the time; at least one is begun.
    fn is_time_for(&self, step: &Step) -> bool {
        match self.config.limit {
            Limit::Time(time) => self.faults.is_empty() || self.origin.elapsed() + step.quiet + step.hold < time,
            Limit::Faults(faults) => self.faults.len() < faults,
        }
    }

    fn tell_load(&self, tell: &mut impl FnMut(News<'_>)) {
        let done = match self.config.limit {
            Limit::Time(time) => self.origin.elapsed().as_secs_f64() / time.as_secs_f64().max(1.0),
            Limit::Faults(faults) => self.faults.len() as f64 / faults.max(1) as f64,
        };
        let Now { answers, latency, outstanding, books, .. } = self.load.now();
        tell(News::Load { done: done.clamp(0.0, 1.0), answers, latency, outstanding, books });
    }

    async fn look(&mut self, tell: &mut impl FnMut(News<'_>)) -> anyhow::Result<()> {
        for death in self.site.look().await? {
            tell(News::Died(&death));
            self.deaths.push(death);
        }
        Ok(())
    }

    async fn fault(&mut self, step: &Step, tell: &mut impl FnMut(News<'_>)) -> anyhow::Result<Fault> {
        self.load.mark();
        let (began, outstanding) = (Instant::now(), self.load.now().outstanding);
        tell(News::Strikes(step));
        strike(&mut self.site, step).await.with_context(|| format!("fault {} ({})", step.number, step.kind))?;
        let ended = Instant::now();
        let good = recovery::good_ms(self.steady);
        let load = Arc::clone(&self.load);
        let recovering = recovery::recover(&load, began, ended, outstanding, good);
        tokio::pin!(recovering);
        let course = loop {
            tokio::select! {
                course = &mut recovering => break course?,
                () = sleep(LOOK) => {
                    self.look(tell).await?;
                    self.tell_load(tell);
                }
            }
        };
        Ok(Fault::new(step, course))
    }

    async fn disk(&mut self, step: &Step, tell: &mut impl FnMut(News<'_>)) -> anyhow::Result<Fault> {
        tell(News::Strikes(step));
        let origin = self.load.since_origin(Instant::now());
        let found = disk::strike(&self.config.binary, &self.directory, step);
        let found = found.await.with_context(|| format!("fault {} ({})", step.number, step.kind))?;
        let Outcomes { books, violations, .. } = found.outcomes;
        self.books += books;
        self.violations.extend(violations.into_iter().map(|found| Violation { at_s: found.at_s + origin, ..found }));
        Ok(Fault::new(step, found.course.later(origin)))
    }

    /// Lets the load be, and looks after the processes.
    async fn wait(&mut self, time: Duration, tell: &mut impl FnMut(News<'_>)) -> anyhow::Result<()> {
        let end = Instant::now() + time;
        loop {
            self.look(tell).await?;
            self.tell_load(tell);
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            sleep(left.min(LOOK)).await;
        }
    }

    async fn close(self, cut_short: bool, began: Duration, tell: &mut impl FnMut(News<'_>)) -> anyhow::Result<Report> {
        tell(News::Doing("waiting for the last answers"));
        let Self {
            config,
            site,
            load,
            directory,
            origin,
            steady,
            faults,
            deaths,
            mut books,
            mut violations,
            mut troubles,
        } = self;
        let took = origin.elapsed();
        let load = Arc::into_inner(load).context("the load is still looked at")?;
        let outcomes = load.finish(if cut_short { HURRY } else { PATIENCE }, cut_short).await;
        books += outcomes.books;
        violations.extend(outcomes.violations);
        drop(site);
        troubles.extend(logs::panics(&directory)?);
        let steady = Steady { latency: steady, good_p99_ms: recovery::good_ms(steady) };
        Ok(Report {
            interrupted: cut_short,
            seconds: recovery::round(took.as_secs_f64()),
            steady,
            books,
            outstanding: outcomes.outstanding,
            violations,
            deaths,
            troubles,
            kinds: Fault::by_kind(&faults),
            faults,
            timeline: outcomes.timeline,
            ..Report::empty(config, began, directory)
        })
    }
}

/// Where logs and data of this run go.
fn work_directory(out: &Path, seed: u64, began: Duration) -> anyhow::Result<PathBuf> {
    let path = out.join(format!("run-{}-seed-{seed}", began.as_secs()));
    std::fs::create_dir_all(&path).with_context(|| format!("{} cannot be made", path.display()))?;
    path.canonicalize().with_context(|| format!("{} is not there", path.display()))
}
