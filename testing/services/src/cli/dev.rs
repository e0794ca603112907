//! `up`, `down` and `status`: services that stay for a day of development.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use nimbus_services::{Detached, Kafka, KafkaOptions, Redis, RedisOptions, kafka, redis};
use rustix::process::{Pid, Signal, kill_process};

use super::state::{self, Started};

/// How long something that listens may think about the answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);

/// How long a service may take to end by itself before it is killed.
const DOWN_LIMIT: Duration = Duration::from_secs(30);

/// How soon to look again whether it has.
const PAUSE: Duration = Duration::from_millis(20);

struct Service {
    /// Its directory, and its name in what is printed.
    name: &'static str,
    port: u16,
    /// What answers at an address, in a word; nothing if nothing does.
    answers: fn(&str) -> Option<String>,
    start: fn(&Service) -> nimbus_services::Result<Detached>,
}

const SERVICES: [Service; 2] = [
    Service { name: "kafka", port: 9092, answers: kafka_answers, start: start_kafka },
    Service { name: "redis", port: 6379, answers: redis_answers, start: start_redis },
];

fn kafka_answers(address: &str) -> Option<String> {
    kafka::answers(address, ANSWER_LIMIT).then(|| "Kafka".to_owned())
}

fn redis_answers(address: &str) -> Option<String> {
    redis::version(address, ANSWER_LIMIT).map(|version| format!("Redis {version}"))
}

fn start_kafka(service: &Service) -> nimbus_services::Result<Detached> {
    Kafka::start(KafkaOptions::default().port(service.port).data_dir(state::dir(service.name)))?.detach()
}

fn start_redis(service: &Service) -> nimbus_services::Result<Detached> {
    Redis::start(RedisOptions::default().port(service.port).data_dir(state::dir(service.name)))?.detach()
}

impl Service {
    fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }

    fn up(&self) -> anyhow::Result<()> {
        let (name, address) = (self.name, self.address());
        if let Some(started) = Started::running(self.name)? {
            println!("{name}  {address}  runs already (pid {})", started.pid);
        } else if let Some(what) = (self.answers)(&address.to_string()) {
            check(&what)?;
            println!("{name}  {address}  is there already ({what}, which another program started): left as it is");
        } else if TcpListener::bind(address).is_err() {
            bail!("{address} is taken by something that is not {name}: end that, then try again");
        } else {
            let began = Instant::now();
            let detached = (self.start)(self)?;
            let started = Started::note(self.name, detached)?;
            let took = began.elapsed().as_secs_f32();
            println!("{name}  {address}  started in {took:.1} s (pid {}, log {})", started.pid, started.log.display());
        }
        Ok(())
    }

    fn down(&self) -> anyhow::Result<()> {
        let Some(started) = Started::running(self.name)? else {
            println!("{}  was not started by `up`, or has ended", self.name);
            return Started::forget(self.name);
        };
        let pid = i32::try_from(started.pid).ok().and_then(Pid::from_raw).context("no pid")?;
        let send = |signal| kill_process(pid, signal).with_context(|| format!("{} could not be ended", self.name));
        send(Signal::TERM)?;
        let deadline = Instant::now() + DOWN_LIMIT;
        while started.is_running()? {
            if Instant::now() >= deadline {
                send(Signal::KILL)?;
            }
            // sleep: it is not a child of this process, so its end can only be looked for
            thread::sleep(PAUSE);
        }
        println!("{}  ended", self.name);
        Started::forget(self.name)
    }

    /// Whether it answers.
    fn status(&self) -> anyhow::Result<bool> {
        let (name, address) = (self.name, self.address());
        let answer = (self.answers)(&address.to_string());
        let what = answer.as_deref().unwrap_or("no answer");
        match Started::running(self.name)? {
            Some(started) => println!("{name}  {address}  {what} (pid {}, log {})", started.pid, started.log.display()),
            None if answer.is_some() => println!("{name}  {address}  {what} (which another program started)"),
            None => println!("{name}  {address}  {what}"),
        }
        Ok(answer.is_some())
    }
}

/// Refuses a Redis that another program started and that cannot do what Nimbus needs.
fn check(what: &str) -> anyhow::Result<()> {
    match what.strip_prefix("Redis ") {
        Some(version) if !redis::is_new_enough(version) => bail!("{what} is there, and 7 or newer is needed: end it first"),
        _ => Ok(()),
    }
}

pub(crate) fn up() -> anyhow::Result<ExitCode> {
    for service in &SERVICES {
        service.up()?;
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn down() -> anyhow::Result<ExitCode> {
    for service in &SERVICES {
        service.down()?;
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn status() -> anyhow::Result<ExitCode> {
    let mut all_answer = true;
    for service in &SERVICES {
        all_answer &= service.status()?;
    }
    Ok(if all_answer { ExitCode::SUCCESS } else { ExitCode::from(crate::UNAVAILABLE) })
}
