//! One process of a service: its signals, its end, and what it wrote.

use std::{
    fs::File,
    io::{self, Read as _, Seek as _, SeekFrom},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

use crate::{Error, Result, guard::Guard, wait};

/// How much of a log is shown with an error.
const SHOWN_LINES: usize = 40;

/// How long a service may take to end by itself. Kafka takes about 2 s on an idle machine.
const STOP_LIMIT: Duration = Duration::from_secs(60);

/// A running process. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Process {
    name: &'static str,
    log: PathBuf,
    /// Where its own lines begin in the log, which stays over restarts.
    begun: u64,
    child: Child,
    /// Dropped before the child's end is collected, see [`Guard`].
    guard: Option<Guard>,
}

/// A service that runs on by itself, after [`detach`](crate::Kafka::detach).
#[derive(Debug)]
pub struct Detached {
    /// Its process.
    pub pid: u32,
    /// Its `host:port`.
    pub address: String,
    /// What it writes.
    pub log: PathBuf,
}

impl Process {
    /// Starts the command with its output appended to `log`, in a process group of its own: ctrl-c is for whoever holds it.
    pub(crate) fn spawn(name: &'static str, mut command: Command, log: &Path, remove: Option<&Path>) -> Result<Self> {
        let doing = || format!("{} could not be opened", log.display());
        let output = File::options().create(true).append(true).open(log).map_err(Error::io(doing()))?;
        let begun = output.metadata().map_err(Error::io(doing()))?.len();
        let errors = output.try_clone().map_err(Error::io(doing()))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .process_group(0)
            .spawn()
            .map_err(Error::io(format!("{name} could not be started")))?;
        let mut process = Self { name, log: log.to_owned(), begun, child, guard: None };
        process.guard = Some(Guard::watch(process.pid(), remove)?);
        Ok(process)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Looks until `answers` says that the service does.
    pub(crate) fn wait_until_ready(&mut self, mut answers: impl FnMut(&Self) -> bool) -> Result<()> {
        wait_until_ready(&mut [self], |processes| processes.iter().all(|process| answers(process)))
    }

    /// Whether it has written this to its log.
    pub(crate) fn has_written(&self, text: &str) -> bool {
        self.written().contains(text)
    }

    /// Holds it still, and waits until the last of its threads stands: a signal is sent long before every thread has seen it.
    ///
    /// # Errors
    /// It has ended, or did not stand within [`wait::PATIENCE`].
    pub(crate) fn pause(&self) -> Result<()> {
        self.signal(Signal::STOP)?;
        let pid = self.process_id()?;
        // Without EXITED an end is left for whoever collects it.
        let stopped = wait::until(wait::PATIENCE, || {
            waitid(WaitId::Pid(pid), WaitIdOptions::STOPPED | WaitIdOptions::NOHANG)
                .map_err(|error| Error::io(format!("{} could not be waited for", self.name))(error.into()))
        })?;
        stopped.map(|_| ()).ok_or_else(|| self.too_slow("stand still", wait::PATIENCE))
    }

    /// Lets a paused process go on.
    ///
    /// # Errors
    /// It has ended.
    pub(crate) fn resume(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let sent = kill_process(self.process_id()?, signal).map_err(io::Error::from);
        sent.map_err(Error::io(format!("{} could not be signalled", self.name)))
    }

    fn process_id(&self) -> Result<Pid> {
        i32::try_from(self.pid()).ok().and_then(Pid::from_raw).ok_or(Error::NotRunning(self.name))
    }

    /// Kills it as a crash would, and waits until it is gone.
    pub(crate) fn kill(mut self) -> Result<()> {
        self.end().map(|_| ())
    }

    /// Asks it to end, and waits until it has.
    ///
    /// # Errors
    /// It took longer than [`STOP_LIMIT`]; it is killed then.
    pub(crate) fn stop(mut self) -> Result<()> {
        self.signal(Signal::TERM)?;
        self.guard = None;
        let ended = wait::until(STOP_LIMIT, || self.child.try_wait().map_err(Error::io("the state of a process")))?;
        ended.map(|_| ()).ok_or_else(|| self.too_slow("end by itself", STOP_LIMIT))
    }

    /// Lets it run on by itself.
    pub(crate) fn detach(mut self) -> (u32, PathBuf) {
        self.guard = None;
        let process = std::mem::ManuallyDrop::new(self);
        (process.child.id(), process.log.clone())
    }

    fn end(&mut self) -> Result<ExitStatus> {
        // SIGKILL also ends what is stopped. It succeeds for what has ended already and was not collected.
        let killed = self.child.kill();
        self.guard = None;
        killed.and_then(|()| self.child.wait()).map_err(Error::io(format!("{} could not be killed", self.name)))
    }

    /// An error if it has ended.
    fn still_runs(&mut self) -> Result<()> {
        match self.child.try_wait().map_err(Error::io("the state of a process"))? {
            Some(status) => Err(Error::Ended { name: self.name, status: status.to_string(), log: self.log_tail() }),
            None => Ok(()),
        }
    }

    fn too_slow(&self, what: &'static str, limit: Duration) -> Error {
        Error::TooSlow { name: self.name, what, limit, log: self.log_tail() }
    }

    /// What it said of errors, and the end of what it wrote: a service that gives up says much after it has said why.
    fn log_tail(&self) -> String {
        let text = self.written();
        let lines: Vec<_> = text.lines().collect();
        let (before, end) = lines.split_at(lines.len().saturating_sub(SHOWN_LINES));
        let is_error = |line: &str| line.contains(" ERROR ");
        // With the line after it, which names the exception.
        let follows = |at: usize| at.checked_sub(1).is_some_and(|at| is_error(before[at]));
        let errors = (0..before.len()).filter(|at| is_error(before[*at]) || follows(*at)).take(SHOWN_LINES);
        errors.map(|at| before[at]).chain(end.iter().copied()).collect::<Vec<_>>().join("\n")
    }

    /// What it has written since it was started. Nothing if that cannot be read: it is only shown and searched.
    fn written(&self) -> String {
        let mut own = Vec::new();
        let read = File::open(&self.log).and_then(|mut log| {
            log.seek(SeekFrom::Start(self.begun))?;
            log.read_to_end(&mut own)
        });
        read.map(|_| String::from_utf8_lossy(&own).into_owned()).unwrap_or_default()
    }
}

/// Looks until `answers` says that a service of so many processes does.
///
/// # Errors
/// One of them has ended, at once. Or they took too long; then every one's log is shown.
pub(crate) fn wait_until_ready(
    processes: &mut [&mut Process],
    mut answers: impl FnMut(&[&mut Process]) -> bool,
) -> Result<()> {
    let ready = wait::until(wait::PATIENCE, || {
        processes.iter_mut().try_for_each(|process| process.still_runs())?;
        Ok(answers(processes).then_some(()))
    })?;
    let Some(first) = processes.first().filter(|_| ready.is_none()) else { return Ok(()) };
    let logs: Vec<_> = processes.iter().map(|process| process.log_tail()).collect();
    Err(Error::TooSlow { name: first.name, what: "become ready", limit: wait::PATIENCE, log: logs.join("\n\n") })
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            eprintln!("nimbus-services: {error}");
        }
    }
}
