//! How many files this process may have open: each client of a storm is a socket, and the way between it and its server two more.

use anyhow::{bail, ensure};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Logs, pipes, epoll, the admin endpoints, and what a runtime needs.
const OTHER: u64 = 500;
/// The client's end of a connection, and both of the way's.
const SOCKETS_EACH: u64 = 3;

/// Raises the limit, for this process and for those that it starts, so that so many clients can be connected.
///
/// # Errors
/// More is not allowed; what is missing is said.
pub(crate) fn allow(clients: u64) -> anyhow::Result<()> {
    let needed = clients * SOCKETS_EACH + OTHER;
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_none_or(|current| current >= needed) {
        return Ok(());
    }
    ensure!(
        maximum.is_none_or(|maximum| maximum >= needed),
        "{clients} clients need {needed} open files, and {} are allowed: raise the limit (ulimit -Hn), or take a smaller --crowd",
        maximum.unwrap_or_default()
    );
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: Some(needed), maximum }) {
        bail!("the limit of open files could not be raised to {needed}: {error}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_may_have_is_refused_with_the_remedy() {
        allow(1).unwrap();
        let Some(maximum) = getrlimit(Resource::Nofile).maximum else { return };
        let error = allow(maximum).unwrap_err().to_string();
        assert!(error.contains("ulimit -Hn") && error.contains(&maximum.to_string()), "{error}");
    }
}
