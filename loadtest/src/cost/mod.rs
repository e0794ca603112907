//! What a load costs: the CPU time and memory of the servers that it is told of, and its own CPU time beside it. A load that
//! has no CPU left measures itself; so that is told, too.
//!
//! Looked at from outside, through `/proc`: a server needs to know nothing of it, and has to run on this machine.

mod proc;

use std::{collections::BTreeSet, fmt, thread, time::Instant};

use serde::{Deserialize, Serialize};

use self::proc::MachineTime;
pub use self::proc::{cpu_seconds, resident_kib};
use crate::LoadError;

/// From here on a machine or a process counts as having no CPU left. Beyond it, queues for the CPU are what is measured.
const BUSY: f64 = 0.9;
/// A shorter load is not judged: CPU time is counted in hundredths of a second, and connections that open are most of it.
const JUDGED_FROM_SECONDS: f64 = 1.0;
const KIB_PER_MIB: f64 = 1024.0;

/// What a load cost in the measured time.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Cost {
    /// Where load processes ran. Empty where there is no `/proc`.
    pub machines: Vec<Machine>,
    /// The servers that were looked at.
    pub servers: Vec<ServerCost>,
}

/// A machine on which load processes ran.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// Its name.
    pub host: String,
    /// How many cores a process may use there.
    pub cores: usize,
    /// How many of them the load processes used.
    pub load_cores: f64,
    /// CPU time of the load processes, in seconds.
    pub load_cpu_seconds: f64,
    /// How much of the whole machine was used, by whomever. 0 to 1.
    pub busy: f64,
    /// For how long it was looked at, in seconds. Results from before this was noted are judged, as they were.
    #[serde(default = "judged")]
    pub seconds: f64,
}

const fn judged() -> f64 {
    JUDGED_FROM_SECONDS
}

/// What one server used.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ServerCost {
    /// The name of its machine.
    pub host: String,
    /// Which process.
    pub pid: u32,
    /// Whether it ended before the load did.
    pub ended: bool,
    /// User and system time, in seconds.
    pub cpu_seconds: f64,
    /// How many cores that is.
    pub cores: f64,
    /// For each answer in the measured time.
    pub cpu_us_per_event: f64,
    /// For each stream, in the whole measured time.
    pub cpu_ms_per_stream: f64,
    /// Resident memory before the first stream was opened, in MiB.
    pub rss_before_mib: f64,
    /// The most in the measured time.
    pub rss_max_mib: f64,
    /// What it grew by in between, for each stream. A server that has had streams before grows less.
    pub rss_kib_per_stream: f64,
}

impl Machine {
    /// Whether the load processes, or all together, left no CPU: then it is the machine that was measured. Never of less than a second.
    #[allow(clippy::cast_precision_loss)]
    pub fn is_the_limit(&self) -> bool {
        self.seconds >= JUDGED_FROM_SECONDS && (self.busy > BUSY || self.load_cores > BUSY * self.cores as f64)
    }
}

impl ServerCost {
    /// Over so many answers and streams.
    #[allow(clippy::cast_precision_loss)]
    pub(crate) fn divide(&mut self, events: u64, streams: usize) {
        let per = |value: f64, count: f64| if count > 0.0 { value / count } else { 0.0 };
        let grown_kib = (self.rss_max_mib - self.rss_before_mib).max(0.0) * KIB_PER_MIB;
        self.cpu_us_per_event = per(self.cpu_seconds * 1e6, events as f64);
        self.cpu_ms_per_stream = per(self.cpu_seconds * 1e3, streams as f64);
        self.rss_kib_per_stream = per(grown_kib, streams as f64);
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_the_limit() {
            write!(f, "this machine is the limit: ")?;
        }
        let (cores, busy) = (self.cores, self.busy * 100.0);
        write!(
            f,
            "the load process used {:.2} of {cores} cores, the whole machine was {busy:.0} % busy",
            self.load_cores
        )
    }
}

impl fmt::Display for ServerCost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ended = if self.ended { " (has ended)" } else { "" };
        write!(
            f,
            "server {}{ended}: {:.2} s CPU ({:.2} cores), {:.1} us an event, {:.2} ms a stream; at most {:.1} MiB, {:.1} KiB more a stream",
            self.pid,
            self.cpu_seconds,
            self.cores,
            self.cpu_us_per_event,
            self.cpu_ms_per_stream,
            self.rss_max_mib,
            self.rss_kib_per_stream
        )
    }
}

