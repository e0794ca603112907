//! Apache Kafka: one broker that is its own controller, or a cluster of them (KRaft), on this machine.
//!
//! Its settings are a small cluster's, not the defaults of a large one: topics are not made by accident, groups do not wait
//! before they begin, sessions may be short, and retention acts at once (`kafka/settings.rs`).

mod classes;
mod cluster;
mod jars;
mod secured;
mod settings;
mod wire;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use crate::{Detached, Error, Result, home::Home, ports, process::Process, tools};

use self::{jars::Jars, secured::User, settings::Seat};

pub use self::{cluster::KafkaCluster, jars::version};

const NAME: &str = "Kafka";

/// A broker says so when it listens. It binds its port only after the controller has let it serve: until then whoever else has
/// that port may answer in its place, and stands in the metadata with it.
const STARTED: &str = "Kafka Server started";

/// What a broker is started with.
#[derive(Clone, Debug)]
pub struct KafkaOptions {
    port: Option<u16>,
    data_dir: Option<PathBuf>,
    heap_mib: u32,
    settings: Vec<(String, String)>,
    user: Option<User>,
    is_short_lived: bool,
}

impl Default for KafkaOptions {
    /// Free ports, a temporary directory, a heap of 384 MiB.
    fn default() -> Self {
        Self { port: None, data_dir: None, heap_mib: 384, settings: Vec::new(), user: None, is_short_lived: false }
    }
}

impl KafkaOptions {
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

    /// The largest Java heap.
    #[must_use]
    pub fn heap_mib(mut self, heap_mib: u32) -> Self {
        self.heap_mib = heap_mib;
        self
    }

    /// Starts in less of the processor's time and is slower in the long run: for a broker that lives for a test.
    #[must_use]
    pub fn short_lived(mut self) -> Self {
        self.is_short_lived = true;
        self
    }

    /// Also listens where only this user gets in: with TLS, and by SASL (SCRAM-SHA-256). Both are plain words. The plain listener
    /// stays, for whoever looks after the broker.
    #[must_use]
    pub fn secured(mut self, user: &str, password: &str) -> Self {
        self.user = Some(User { name: user.to_owned(), password: password.to_owned() });
        self
    }

    /// Sets one property of the broker, such as `message.max.bytes`; it wins over the ones that are set here.
    #[must_use]
    pub fn set(mut self, name: &str, value: impl ToString) -> Self {
        self.settings.push((name.to_owned(), value.to_string()));
        self
    }
}

/// A broker. Dropping it kills the process, and removes its directory if that is a temporary one.
#[derive(Debug)]
pub struct Kafka {
    options: KafkaOptions,
    seat: Seat,
    // Before the directory: fields are dropped in this order, and a living broker would write into it again.
    process: Option<Process>,
    home: Home,
}

impl Kafka {
    /// Starts a broker and waits until a client would find it in the metadata.
    ///
    /// # Errors
    /// [`Error::is_unavailable`] if Java, Maven or the jars are missing; otherwise it did not start, with the end of its log.
    pub fn start(options: KafkaOptions) -> Result<Self> {
        let home = Home::open(options.data_dir.as_deref(), "kafka")?;
        ports::retry(options.port.is_some(), || {
            let [free, controller, secured] = ports::free()?;
            let seat = Seat {
                own: 0,
                broker: options.port.unwrap_or(free),
                secured: options.user.is_some().then_some(secured),
                controllers: vec![controller],
            };
            launch(&options, &seat, &home).map(|process| (seat, process))
        })
        .map(|(seat, process)| Self { options, seat, process: Some(process), home })
    }

    /// Starts a cluster of so many brokers, each of them a controller as well, and waits until every one knows all. From three
    /// on, topics and Kafka's own state have three replicas, two of which confirm each write: any one node may be lost.
    ///
    /// # Errors
    /// As for [`start`](Self::start).
    pub fn cluster(nodes: usize) -> Result<KafkaCluster> {
        KafkaCluster::start(nodes)
    }

    /// `host:port`, for a client's list of brokers. The same over restarts.
    pub fn address(&self) -> String {
        ports::loopback(self.seat.broker).to_string()
    }

    /// `host:port` of the listener with TLS and SASL; nothing if it was not asked for. The same over restarts.
    pub fn secured_address(&self) -> Option<String> {
        self.seat.secured.map(|port| ports::loopback(port).to_string())
    }

    /// The certificate of the authority that signed this broker's, in PEM. It is there if the broker is
    /// [`secured`](KafkaOptions::secured).
    pub fn authority(&self) -> PathBuf {
        secured::authority(self.home.path())
    }

