//! Sends at a moderate rate and never reads: no answer, no ping. When its stream is ended it opens another one, as bad as before.

use std::time::Duration;

use nimbus_harness::{RawSession, connect, hello};
use tokio::time::{MissedTickBehavior, interval};

use super::{Misfit, Target};

/// Between two events: so many that its window is full within seconds, so few that it is no flood.
const PACE: Duration = Duration::from_millis(10);
/// Before another stream.
const AGAIN: Duration = Duration::from_secs(1);

pub(super) async fn behave(target: &Target) -> anyhow::Result<()> {
    let (mut accepted, mut session_no) = (0, 0);
    let mut ticks = interval(PACE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        session_no += 1;
        let mut hello = hello(&target.client(Misfit::NeverReader));
        hello.session_no = session_no;
        hello.first_unaccepted = accepted + 1;
        // Its Welcome is the last that it reads.
        if let Ok((session, welcome)) = RawSession::welcome(connect(target.address).await?, hello).await {
            accepted = welcome.accepted_seq;
            let mut seq = accepted;
            loop {
                ticks.tick().await;
                if session.event(seq + 1, "echo", vec![b'x'; target.bytes]).await.is_err() {
                    break;
                }
                seq += 1;
                target.count();
            }
        }
        // sleep: as a client that is turned away would
        tokio::time::sleep(AGAIN).await;
    }
}
