//! What a run found out, and its three forms: JSON for programs, Markdown for people, SVG to look at.

mod markdown;
mod svg;

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use crate::{
    Books, Config, Course, DEFAULT_CLIENTS, DEFAULT_RATE, Death, Kind, Latency, Sample, Step, Violation,
    recovery::{median_and_worst, round},
};

/// Name and version of the JSON form. Fields may be added under it; whatever else changes raises the number.
pub const SCHEMA: &str = "nimbus-chaos/1";

/// The steady load, before the first fault.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Steady {
    /// Of its answers.
    pub latency: Latency,
    /// The worst p99 of a second that counts as recovered.
    pub good_p99_ms: f64,
}

/// One fault and how it went.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fault {
    /// Counts from 1.
    pub number: usize,
    /// What was done.
    pub kind: Kind,
    /// To which process of its role, from 1; nothing if it is not about one.
    pub victim: Option<usize>,
    /// How it went.
    #[serde(flatten)]
    pub course: Course,
    /// From the beginning of the harm until recovery; nothing if there was none.
    pub recovery_s: Option<f64>,
    /// From the end of the harm until recovery.
    pub after_s: Option<f64>,
}

/// All faults of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct KindSummary {
    /// Which.
    pub kind: Kind,
    /// How many there were.
    pub faults: usize,
    /// How many of them did not recover within the limit.
    pub not_recovered: usize,
    /// From the beginning of the harm until recovery, in seconds: median and worst.
    pub recovery_p50_s: Option<f64>,
    /// The worst.
    pub recovery_max_s: Option<f64>,
    /// From the end of the harm until recovery: median.
    pub after_p50_s: Option<f64>,
    /// The worst.
    pub after_max_s: Option<f64>,
    /// The longest that an event waited for its answer.
    pub latency_max_ms: f64,
}

/// What a run found out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: String,
    /// The version of this program.
    pub version: String,
    /// Whether it and, unless told otherwise, `nimbus` were built for release.
    pub release_build: bool,
    /// What decided order, victims and moments.
    pub seed: u64,
    /// When it began, in seconds since 1970.
    pub began_unix_s: u64,
    /// It was cut short; what is below is what it had by then.
    pub interrupted: bool,
    /// How many processors the machine has.
    pub processors: usize,
    /// How many clients.
    pub clients: usize,
    /// Events a second, of all clients together.
    pub rate: f64,
    /// Of each event.
    pub payload_bytes: usize,
    /// Which kinds of faults were in the plan.
    pub planned: Vec<Kind>,
    /// From the first event to the last.
    pub seconds: f64,
    /// The load before the first fault.
    pub steady: Steady,
    /// The books of all clients together.
    pub books: Books,
    /// Events on their way when the run was cut short: not lost.
    pub outstanding: u64,
    /// The first hundred violations of each load.
    pub violations: Vec<Violation>,
    /// Processes that ended although nobody had done anything to them.
    pub deaths: Vec<Death>,
    /// What ended the run early.
    pub troubles: Vec<String>,
    /// Kind by kind.
    pub kinds: Vec<KindSummary>,
    /// Fault by fault.
    pub faults: Vec<Fault>,
    /// Second by second.
    pub timeline: Vec<Sample>,
    /// Where logs and data of all processes are; only while they are kept.
    #[serde(skip)]
    pub logs: PathBuf,
}

impl Fault {
    pub(crate) fn new(step: &Step, course: Course) -> Self {
        Self {
            number: step.number,
            kind: step.kind,
            victim: step.kind.has_victim().then_some(step.victim + 1),
            course,
            recovery_s: course.recovery_s(),
            after_s: course.after_s(),
        }
    }

    /// Its kind and victim, for a person.
    pub(crate) fn title(&self) -> String {
        self.victim.map_or_else(|| self.kind.to_string(), |victim| format!("{} {victim}", self.kind))
    }

