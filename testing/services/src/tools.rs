//! Finds the programs that services are made of.

use std::{
    env,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{Error, Result};

/// The oldest Redis that has what Nimbus uses.
const REDIS_MAJOR: u32 = 7;

pub(crate) fn java() -> Result<PathBuf> {
    find("java", "default-jre-headless")
}

pub(crate) fn maven() -> Result<PathBuf> {
    find("mvn", "maven")
}

pub(crate) fn nats_server() -> Result<PathBuf> {
    find("nats-server", "nats-server")
}

pub(crate) fn redis_server() -> Result<PathBuf> {
    let path = find("redis-server", "redis-server")?;
    let output = Command::new(&path).arg("--version").output();
    let output = output.map_err(Error::io("redis-server could not be started"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let version = text.split_whitespace().find_map(|word| word.strip_prefix("v=")).unwrap_or("unknown");
    if is_new_enough(version) { Ok(path) } else { Err(Error::RedisTooOld { found: version.to_owned() }) }
}

pub(crate) fn is_new_enough(redis_version: &str) -> bool {
    redis_version.split('.').next().and_then(|major| major.parse().ok()).is_some_and(|major: u32| major >= REDIS_MAJOR)
}

fn find(program: &'static str, package: &'static str) -> Result<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let found = env::split_paths(&path).map(|dir| dir.join(program)).find(|path| is_executable(path));
    found.ok_or(Error::Missing { program, package })
}

fn is_executable(path: &Path) -> bool {
    path.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_said_with_the_package_that_has_it() {
        let error = find("no-such-program", "some-package").unwrap_err();
        assert!(error.is_unavailable());
        assert_eq!(error.to_string(), "no-such-program is missing (Debian, Ubuntu: apt-get install some-package)");
    }

    #[test]
    fn redis_below_seven_is_too_old() {
        assert!(is_new_enough("7.0.15") && is_new_enough("8.2"));
        assert!(!is_new_enough("6.2.14") && !is_new_enough("unknown"));
    }
}
