//! Redis: one process, or a cluster of them, on this machine. Nothing is kept on disk unless asked for.

mod cluster;
mod tls;
mod wire;

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use crate::{Detached, Error, Result, home::Home, ports, process::Process, tools, wait};

pub use self::cluster::RedisCluster;

const NAME: &str = "Redis";

/// How long a starting Redis may think about the answer. It is asked again.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);

/// What a Redis is started with.
#[derive(Clone, Debug, Default)]
pub struct RedisOptions {
    port: Option<u16>,
    data_dir: Option<PathBuf>,
    lines: Vec<String>,
    cluster: bool,
    tls: bool,
}

impl RedisOptions {
    /// Listens on this port of 127.0.0.1 instead of a free one. 0 is a free one.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.port = (port != 0).then_some(port);
        self
    }

    /// Keeps configuration, log and data in this directory, which stays, instead of in a temporary one.
    #[must_use]
    pub fn data_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.data_dir = Some(dir.into());
        self
    }

    /// Adds one line of configuration, such as `maxmemory-policy noeviction`; it wins over the ones that are set here.
    #[must_use]
    pub fn line(mut self, line: impl Into<String>) -> Self {
        self.lines.push(line.into());
        self
    }

    /// Copies this one.
    #[must_use]
    pub fn replica_of(self, primary: &Redis) -> Self {
        self.line(format!("replicaof 127.0.0.1 {}", primary.ports.clients))
    }

    /// Speaks TLS on a port of its own besides the plain one, with a certificate of an authority that is made for it.
    #[must_use]
    pub fn tls(mut self) -> Self {
        self.tls = true;
        self
    }

    /// Writes every change to disk before it is acknowledged, so that a restart finds what was there.
    #[must_use]
    pub fn persistent(self) -> Self {
        self.line("appendonly yes").line("appendfsync always")
    }
}

#[derive(Clone, Copy, Debug)]
struct Ports {
    clients: u16,
    /// Between the nodes of a cluster.
    bus: u16,
    tls: u16,
}

/// A Redis. Dropping it kills the process, and removes its directory if that is a temporary one.
#[derive(Debug)]
pub struct Redis {
    options: RedisOptions,
    ports: Ports,
    // Before the directory: fields are dropped in this order, and a living Redis would write into it again.
    process: Option<Process>,
    home: Home,
}

impl Redis {
    /// Starts a Redis and waits until it answers PING.
    ///
    /// # Errors
    /// [`Error::is_unavailable`] if it is missing or too old; otherwise it did not start, with the end of its log.
    pub fn start(options: RedisOptions) -> Result<Self> {
        let home = Home::open(options.data_dir.as_deref(), "redis")?;
        ports::retry(options.port.is_some(), || {
            let [free, bus, tls] = ports::free()?;
            let ports = Ports { clients: options.port.unwrap_or(free), bus, tls };
            launch(&options, ports, &home).map(|process| (ports, process))
        })
        .map(|(ports, process)| Self { options, ports, process: Some(process), home })
    }

    /// Starts a cluster of so many nodes, without replicas, and waits until every node takes commands.
    ///
    /// # Errors
    /// As for [`start`](Self::start).
    pub fn cluster(nodes: usize) -> Result<RedisCluster> {
        RedisCluster::start(nodes, 0)
    }

    /// The same, where each of the first `replicas` nodes is copied by one more, and waits until these have everything.
    ///
    /// # Errors
    /// As for [`start`](Self::start).
    pub fn cluster_with_replicas(nodes: usize, replicas: usize) -> Result<RedisCluster> {
        RedisCluster::start(nodes, replicas)
    }

    /// Waits until it has everything of the one that it copies.
    ///
    /// # Errors
    /// It did not come so far within [`wait::PATIENCE`], or does not answer.
    pub fn wait_until_copied(&self) -> Result<()> {
        let copied = || Ok(self.replication()?.contains("master_link_status:up").then_some(()));
        let limit = wait::PATIENCE;
        wait::until(limit, copied)?.ok_or_else(|| Error::TooSlow {
            name: NAME,
            what: "copy another",
            limit,
            log: fs::read_to_string(self.log()).unwrap_or_default(),
        })
    }

