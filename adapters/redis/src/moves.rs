//! Slots of a cluster that go from one node to another, for what is asked meanwhile.
//!
//! A node that no longer has what it is asked for says where that is: for good (`MOVED`), or for as long as the slot is on its way
//! (`ASK`). The library follows both by itself, and must not be let (its version 10.1): it announces the `ASK`ed command with an
//! `ASKING`, takes the next answer that comes over that connection for the answer to it, and gives to each command that was on its
//! way there what was meant for the one behind it. So a session got another client's page. Then it sends the command to where it
//! came from, over and over, and in the end it is not the command that fails but the client.
//!
//! Where it may follow nothing, a `MOVED` still has it look where the slots are, and the command fails, which no node has carried
//! out: here it is asked again. What is on its way is refused until it has arrived, as it is while half of it has (`TRYAGAIN`).

use std::future::Future;

use fred::{
    error::{Error, ErrorKind},
    types::config::ConnectionConfig,
};

/// How often one command is asked again, at most: a node may hear of a move later than the others.
const MOST_HOPS: usize = 5;

/// How the library begins the refusal of what it may not follow.
const NOT_FOLLOWED: &str = "Too many redirections";

/// To be set for every client.
pub(crate) const fn follow_nothing(connection: &mut ConnectionConfig) {
    connection.max_redirections = 0;
}

/// Asks again what was refused because it is elsewhere.
pub(crate) async fn followed<T, F>(ask: impl Fn() -> F) -> Result<T, Error>
where
    F: Future<Output = Result<T, Error>>,
{
    for _ in 1..MOST_HOPS {
        let answer = ask().await;
        if !answer.as_ref().is_err_and(is_elsewhere) {
            return answer;
        }
    }
    ask().await
}

fn is_elsewhere(error: &Error) -> bool {
    *error.kind() == ErrorKind::Routing && error.details().starts_with(NOT_FOLLOWED)
}
