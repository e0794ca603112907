//! One service of `up`: on its usual port, in a directory that stays, running on when `up` has ended.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use nimbus_services::{Detached, Kafka, KafkaOptions, Redis, RedisOptions, kafka, redis};
use rustix::process::{Pid, Signal, kill_process};

use crate::cli::state::{self, Started};

/// How long something that listens may think about the answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);

/// How long a service may take to end by itself before it is killed.
const DOWN_LIMIT: Duration = Duration::from_secs(30);

/// How soon to look again whether it has.
const PAUSE: Duration = Duration::from_millis(20);

pub(super) struct Service {
    name: &'static str,
    port: u16,
    dir: PathBuf,
    kind: Kind,
}

#[derive(Clone, Copy)]
enum Kind {
    Kafka,
    Redis,
}

impl Service {
    pub(super) fn all() -> [Self; 2] {
        let service = |name, port, kind| Self { name, port, dir: state::dir(name), kind };
        [service("kafka", 9092, Kind::Kafka), service("redis", 6379, Kind::Redis)]
    }

    fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }

    /// What answers there, in a word; nothing if nothing of the kind does.
    fn answer(&self) -> Option<String> {
        let address = self.address().to_string();
        match self.kind {
            Kind::Kafka => kafka::answers(&address, ANSWER_LIMIT).then(|| "Kafka".to_owned()),
            Kind::Redis => redis::version(&address, ANSWER_LIMIT).map(|version| format!("Redis {version}")),
        }
    }

    fn start(&self) -> nimbus_services::Result<Detached> {
        match self.kind {
            Kind::Kafka => Kafka::start(KafkaOptions::default().port(self.port).data_dir(&self.dir))?.detach(),
            Kind::Redis => Redis::start(RedisOptions::default().port(self.port).data_dir(&self.dir))?.detach(),
        }
    }

    /// Starts it unless it is there already, and says which.
    ///
    /// # Errors
    /// It cannot be started, or its port is taken by something that is of no use.
    pub(super) fn up(&self) -> anyhow::Result<String> {
        let (name, address) = (self.name, self.address());
        if let Some(started) = Started::running(&self.dir)? {
            return Ok(format!("{name}  {address}  runs already (pid {})", started.pid));
        }
        if let Some(what) = self.answer() {
            if let Some(version) = what.strip_prefix("Redis ")
                && !redis::is_new_enough(version)
            {
                bail!("{what} is at {address}, and 7 or newer is needed: end it first");
            }
            return Ok(format!(
                "{name}  {address}  is there already ({what}, started by another program): left as it is"
            ));
        }
        if let Err(error) = TcpListener::bind(address) {
            bail!("{address} cannot be had ({error}), and what is there is not {name}: end that, then try again");
        }
        let began = Instant::now();
        let started = Started::note(&self.dir, self.start()?)?;
        let took = began.elapsed().as_secs_f32();
        Ok(format!("{name}  {address}  started in {took:.1} s (pid {}, log {})", started.pid, started.log.display()))
    }

    /// Ends it if `up` started it.
    ///
    /// # Errors
    /// It cannot be signalled.
    pub(super) fn down(&self) -> anyhow::Result<String> {
        let Some(started) = Started::running(&self.dir)? else {
            Started::forget(&self.dir)?;
            return Ok(format!("{}  was not started by `up`, or has ended", self.name));
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
        Started::forget(&self.dir)?;
        Ok(format!("{}  ended", self.name))
    }

    /// Whether it answers, and a line about it.
    ///
    /// # Errors
    /// What `up` noted cannot be read.
    pub(super) fn status(&self) -> anyhow::Result<(bool, String)> {
        let (name, address, answer) = (self.name, self.address(), self.answer());
        let what = answer.as_deref().unwrap_or("no answer");
        let from = match Started::running(&self.dir)? {
            Some(started) => format!(" (pid {}, log {})", started.pid, started.log.display()),
            None if answer.is_some() => " (started by another program)".to_owned(),
            None => String::new(),
        };
        Ok((answer.is_some(), format!("{name}  {address}  {what}{from}")))
    }
}

#[cfg(test)]
mod tests {
    use nimbus_services::shared;

    use super::*;

    #[test]
    fn up_and_down_work_twice_and_leave_what_others_started() {
        if let Err(error) = redis::prepare() {
            return shared::skip(&format!("needs Redis: {error}"));
        }
        let other = Redis::start(RedisOptions::default()).unwrap();
        let port = other.address().rsplit(':').next().unwrap().parse().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let service = Service { name: "redis", port, dir: dir.path().join("redis"), kind: Kind::Redis };

        assert!(service.up().unwrap().contains("started by another program"));
        assert!(service.down().unwrap().contains("was not started by `up`"));
        assert!(redis::version(&other.address(), ANSWER_LIMIT).is_some(), "what others started is left alone");

        drop(other);
        assert!(service.up().unwrap().contains("started in"));
        assert!(service.up().unwrap().contains("runs already"));
        assert!(service.status().unwrap().0);
        assert!(service.down().unwrap().contains("ended"));
        let (answers, line) = service.status().unwrap();
        assert!(!answers && line.contains("no answer"), "{line}");
        assert!(service.down().unwrap().contains("was not started by `up`"));
    }

    #[test]
    fn a_port_of_a_stranger_is_named() {
        let stranger = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = stranger.local_addr().unwrap().port();
        let dir = tempfile::tempdir().unwrap();
        let service = Service { name: "redis", port, dir: dir.path().to_owned(), kind: Kind::Redis };
        // It takes the connection and closes it.
        let taken = thread::spawn(move || stranger.accept().map(|_| stranger));
        let error = service.up().unwrap_err().to_string();
        assert!(error.contains("cannot be had") && error.contains(&port.to_string()), "{error}");
        taken.join().unwrap().unwrap();
    }
}