    /// One field of INFO replication, such as `master_replid`; empty if there is none of that name.
    ///
    /// # Errors
    /// It does not answer.
    pub fn replication_field(&self, name: &str) -> Result<String> {
        let info = self.replication()?;
        let found = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        Ok(found.unwrap_or_default().trim().to_owned())
    }

    fn replication(&self) -> Result<String> {
        self.ask(&["INFO", "replication"])
    }

    /// `host:port`. The same over restarts.
    pub fn address(&self) -> String {
        ports::loopback(self.ports.clients).to_string()
    }

    /// `host:port` of the one that speaks TLS, if [it was asked to](RedisOptions::tls). The same over restarts.
    pub fn tls_address(&self) -> String {
        ports::loopback(self.ports.tls).to_string()
    }

    /// The file with the authority that vouches for it when it speaks TLS. Another one for each Redis.
    pub fn authority(&self) -> PathBuf {
        self.home.path().join(tls::AUTHORITY)
    }

    /// Asks one question on a connection of its own, by the plain port. The answer is text: a status, a number, a string;
    /// or a list of them, one a line.
    ///
    /// # Errors
    /// Nobody answers, or the answer is an error, whose text is in the message.
    pub fn ask(&self, words: &[&str]) -> Result<String> {
        wire::ask(&self.address(), words, ANSWER_LIMIT).map_err(Error::io(format!("redis was asked {words:?}")))
    }

    /// The process id; nothing between a kill or stop and the restart.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Process::pid)
    }

    /// What it writes.
    pub fn log(&self) -> PathBuf {
        log(&self.home)
    }

    /// Ends it with SIGKILL, and waits until it is gone.
    ///
    /// # Errors
    /// It does not run.
    pub fn kill(&mut self) -> Result<()> {
        self.process.take().ok_or(Error::NotRunning(NAME))?.kill()
    }

    /// Ends it with SIGTERM, and waits until it has finished.
    ///
    /// # Errors
    /// It does not run, or did not end by itself; it is killed then.
    pub fn stop(&mut self) -> Result<()> {
        self.process.take().ok_or(Error::NotRunning(NAME))?.stop()
    }

    /// Starts it again on the same port, with whatever it has kept: everything if it is
    /// [`persistent`](RedisOptions::persistent), otherwise nothing. One that still runs is killed first.
    ///
    /// # Errors
    /// As for [`start`](Self::start).
    pub fn restart(&mut self) -> Result<()> {
        self.process = None;
        self.process = Some(launch(&self.options, self.ports, &self.home)?);
        Ok(())
    }

    /// The same, but what it has kept is lost. A node of a cluster still knows its place in it.
    ///
    /// # Errors
    /// As for [`start`](Self::start).
    pub fn restart_empty(&mut self) -> Result<()> {
        self.process = None;
        let data = data(&self.home);
        empty(&data).map_err(Error::io(format!("{} could not be emptied", data.display())))?;
        self.restart()
    }

    /// Empties it while it runs (FLUSHALL): connections and subscriptions stay.
    ///
    /// # Errors
    /// It does not run, or does not do it.
    pub fn flush(&self) -> Result<()> {
        let answer = wire::ask(&self.address(), &["FLUSHALL"], ANSWER_LIMIT);
        answer.map(|_| ()).map_err(|error| Error::Answer { name: NAME, answer: error.to_string() })
    }

    /// Holds it still (SIGSTOP): its connections stay open and nobody answers.
    ///
    /// # Errors
    /// It does not run.
    pub fn pause(&self) -> Result<()> {
        self.process.as_ref().ok_or(Error::NotRunning(NAME))?.pause()
    }

    /// Lets a paused one go on (SIGCONT).
    ///
    /// # Errors
    /// It does not run.
    pub fn resume(&self) -> Result<()> {
        self.process.as_ref().ok_or(Error::NotRunning(NAME))?.resume()
    }

    /// Lets it run on after this process has ended. Give it a directory of its own: a temporary one goes now.
    ///
    /// # Errors
    /// It does not run.
    pub fn detach(mut self) -> Result<Detached> {
        let address = self.address();
        let (pid, log) = self.process.take().ok_or(Error::NotRunning(NAME))?.detach();
        Ok(Detached { pid, address, log })
    }
}

