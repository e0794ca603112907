//! `nimbus-services run`, as a process. Kafka is said to be elsewhere, so that only Redis is started.

#![allow(clippy::unwrap_used, reason = "a test: what is not there is a failure")]

use std::{
    io::{BufRead as _, BufReader},
    net::TcpStream,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use nimbus_services::{redis, shared};
use rustix::process::{Pid, Signal, kill_process};

/// Where nothing listens; nobody asks.
const ELSEWHERE: &str = "127.0.0.1:1";

const LIMIT: Duration = Duration::from_secs(60);

fn services(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nimbus-services"));
    command.args(arguments).env(shared::KAFKA, ELSEWHERE).env_remove(shared::REDIS).env_remove("CI");
    command
}

fn is_missing() -> bool {
    let missing = redis::prepare().err();
    if let Some(error) = &missing {
        shared::skip(&format!("needs Redis: {error}"));
    }
    missing.is_some()
}

/// Starts a shell that sets a trap, prints the address of Redis and waits; returns that address.
fn start_waiting(trap: &str, wait: &str) -> (Child, String) {
    let script = format!("{trap}; echo $NIMBUS_TEST_REDIS; {wait}");
    // The shell of a killed one reads to the end of this pipe, and is no more left behind than Redis.
    let mut command = services(&["run", "--", "sh", "-c", &script]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut address = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut address).unwrap();
    (child, address.trim().to_owned())
}

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap(), signal).unwrap();
}

fn wait_until(mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !is_so() {
        assert!(Instant::now() < deadline, "not within {LIMIT:?}");
        // sleep: another process has to get on; the loop looks again
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn the_command_gets_the_addresses_and_its_exit_code_is_passed_on() {
    if is_missing() {
        return;
    }
    let script = "echo $NIMBUS_TEST_KAFKA $NIMBUS_TEST_REDIS; exit 7";
    let output = services(&["run", "--", "sh", "-c", script]).output().unwrap();
    assert_eq!(output.status.code(), Some(7), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let (kafka, redis) = text.trim().split_once(' ').unwrap();
    assert_eq!(kafka, ELSEWHERE, "a variable that is set already stays");
    assert!(TcpStream::connect(redis).is_err(), "Redis was at {redis} and is gone");
}

#[test]
fn a_command_that_is_not_there_is_said_as_shells_say_it() {
    let output = services(&["run", "--", "/no/such/command"]).env(shared::REDIS, ELSEWHERE).output().unwrap();
    assert_eq!(output.status.code(), Some(127));
    assert!(String::from_utf8(output.stderr).unwrap().contains("/no/such/command"));
}

#[test]
fn a_signal_is_the_commands_and_then_everything_ends() {
    if is_missing() {
        return;
    }
    let (mut child, address) = start_waiting("trap 'exit 9' TERM", "while :; do sleep 0.05; done");
    assert!(TcpStream::connect(&address).is_ok());
    signal(&child, Signal::TERM);
    assert_eq!(child.wait().unwrap().code(), Some(9));
    assert!(TcpStream::connect(&address).is_err());
}

#[test]
fn nothing_is_left_when_it_is_killed() {
    if is_missing() {
        return;
    }
    let (mut child, address) = start_waiting(":", "read -r _");
    let port = address.rsplit(':').next().unwrap().to_owned();
    let dir = config_dir(&port);
    assert!(Path::new(&dir).is_dir());
    signal(&child, Signal::KILL);
    child.wait().unwrap();
    wait_until(|| TcpStream::connect(&address).is_err());
    wait_until(|| !Path::new(&dir).exists());
}

/// The directory of the Redis on this port.
fn config_dir(port: &str) -> String {
    let mut dirs = std::fs::read_dir(std::env::temp_dir()).unwrap().map(|entry| entry.unwrap().path());
    let is_it = |dir: &std::path::PathBuf| {
        std::fs::read_to_string(dir.join("redis.conf")).is_ok_and(|text| text.contains(&format!("port {port}\n")))
    };
    dirs.find(is_it).unwrap().display().to_string()
}

#[test]
fn without_the_programs_it_says_so_and_goes_on_but_not_under_ci() {
    let nowhere = tempfile::tempdir().unwrap();
    let mut command = services(&["run", "--", "/bin/sh", "-c", "echo [$NIMBUS_TEST_REDIS]"]);
    let output = command.env("PATH", nowhere.path()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8(output.stdout).unwrap().trim(), "[]");
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("WITHOUT Redis: redis-server is missing"), "{said}");

    let output = command.env("CI", "true").output().unwrap();
    assert_eq!(output.status.code(), Some(69), "{output:?}");
    assert!(output.stdout.is_empty(), "the command does not run");
}

#[test]
fn help_teaches_and_wrong_arguments_are_64() {
    let output = services(&["--help"]).output().unwrap();
    assert!(output.status.success());
    assert!(String::from_utf8(output.stdout).unwrap().contains("nimbus-services run -- cargo test"));
    assert_eq!(services(&["run"]).output().unwrap().status.code(), Some(64));
}
