//! What a test does that shares a service: it runs, is skipped aloud, or fails under CI. Each in a process of its own, because
//! the environment decides.

#![allow(clippy::unwrap_used, reason = "a test: what is not there is a failure")]

use std::process::{Command, Output};

use nimbus_services::shared;

/// Set in the processes that stand for a test run.
const PLAYED: &str = "PLAYS_A_TEST_RUN";

/// Played by the processes below; in the run itself there is nothing to do.
#[test]
fn needs_a_service() {
    if std::env::var_os(PLAYED).is_some()
        && let Some(address) = shared::redis()
    {
        panic!("it runs against {address}");
    }
}

fn play(variables: &[(&str, &str)]) -> Output {
    let mut run = Command::new(std::env::current_exe().unwrap());
    run.args(["--exact", "needs_a_service"]).env_remove("CI").env_remove(shared::REDIS).env(PLAYED, "yes");
    run.envs(variables.iter().copied()).output().unwrap()
}

fn said(output: &Output) -> String {
    [output.stdout.as_slice(), output.stderr.as_slice()].map(String::from_utf8_lossy).concat()
}

#[test]
fn a_test_runs_against_what_the_environment_names() {
    let output = play(&[(shared::REDIS, "127.0.0.1:1")]);
    assert!(said(&output).contains("it runs against 127.0.0.1:1"), "{output:?}");
}

#[test]
fn a_test_without_its_service_is_skipped_aloud() {
    let output = play(&[]);
    assert!(output.status.success(), "{output:?}");
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    let line = stderr.lines().find(|line| line.starts_with("SKIPPED: ")).expect("it is said past the capture");
    assert!(line.contains("needs_a_service needs Redis") && line.contains(shared::REDIS), "{line}");
}

#[test]
fn nothing_is_skipped_under_ci() {
    let output = play(&[("CI", "true")]);
    assert!(!output.status.success() && said(&output).contains("nothing is skipped under CI"), "{output:?}");
}