    pub(crate) fn by_kind(faults: &[Self]) -> Vec<KindSummary> {
        let summaries = Kind::ALL.into_iter().filter_map(|kind| {
            let faults: Vec<_> = faults.iter().filter(|fault| fault.kind == kind).collect();
            let recovery = median_and_worst(faults.iter().filter_map(|fault| fault.recovery_s).collect());
            let after = median_and_worst(faults.iter().filter_map(|fault| fault.after_s).collect());
            (!faults.is_empty()).then(|| KindSummary {
                kind,
                faults: faults.len(),
                not_recovered: faults.iter().filter(|fault| fault.recovery_s.is_none()).count(),
                recovery_p50_s: recovery.map(|(median, _)| median),
                recovery_max_s: recovery.map(|(_, worst)| worst),
                after_p50_s: after.map(|(median, _)| median),
                after_max_s: after.map(|(_, worst)| worst),
                latency_max_ms: faults
                    .iter()
                    .filter_map(|fault| fault.course.latency)
                    .map(|l| l.max_ms)
                    .fold(0.0, f64::max),
            })
        });
        summaries.collect()
    }
}

impl Report {
    pub(crate) fn empty(config: &Config, began: Duration, logs: PathBuf) -> Self {
        Self {
            schema: SCHEMA.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            release_build: !cfg!(debug_assertions),
            seed: config.seed,
            began_unix_s: began.as_secs(),
            interrupted: true,
            processors: std::thread::available_parallelism().map_or(0, usize::from),
            clients: config.clients,
            rate: config.rate,
            payload_bytes: config.payload_bytes,
            planned: config.kinds.clone(),
            seconds: 0.0,
            steady: Steady::default(),
            books: Books::default(),
            outstanding: 0,
            violations: Vec::new(),
            deaths: Vec::new(),
            troubles: Vec::new(),
            kinds: Vec::new(),
            faults: Vec::new(),
            timeline: Vec::new(),
            logs,
        }
    }

    /// Whether nothing was found that must not be. A recovery that took long is none of that; one that never came within the limit
    /// with events unanswered is.
    pub fn is_clean(&self) -> bool {
        let stuck = self.faults.iter().any(|fault| fault.course.answered_s.is_none());
        self.books.violations() == 0 && self.deaths.is_empty() && self.troubles.is_empty() && !stuck
    }

    /// The command that runs the same plan again.
    pub fn command(&self) -> String {
        let minutes = (round(self.seconds) / 60.0).ceil().max(1.0);
        let mut command = format!("nimbus chaos --minutes {minutes} --seed {}", self.seed);
        if self.clients != DEFAULT_CLIENTS {
            command.push_str(&format!(" --clients {}", self.clients));
        }
        if self.rate != DEFAULT_RATE {
            command.push_str(&format!(" --rate {}", self.rate));
        }
        if self.planned.len() < Kind::ALL.len() {
            let names: Vec<_> = self.planned.iter().map(|kind| kind.name()).collect();
            command.push_str(&format!(" --only {}", names.join(",")));
        }
        command
    }

    /// The report as Markdown; the picture lies beside it.
    pub fn markdown(&self) -> String {
        markdown::markdown(self)
    }

    /// The timeline as SVG.
    pub fn svg(&self) -> String {
        svg::svg(self)
    }

    /// Writes `report.md`, `report.json` and `timeline.svg` into a directory, over earlier ones.
    ///
    /// # Errors
    /// One of them could not be written.
    pub fn write(&self, directory: &Path) -> anyhow::Result<()> {
        fs::create_dir_all(directory).with_context(|| format!("{} cannot be made", directory.display()))?;
        let json = serde_json::to_string_pretty(self)?;
        for (name, text) in [("report.md", self.markdown()), ("report.json", json), ("timeline.svg", self.svg())] {
            let path = directory.join(name);
            fs::write(&path, text).with_context(|| format!("{} could not be written", path.display()))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