/// The version of the Redis that answers at this `host:port` within `limit`; nothing if none does.
pub fn version(address: &str, limit: Duration) -> Option<String> {
    let info = wire::ask(address, &["INFO", "server"], limit).ok()?;
    info.lines().find_map(|line| line.strip_prefix("redis_version:")).map(|version| version.trim().to_owned())
}

/// Whether a version has what Nimbus needs.
pub fn is_new_enough(version: &str) -> bool {
    tools::is_new_enough(version)
}

/// Whether there is a Redis to start.
///
/// # Errors
/// [`Error::is_unavailable`]: it is missing or too old.
pub fn prepare() -> Result<()> {
    tools::redis_server().map(|_| ())
}

fn log(home: &Home) -> PathBuf {
    home.path().join("redis.log")
}

fn data(home: &Home) -> PathBuf {
    home.path().join("data")
}

fn launch(options: &RedisOptions, ports: Ports, home: &Home) -> Result<Process> {
    let server = tools::redis_server()?;
    let data = data(home);
    fs::create_dir_all(&data).map_err(Error::io(format!("{} could not be made", data.display())))?;
    let file = home.path().join("redis.conf");
    if options.tls && !home.path().join(tls::AUTHORITY).exists() {
        tls::make(home.path())?;
    }
    fs::write(&file, configuration(options, ports, home, &data))
        .map_err(Error::io(format!("{} could not be written", file.display())))?;
    let mut command = Command::new(server);
    command.arg(&file).current_dir(home.path());
    let mut process = Process::spawn(NAME, command, &log(home), home.to_remove())?;
    let address = ports::loopback(ports.clients).to_string();
    // It says so when it listens; what answers before may be whoever else has the port.
    process.wait_until_ready(|process| {
        process.has_written("Ready to accept connections")
            && match wire::ask(&address, &["PING"], ANSWER_LIMIT) {
                Ok(answer) => answer == "PONG",
                // It wants a password: it serves.
                Err(error) => error.to_string().starts_with("NOAUTH"),
            }
    })?;
    Ok(process)
}

fn configuration(options: &RedisOptions, ports: Ports, home: &Home, data: &Path) -> String {
    let mut lines = vec![
        "bind 127.0.0.1".to_owned(),
        format!("port {}", ports.clients),
        format!("dir \"{}\"", data.display()),
        // No snapshots and no log of changes.
        "save \"\"".to_owned(),
        "appendonly no".to_owned(),
    ];
    if options.cluster {
        lines.push("cluster-enabled yes".to_owned());
        lines.push(format!("cluster-port {}", ports.bus));
        // Tests do not wait 15 s until a dead node is noticed.
        lines.push("cluster-node-timeout 2000".to_owned());
    }
    if options.tls {
        let file = |name: &str| home.path().join(name).display().to_string();
        lines.push(format!("tls-port {}", ports.tls));
        lines.push(format!("tls-cert-file \"{}\"", file(tls::CERTIFICATE)));
        lines.push(format!("tls-key-file \"{}\"", file(tls::KEY)));
        lines.push(format!("tls-ca-cert-file \"{}\"", file(tls::AUTHORITY)));
        // Clients show a password, no certificate.
        lines.push("tls-auth-clients no".to_owned());
    }
    lines.extend(options.lines.iter().cloned());
    lines.push(String::new());
    lines.join("\n")
}

fn empty(data: &Path) -> io::Result<()> {
    for entry in fs::read_dir(data)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path())?;
        } else if entry.file_name() != cluster::NODES {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}