/// Looks at processes while a load runs.
#[derive(Debug)]
pub(crate) struct Watch {
    own: u32,
    servers: Vec<Server>,
    began: Option<(Instant, MachineTime, f64)>,
    used: Option<Used>,
}

#[derive(Debug)]
struct Server {
    pid: u32,
    ended: bool,
    rss_before_kib: f64,
    rss_max_kib: f64,
    /// When measuring began, and when it was last looked at.
    cpu_from: f64,
    cpu_to: f64,
}

#[derive(Debug)]
struct Used {
    seconds: f64,
    machine: Option<Machine>,
}

impl Watch {
    /// Before the first stream is opened.
    ///
    /// # Errors
    /// [`LoadError::Config`]: there is no such process.
    pub(crate) fn new(pids: &[u32]) -> Result<Self, LoadError> {
        let server = |pid: u32| {
            let (rss, cpu) = proc::resident_kib(pid).zip(proc::cpu_seconds(pid)).ok_or_else(|| {
                LoadError::Config(format!(
                    "there is no process {pid} on this machine whose CPU time and memory can be read"
                ))
            })?;
            Ok(Server { pid, ended: false, rss_before_kib: rss, rss_max_kib: rss, cpu_from: cpu, cpu_to: cpu })
        };
        let pids: BTreeSet<u32> = pids.iter().copied().collect();
        let servers = pids.into_iter().map(server).collect::<Result<_, LoadError>>()?;
        Ok(Self { own: std::process::id(), servers, began: None, used: None })
    }

    /// Measuring begins.
    pub(crate) fn begin(&mut self) {
        for server in &mut self.servers {
            server.look();
            server.cpu_from = server.cpu_to;
            server.rss_max_kib = proc::resident_kib(server.pid).unwrap_or(server.rss_before_kib);
        }
        let own = proc::machine().zip(proc::cpu_seconds(self.own));
        self.began = own.map(|(machine, cpu)| (Instant::now(), machine, cpu));
    }

    /// To be called every now and then, for the most memory.
    pub(crate) fn look(&mut self) {
        if self.began.is_some() && self.used.is_none() {
            self.servers.iter_mut().for_each(Server::look);
        }
    }

    /// Measuring ends. Only the first time counts.
    pub(crate) fn end(&mut self) {
        self.look();
        let Some((at, machine, cpu)) = self.began.filter(|_| self.used.is_none()) else { return };
        let seconds = at.elapsed().as_secs_f64();
        let cpu = proc::cpu_seconds(self.own).map(|now| now - cpu);
        let busy = proc::machine().and_then(|now| now.busy_since(machine));
        let machine = cpu.zip(busy).map(|(load_cpu_seconds, busy)| Machine {
            host: proc::host(),
            cores: thread::available_parallelism().map_or(1, usize::from),
            load_cores: load_cpu_seconds / seconds,
            load_cpu_seconds,
            busy,
            seconds,
        });
        self.used = Some(Used { seconds, machine });
    }

    /// What was used between begin and end, over so many answers and streams.
    pub(crate) fn cost(self, events: u64, streams: usize) -> Cost {
        let Some(Used { seconds, machine }) = self.used else { return Cost::default() };
        let servers = self.servers.into_iter().map(|server| {
            let cpu_seconds = server.cpu_to - server.cpu_from;
            let mut cost = ServerCost {
                host: proc::host(),
                pid: server.pid,
                ended: server.ended,
                cpu_seconds,
                cores: if seconds > 0.0 { cpu_seconds / seconds } else { 0.0 },
                rss_before_mib: server.rss_before_kib / KIB_PER_MIB,
                rss_max_mib: server.rss_max_kib / KIB_PER_MIB,
                ..ServerCost::default()
            };
            cost.divide(events, streams);
            cost
        });
        Cost { machines: machine.into_iter().collect(), servers: servers.collect() }
    }
}

impl Server {
    /// One that has ended keeps what was seen last.
    fn look(&mut self) {
        match proc::resident_kib(self.pid).zip(proc::cpu_seconds(self.pid)) {
            Some((rss, cpu)) => {
                self.rss_max_kib = self.rss_max_kib.max(rss);
                self.cpu_to = cpu;
            }
            None => self.ended = true,
        }
    }
}

#[cfg(test)]
mod tests;
