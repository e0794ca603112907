//! `run`: services for one command.

use std::{
    ffi::OsString,
    io::{self, IsTerminal as _},
    os::unix::process::ExitStatusExt as _,
    process::{ExitCode, ExitStatus},
    thread,
    time::Instant,
};

use anyhow::Context as _;
use nimbus_services::{Error, Kafka, KafkaOptions, Redis, RedisOptions, shared};
use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    process::{Child, Command},
    runtime,
    signal::unix::{Signal as Signals, SignalKind, signal},
};

/// What shells exit with when a command is not there, and when it cannot be run.
const NOT_FOUND: u8 = 127;
const NOT_RUNNABLE: u8 = 126;
/// Added to the number of the signal that ended a command.
const SIGNALLED: i32 = 128;

pub(crate) fn run(command: &[OsString]) -> anyhow::Result<ExitCode> {
    // Until the command runs, signals have their usual effect: this process ends, and the guards end what was started.
    let (kafka, redis) = thread::scope(|scope| {
        let kafka = scope.spawn(|| start(shared::KAFKA, "Kafka", || Kafka::start(KafkaOptions::default())));
        let redis = start(shared::REDIS, "Redis", || Redis::start(RedisOptions::default()));
        (kafka.join(), redis)
    });
    let kafka = kafka.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
    let redis = redis?;
    let mut process = {
        let (program, arguments) = command.split_first().context("no command")?;
        let mut process = Command::new(program);
        process.args(arguments);
        process
    };
    if let Some(kafka) = &kafka {
        process.env(shared::KAFKA, kafka.address());
    }
    if let Some(redis) = &redis {
        process.env(shared::REDIS, redis.address());
    }
    let runtime = runtime::Builder::new_current_thread().enable_all().build().context("no runtime")?;
    let ended = runtime.block_on(async {
        let mut passed_on = PassedOn::listen()?;
        match process.spawn() {
            Ok(child) => passed_on.wait(child).await.map(code),
            Err(error) => {
                eprintln!("nimbus-services: {} could not be started: {error}", command[0].display());
                Ok(if error.kind() == io::ErrorKind::NotFound { NOT_FOUND } else { NOT_RUNNABLE })
            }
        }
    });
    // Their clients are gone; there is nothing to end gracefully.
    drop((kafka, redis));
    ended.map(ExitCode::from)
}

/// Nothing if the variable is set already, or if the service cannot be had and may be missing.
fn start<T>(variable: &str, name: &str, start: impl FnOnce() -> Result<T, Error>) -> anyhow::Result<Option<T>> {
    if let Some(address) = std::env::var_os(variable).filter(|address| !address.is_empty()) {
        eprintln!("nimbus-services: {name} is {}, as {variable} says", address.display());
        return Ok(None);
    }
    let began = Instant::now();
    match start() {
        Ok(service) => {
            eprintln!("nimbus-services: {name} is ready after {:.1} s", began.elapsed().as_secs_f32());
            Ok(Some(service))
        }
        Err(error) if error.is_unavailable() && !shared::is_ci() => {
            eprintln!("nimbus-services: WITHOUT {name}: {error}");
            Ok(None)
        }
        Err(error) => Err(error).context(format!("{name} could not be started")),
    }
}

fn code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| SIGNALLED + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)
}

/// The signals that are the command's to act on.
struct PassedOn {
    interrupt: Signals,
    terminate: Signals,
    hang_up: Signals,
    quit: Signals,
}

impl PassedOn {
    fn listen() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("signals cannot be listened to");
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hang_up: listen(SignalKind::hangup())?,
            quit: listen(SignalKind::quit())?,
        })
    }

    async fn wait(&mut self, mut child: Child) -> anyhow::Result<ExitStatus> {
        // Ctrl-c reaches the command from the terminal, and a second one could mean "at once" to it.
        let from_terminal = io::stdin().is_terminal() || io::stdout().is_terminal() || io::stderr().is_terminal();
        let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw).context("no pid")?;
        loop {
            let (signal, is_terminals) = tokio::select! {
                status = child.wait() => return status.context("the command's end"),
                _ = self.interrupt.recv() => (Signal::INT, true),
                _ = self.quit.recv() => (Signal::QUIT, true),
                _ = self.terminate.recv() => (Signal::TERM, false),
                _ = self.hang_up.recv() => (Signal::HUP, false),
            };
            // It has not been waited for, so the pid is still its own; an error only means that it has ended.
            if !(is_terminals && from_terminal)
                && let Err(error) = kill_process(pid, signal)
            {
                eprintln!("nimbus-services: the command could not be signalled: {error}");
            }
        }
    }
}
