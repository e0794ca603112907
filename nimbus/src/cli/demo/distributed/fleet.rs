//! The processes of the distributed demonstration: servers and consumers, each started again when it is gone.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use tokio::{
    io::{BufReader, Lines},
    process::{Child, ChildStdout, Command},
    task::JoinHandle,
};

use super::{
    super::processes::{address, command, stop, until_ready},
    balancer::Balancer,
    state::{Entry, State},
};
use crate::{
    compose::Role,
    exit::{Exit, Failure, OrExit},
};

/// Two of each, so that one can be missing.
pub(super) const OF_EACH: usize = 2;
/// How long a killed one is left dead, to be seen.
const DEAD_FOR: Duration = Duration::from_secs(2);

type Settings = Vec<(&'static str, String)>;

/// All of them, and the way to the servers.
#[derive(Debug)]
pub(super) struct Fleet {
    directory: PathBuf,
    settings: Settings,
    members: Vec<Member>,
    pub(super) balancer: Balancer,
    /// How many were started again.
    pub(super) revived: usize,
}

#[derive(Debug)]
struct Member {
    role: Role,
    /// Among those of its role, from 0.
    number: usize,
    life: Life,
}

impl Member {
    fn name(&self) -> String {
        format!("{} {}", self.role.name(), self.number + 1)
    }
}

#[derive(Debug)]
enum Life {
    Up(Box<Running>),
    Down(Instant),
    Starting(JoinHandle<Result<Running, Failure>>),
}

#[derive(Debug)]
struct Running {
    child: Child,
    pid: u32,
    grpc: Option<SocketAddr>,
    since: Instant,
    _guard: Child,
    _stdout: Lines<BufReader<ChildStdout>>,
}

impl Running {
    async fn start(role: Role, directory: PathBuf, settings: Settings) -> Result<Self, Failure> {
        let mut command = command(&directory, &[role.name(), "--json"])?;
        command.envs(settings);
        // Out of reach of ctrl-c: they go on until every client has its answers.
        command.process_group(0);
        let (child, ready, stdout) = until_ready(command, role.name()).await?;
        let grpc = role.serves().then(|| address(&ready, "grpc")).transpose()?;
        let Some(pid) = child.id() else {
            return Err(Failure::new(Exit::Failed, format!("the {} ended at once", role.name())));
        };
        Ok(Self { child, pid, grpc, since: Instant::now(), _guard: guard(pid)?, _stdout: stdout })
    }
}

/// A small shell that kills a process when this one is gone without having done so, as after SIGKILL: the system closes
/// the pipe at which it waits.
fn guard(pid: u32) -> Result<Child, Failure> {
    let mut shell = Command::new("sh");
    shell.args(["-c", r#"read -r _; kill -KILL "$1" 2> /dev/null"#, "nimbus-demo-guard", &pid.to_string()]);
    shell.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0).kill_on_drop(true);
    shell.spawn().or_exit(Exit::Io)
}

impl Fleet {
    /// Starts all of them and waits until they are ready.
    pub(super) async fn start(directory: &Path, settings: Settings) -> Result<Self, Failure> {
        let balancer = Balancer::listen(OF_EACH).await.or_exit(Exit::Unavailable)?;
        let mut fleet = Self { directory: directory.to_owned(), settings, members: Vec::new(), balancer, revived: 0 };
        for role in [Role::Server, Role::Consumers] {
            for number in 0..OF_EACH {
                let life = Life::Starting(fleet.launch(role));
                fleet.members.push(Member { role, number, life });
            }
        }
        for member in &mut fleet.members {
            if let Life::Starting(starting) = &mut member.life {
                let running = starting.await.or_exit(Exit::Failed)??;
                member.up(running, &fleet.balancer);
            }
        }
        Ok(fleet)
    }

    fn launch(&self, role: Role) -> JoinHandle<Result<Running, Failure>> {
        tokio::spawn(Running::start(role, self.directory.clone(), self.settings.clone()))
    }

    /// Sees who is gone, starts again who is due, and says what has changed.
    pub(super) async fn look(&mut self) -> Result<Vec<String>, Failure> {
        let mut news = Vec::new();
        for number in 0..self.members.len() {
            let role = self.members[number].role;
            let launched = matches!(&self.members[number].life, Life::Down(since) if since.elapsed() >= DEAD_FOR)
                .then(|| self.launch(role));
            let member = &mut self.members[number];
            let name = member.name();
            match &mut member.life {
                Life::Up(running) => {
                    if let Some(ended) = running.child.try_wait().or_exit(Exit::Io)? {
                        news.push(format!("{name} (pid {}) is gone: {ended}", running.pid));
                        member.down(&self.balancer);
                    }
                }
                Life::Down(_) => {
                    if let Some(starting) = launched {
                        member.life = Life::Starting(starting);
                    }
                }
                Life::Starting(starting) if starting.is_finished() => {
                    let running = starting.await.or_exit(Exit::Failed)??;
                    news.push(format!("{name} was started again (pid {})", running.pid));
                    member.up(running, &self.balancer);
                    self.revived += 1;
                }
                Life::Starting(_) => {}
            }
        }
        Ok(news)
    }

    /// Who runs, the oldest first.
    pub(super) fn state(&self) -> State {
        let running = self.members.iter().filter_map(|member| match &member.life {
            Life::Up(running) => Some((running.since, Entry::new(member.role, member.name(), running.pid))),
            Life::Down(_) | Life::Starting(_) => None,
        });
        let mut running: Vec<_> = running.collect();
        running.sort_by_key(|(since, _)| *since);
        State::of_this_process(running.into_iter().map(|(_, entry)| entry).collect())
    }

    /// How many of a role are up.
    pub(super) fn up(&self, role: Role) -> usize {
        self.members.iter().filter(|member| member.role == role && matches!(member.life, Life::Up(_))).count()
    }

    /// Ends all of them in good order.
    pub(super) async fn stop(mut self) -> Result<(), Failure> {
        for member in &mut self.members {
            let name = member.name();
            if let Life::Up(running) = &mut member.life {
                stop(&mut running.child, &name).await?;
            }
        }
        Ok(())
    }
}

impl Member {
    fn up(&mut self, running: Running, balancer: &Balancer) {
        if self.role.serves() {
            balancer.set(self.number, running.grpc);
        }
        self.life = Life::Up(Box::new(running));
    }

    fn down(&mut self, balancer: &Balancer) {
        if self.role.serves() {
            balancer.set(self.number, None);
        }
        self.life = Life::Down(Instant::now());
    }
}
