//! Connects, says hello, sends one event, drops the connection: fifty times a second, whether or not the one before was through.

use std::{sync::Arc, time::Duration};

use nimbus_harness::{RawSession, connect, hello};
use tokio::{
    sync::Semaphore,
    time::{MissedTickBehavior, interval, timeout},
};

use super::{Misfit, Target};

/// Fifty times a second.
const PACE: Duration = Duration::from_millis(20);
/// Connections at a time; beyond that it waits, as it would for a port.
const AT_A_TIME: usize = 64;
/// How long one may take.
const LIMIT: Duration = Duration::from_secs(10);

pub(super) async fn behave(target: &Target) -> anyhow::Result<()> {
    let (mut session_no, room) = (0, Arc::new(Semaphore::new(AT_A_TIME)));
    let mut ticks = interval(PACE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    loop {
        ticks.tick().await;
        session_no += 1;
        let room = Arc::clone(&room).acquire_owned().await?;
        let target = target.clone();
        tokio::spawn(async move {
            let _room = room;
            // That one is refused or put out by the next is part of it.
            timeout(LIMIT, flap(&target, session_no)).await.ok();
        });
    }
}

async fn flap(target: &Target, session_no: u64) -> anyhow::Result<()> {
    let mut hello = hello(&target.client(Misfit::Flapper));
    hello.session_no = session_no;
    let (session, welcome) = RawSession::welcome(connect(target.address).await?, hello).await?;
    let seq = welcome.accepted_seq + 1;
    session.event(seq, "echo", vec![b'x'; target.bytes]).await?;
    target.count();
    Ok(())
}
