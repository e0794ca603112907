//! A client of the library that was started again.

use fred::{
    interfaces::{ClientLike as _, HashesInterface as _, MetricsInterface as _},
    types::ClientState,
};
use futures_util::future::join_all;
use nimbus_core::{Partition, ports::mailbox::Mailbox as _};

use crate::testing::{World, config, server, shared, until};

#[tokio::test]
async fn rule_20_the_check_once_a_second_is_answered_also_by_a_client_that_was_started_again() {
    let Some(url) = shared("a client that was started again") else { return };
    let world = World::new(config(&url), 1).await;
    let client = &world.store.link.quick;
    let heads = async || world.ports.mailbox.heads(&server("s1"), &[Partition(0)]).await;
    assert_eq!(heads().await.unwrap().len(), 1);
    // The library's own kind of commands: those that it keeps back.
    let asked = join_all((0..8).map(|_| client.hget::<Option<String>, _, _>("a key", "a field")));
    // They stand behind it.
    let (_, asked) = futures_util::join!(client.quit(), asked);
    assert!(asked.iter().any(Result::is_err));
    until("it was started again", async || client.state() == ClientState::Connected).await;
    assert!(client.command_queue_len() > 0, "the library counts what no longer waits, or this proves nothing");
    assert_eq!(heads().await.unwrap().len(), 1);
}