    /// The process id; nothing between a kill or stop and the restart.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Process::pid)
    }

    /// Where the broker keeps its topics, a directory for each partition.
    pub fn data(&self) -> PathBuf {
        settings::data(self.home.path())
    }

    /// What the broker writes.
    pub fn log(&self) -> PathBuf {
        log(&self.home)
    }

    /// Ends the broker with SIGKILL, and waits until it is gone.
    ///
    /// # Errors
    /// It does not run.
    pub fn kill(&mut self) -> Result<()> {
        self.process.take().ok_or(Error::NotRunning(NAME))?.kill()
    }

    /// Ends the broker with SIGTERM, and waits until it has finished.
    ///
    /// # Errors
    /// It does not run, or did not end by itself; it is killed then.
    pub fn stop(&mut self) -> Result<()> {
        self.process.take().ok_or(Error::NotRunning(NAME))?.stop()
    }

    /// Starts the broker again, on the same port and data, and waits until it is ready. One that still runs is killed first.
    ///
    /// # Errors
    /// As for [`start`](Self::start).
    pub fn restart(&mut self) -> Result<()> {
        self.process = None;
        self.process = Some(launch(&self.options, &self.seat, &self.home)?);
        Ok(())
    }

    /// Holds the broker still (SIGSTOP): its connections stay open and nobody answers. If that lasts for more than 3 s, its own
    /// controller may take it out of service for a moment when it goes on.
    ///
    /// # Errors
    /// It does not run.
    pub fn pause(&self) -> Result<()> {
        self.process.as_ref().ok_or(Error::NotRunning(NAME))?.pause()
    }

    /// Lets a paused broker go on (SIGCONT).
    ///
    /// # Errors
    /// It does not run.
    pub fn resume(&self) -> Result<()> {
        self.process.as_ref().ok_or(Error::NotRunning(NAME))?.resume()
    }

    /// Lets the broker run on after this process has ended. Give it a directory of its own: a temporary one goes now.
    ///
    /// # Errors
    /// It does not run.
    pub fn detach(mut self) -> Result<Detached> {
        let address = self.address();
        let (pid, log) = self.process.take().ok_or(Error::NotRunning(NAME))?.detach();
        Ok(Detached { pid, address, log })
    }
}

/// Fetches the jars, and has Java read them, if that was not done yet.
///
/// # Errors
/// [`Error::is_unavailable`]: Java or Maven is missing, or Maven could not fetch them.
pub fn prepare() -> Result<()> {
    tools::java()?;
    jars::prepare().map(|_| ())
}

/// Whether a broker answers at this `host:port` within `limit`, and knows itself to be in service.
pub fn answers(address: &str, limit: Duration) -> bool {
    wire::brokers(address, limit).is_ok_and(|brokers| !brokers.is_empty())
}

fn log(home: &Home) -> PathBuf {
    home.path().join("kafka.log")
}

fn launch(options: &KafkaOptions, seat: &Seat, home: &Home) -> Result<Process> {
    let mut process = spawn(options, seat, home)?;
    until_it_serves(&mut process, seat)?;
    Ok(process)
}

fn until_it_serves(process: &mut Process, seat: &Seat) -> Result<()> {
    let address = ports::loopback(seat.broker).to_string();
    process.wait_until_ready(|process| serves(process, &address, |brokers| brokers.contains(&seat.broker)))
}

/// Whether a broker listens itself, and has these in its metadata.
fn serves(process: &Process, address: &str, are_there: impl Fn(&[u16]) -> bool) -> bool {
    process.has_written(STARTED) && wire::brokers(address, wire::ANSWER_LIMIT).is_ok_and(|brokers| are_there(&brokers))
}

/// Does not wait: the first nodes of a cluster cannot serve without the others.
fn spawn(options: &KafkaOptions, seat: &Seat, home: &Home) -> Result<Process> {
    let kafka = jars::prepare()?;
    spawn_with(&kafka, &classes::flags(&kafka), options, seat, home)
}

fn spawn_with(kafka: &Jars, flags: &[String], options: &KafkaOptions, seat: &Seat, home: &Home) -> Result<Process> {
    let java = tools::java()?;
    if options.user.is_some() {
        secured::certify(home.path())?;
    }
    let properties = home.path().join("server.properties");
    write(&properties, &settings::server(seat, home.path(), &options.settings))?;
    let data = settings::data(home.path());
    if !data.exists() && options.user.is_some() {
        jars::format(kafka, &properties, options.user.as_ref())?;
    } else if !data.exists() {
        copy_flat(&kafka.formatted(), &data)?;
        write(&data.join(settings::META), &settings::meta(seat.node()))?;
    }
    let mut command = Command::new(java);
    command
        .args(settings::java(options.heap_mib, &kafka.logging()))
        .args(flags)
        .args(options.is_short_lived.then_some(settings::SHORT_LIVED))
        .arg("-cp")
        .arg(kafka.classpath())
        .arg("kafka.Kafka")
        .arg(&properties)
        .current_dir(home.path());
    Process::spawn(NAME, command, &log(home), home.to_remove())
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).map_err(Error::io(format!("{} could not be written", path.display())))
}

fn copy_flat(from: &Path, to: &Path) -> Result<()> {
    let copied = fs::create_dir_all(to).and_then(|()| {
        for entry in fs::read_dir(from)? {
            let entry = entry?;
            fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
        Ok(())
    });
    copied.map_err(Error::io(format!("{} could not be copied to {}", from.display(), to.display())))
}
