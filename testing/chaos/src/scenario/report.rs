//! What scenarios found out, and its two forms: JSON for programs, Markdown for people.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use super::{Conditions, Misfit, On, Scenario, markdown};
use crate::{Books, Death, Latency, Memory, Sample, Violation, recovery::round};

/// Name and version of the JSON form. Fields may be added under it; whatever else changes raises the number.
pub const SCENARIOS_SCHEMA: &str = "nimbus-scenarios/2";

/// One figure, and the bound that it should keep.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// What was measured.
    pub what: String,
    /// The figure; nothing if it could not be had.
    pub measured: Option<f64>,
    /// Of the figure and of the bound: `ms`, `s`, `times`, `MiB`, or `` for a number of things.
    pub unit: String,
    /// What it should not exceed; nothing for a figure that only explains another.
    pub bound: Option<f64>,
    /// Whether it does not.
    pub met: Option<bool>,
}

/// One process of a rolling restart.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Turn {
    /// Which.
    pub process: String,
    /// From SIGTERM until it had ended.
    pub stop_s: f64,
    /// From its start until it was ready.
    pub start_s: f64,
    /// Of what was answered from SIGTERM until everything due by its return was.
    pub latency: Option<Latency>,
}

/// What shows that a client behaves badly.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Counted {
    /// How it behaves.
    pub misfit: Misfit,
    /// How often it did what it does.
    pub did: u64,
    /// Which metric.
    pub metric: String,
    /// How much it rose in the window without it, on all processes together.
    pub without: f64,
    /// The same with it.
    pub with: f64,
}

/// One scenario on one ground.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Act {
    /// What was staged.
    pub scenario: Scenario,
    /// On what.
    pub on: On,
    /// It was cut short; what is below is what it had by then.
    pub is_cut_short: bool,
    /// From the first event to the last.
    pub seconds: f64,
    /// Clients under the open load.
    pub clients: usize,
    /// The load before anything was done to it.
    pub steady: Option<Latency>,
    /// The figures.
    pub findings: Vec<Finding>,
    /// Of a rolling restart: process by process.
    pub turns: Vec<Turn>,
    /// Of isolation: what each process held in memory.
    pub memory: Vec<Memory>,
    /// Of isolation: what shows each client that behaves badly.
    pub counted: Vec<Counted>,
    /// The books of all clients that behave.
    pub books: Books,
    /// Events on their way when it was cut short: not lost.
    pub outstanding: u64,
    /// The first hundred violations of each load.
    pub violations: Vec<Violation>,
    /// Processes that ended although nobody had done anything to them.
    pub deaths: Vec<Death>,
    /// What ended it early, and panics.
    pub troubles: Vec<String>,
    /// Second by second, of the open load.
    pub timeline: Vec<Sample>,
}

/// What scenarios found out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Scenarios {
    /// [`SCENARIOS_SCHEMA`].
    pub schema: String,
    /// The version of this program.
    pub version: String,
    /// Whether it and, unless told otherwise, `nimbus` were built for release.
    pub release_build: bool,
    /// When it began, in seconds since 1970.
    pub began_unix_s: u64,
    /// It was cut short.
    pub interrupted: bool,
    /// How many processors the machine has.
    pub processors: usize,
    /// Its memory.
    pub memory_mib: u64,
    /// How long each window was.
    pub window_s: f64,
    /// Of each of their events.
    pub payload_bytes: usize,
    /// Clients of the storm.
    pub crowd: usize,
    /// Events of each of them without an answer when they were cut.
    pub backlog: u64,
    /// One by one.
    pub acts: Vec<Act>,
    /// Where logs and data of all processes are; only while they are kept.
    #[serde(skip)]
    pub logs: PathBuf,
}

impl Finding {
    fn new(what: &str, measured: f64, unit: &str, bound: Option<f64>) -> Self {
        let met = bound.map(|bound| measured <= bound);
        Self { what: what.to_owned(), measured: Some(round(measured)), unit: unit.to_owned(), bound, met }
    }

    /// A latency that explains another figure.
    pub(super) fn ms(what: &str, measured: f64) -> Self {
        Self::new(what, measured, "ms", None)
    }

    pub(super) fn seconds(what: &str, measured: f64, bound: Option<f64>) -> Self {
        Self::new(what, measured, "s", bound)
    }
}

impl Finding {
    pub(super) fn mib(what: &str, measured: f64, bound: f64) -> Self {
        Self::new(what, measured, "MiB", Some(bound))
    }
}

/// How much of one is another.
pub(super) fn times(what: &str, measured: f64, bound: f64) -> Finding {
    Finding::new(what, measured, "times", Some(bound))
}

/// How many of something there were.
pub(super) fn count(what: &str, measured: u64, bound: Option<u64>) -> Finding {
    Finding::new(what, measured as f64, "", bound.map(|bound| bound as f64))
}

impl Act {
    pub(super) fn new(scenario: Scenario, on: On, clients: usize) -> Self {
        Self {
            scenario,
            on,
            is_cut_short: false,
            seconds: 0.0,
            clients,
            steady: None,
            findings: Vec::new(),
            turns: Vec::new(),
            memory: Vec::new(),
            counted: Vec::new(),
            books: Books::default(),
            outstanding: 0,
            violations: Vec::new(),
            deaths: Vec::new(),
            troubles: Vec::new(),
            timeline: Vec::new(),
        }
    }

    /// Whether nothing was found that must not be. A figure beyond its bound is none of that.
    pub fn is_clean(&self) -> bool {
        self.books.violations() == 0 && self.deaths.is_empty() && self.troubles.is_empty()
    }
}

impl Scenarios {
    pub(super) fn new(conditions: &Conditions, began: Duration, logs: PathBuf) -> Self {
        Self {
            schema: SCENARIOS_SCHEMA.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            release_build: !cfg!(debug_assertions),
            began_unix_s: began.as_secs(),
            interrupted: false,
            processors: std::thread::available_parallelism().map_or(0, usize::from),
            memory_mib: memory_mib().unwrap_or_default(),
            window_s: round(conditions.window.as_secs_f64()),
            payload_bytes: conditions.payload_bytes,
            crowd: conditions.crowd,
            backlog: conditions.backlog,
            acts: Vec::new(),
            logs,
        }
    }

    /// Whether nothing was found that must not be. A figure beyond its bound is none of that.
    pub fn is_clean(&self) -> bool {
        self.acts.iter().all(Act::is_clean)
    }

    /// The report as Markdown.
    pub fn markdown(&self) -> String {
        markdown::markdown(self)
    }

    /// Writes `scenarios.md` and `scenarios.json` into a directory, over earlier ones.
    ///
    /// # Errors
    /// One of them could not be written.
    pub fn write(&self, directory: &Path) -> anyhow::Result<()> {
        fs::create_dir_all(directory).with_context(|| format!("{} cannot be made", directory.display()))?;
        let json = serde_json::to_string_pretty(self)?;
        for (name, text) in [("scenarios.md", self.markdown()), ("scenarios.json", json)] {
            let path = directory.join(name);
            fs::write(&path, text).with_context(|| format!("{} could not be written", path.display()))?;
        }
        Ok(())
    }
}

/// Of the machine, where it says so.
fn memory_mib() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? / 1_024)
}
