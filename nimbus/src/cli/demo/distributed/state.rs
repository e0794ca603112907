//! Which processes a running demonstration has: a small file, from which `make kill-one` knows whom it may kill.

use std::{fs, io, path::Path, process::Command};

use serde::{Deserialize, Serialize};

use crate::{
    compose::Role,
    exit::{Exit, Failure, OrExit},
};

/// A process of the demonstration.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub(super) struct Entry {
    role: String,
    name: String,
    pid: u32,
}

impl Entry {
    pub(super) fn new(role: Role, name: String, pid: u32) -> Self {
        Self { role: role.name().to_owned(), name, pid }
    }
}

/// All that run just now, the oldest first, and whose children they are.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub(super) struct State {
    demo: u32,
    processes: Vec<Entry>,
}

impl State {
    pub(super) fn of_this_process(processes: Vec<Entry>) -> Self {
        Self { demo: std::process::id(), processes }
    }

    /// Writes it as a whole, so that nobody reads half of it.
    pub(super) fn write(&self, file: &Path) -> Result<(), Failure> {
        if let Some(directory) = file.parent() {
            fs::create_dir_all(directory).or_exit(Exit::Io)?;
        }
        let beside = file.with_extension("new");
        fs::write(&beside, serde_json::to_vec_pretty(self).or_exit(Exit::Failed)?).or_exit(Exit::Io)?;
        fs::rename(&beside, file).or_exit(Exit::Io)
    }

    /// What a demonstration that still runs has written.
    pub(super) fn running(file: &Path) -> Result<Option<Self>, Failure> {
        let text = match fs::read(file) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).or_exit(Exit::Io),
        };
        let state: Self = serde_json::from_slice(&text).or_exit(Exit::Data)?;
        Ok(state.processes.iter().any(|process| state.owns(process)).then_some(state))
    }

    /// Whether it is still that process: a pid may belong to another one by now, but not with the same parent.
    fn owns(&self, process: &Entry) -> bool {
        parent(process.pid) == Some(self.demo)
    }
}

/// The parent of a process that lives.
fn parent(pid: u32) -> Option<u32> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything; the fields after it are the state and the parent.
    let mut fields = text.rsplit_once(')')?.1.split_whitespace();
    (!matches!(fields.next()?, "Z" | "X")).then(|| fields.next()?.parse().ok()).flatten()
}

/// Kills the oldest server and the oldest consumers of the demonstration that wrote this file, and says which.
pub(super) fn kill_one_of_each(file: &Path) -> Result<Vec<String>, Failure> {
    let Some(state) = State::running(file)? else {
        return Err(Failure::new(
            Exit::Unavailable,
            "nothing to kill: start `make run-distributed` in another terminal",
        ));
    };
    let mut killed = Vec::new();
    for role in [Role::Server, Role::Consumers] {
        let mut of_role = state.processes.iter().filter(|process| process.role == role.name());
        let Some(Entry { name, pid, .. }) = of_role.find(|process| state.owns(process)) else {
            return Err(Failure::new(Exit::Unavailable, format!("no {} is up just now: wait a moment", role.name())));
        };
        let status = Command::new("kill").args(["-KILL", &pid.to_string()]).status().or_exit(Exit::Io)?;
        if !status.success() {
            return Err(Failure::new(Exit::Failed, format!("{name} (pid {pid}) could not be killed")));
        }
        killed.push(format!("{name} (pid {pid}) is killed with SIGKILL"));
    }
    Ok(killed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_children_of_the_demonstration_that_wrote_the_file_are_killed() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("sub").join("state.json");
        assert_eq!(State::running(&file).unwrap(), None);
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let pid = child.id();
        let entry = |role| Entry::new(role, "one".to_owned(), pid);
        // Of another parent: as if the pid had been given to a process that is none of its own.
        let foreign = State { demo: u32::MAX, processes: vec![entry(Role::Server), entry(Role::Consumers)] };
        foreign.write(&file).unwrap();
        assert_eq!(State::running(&file).unwrap(), None);
        assert_eq!(kill_one_of_each(&file).unwrap_err().exit, Exit::Unavailable);
        assert_eq!(child.try_wait().unwrap(), None, "it was left alone");

        let mut other = Command::new("sleep").arg("60").spawn().unwrap();
        let processes = vec![entry(Role::Server), Entry::new(Role::Consumers, "two".to_owned(), other.id())];
        let own = State::of_this_process(processes);
        own.write(&file).unwrap();
        assert_eq!(State::running(&file).unwrap(), Some(own));
        assert_eq!(kill_one_of_each(&file).unwrap().len(), 2);
        assert!(!child.wait().unwrap().success() && !other.wait().unwrap().success());
        assert_eq!(State::running(&file).unwrap(), None, "nobody is left");
    }
}
