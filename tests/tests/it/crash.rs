//! Kill -9 at any instant: every accepted event is answered exactly once, in order.

use nimbus_harness::TestNimbus;
use rand::RngExt as _;

use crate::ledger::Load;

/// Rounds of the short form that runs with every test; `make crash-loop` sets more.
const SHORT_ROUNDS: u32 = 5;

fn rounds() -> u32 {
    std::env::var("CRASH_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(SHORT_ROUNDS)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn guarantee_5_a_server_killed_under_load_loses_repeats_and_reorders_nothing() -> anyhow::Result<()> {
    let mut nimbus = TestNimbus::builder().start().await?;
    let mut load = Load::start(&nimbus.url(), 16);
    let rounds = rounds();
    for round in 1..=rounds {
        // Somewhere in the middle of the work, another place each time.
        load.progress(rand::rng().random_range(1..3_000)).await?;
        nimbus.crash_and_restart().await?;
        println!("round {round} of {rounds}: killed and restarted");
    }
    load.progress(1_000).await?;
    let books = load.finish().await?;
    println!("{rounds} rounds: {books}");
    books.balance()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_dies_goes_on_from_its_outbox_file() -> anyhow::Result<()> {
    use nimbus_client::{Client, Event, Incoming, Outbox};

    let nimbus = TestNimbus::builder().start().await?;
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("outbox");
    let connect = || Client::builder(nimbus.url()).client_id("phone").outbox(Outbox::file(&path)).connect();
    let total = 2_000_u64;
    let mut answers = Vec::new();
    for round in 0..5 {
        let client = connect().await?;
        let sender = async {
            while client.last_seq() < total && client.last_seq() < (round + 1) * total / 5 {
                let number = client.last_seq() + 1;
                client.send(Event::new("sq", number.to_string())).await?;
            }
            anyhow::Ok(())
        };
        let receiver = async {
            let goal = ((round + 1) * total / 5).saturating_sub(50);
            while answers.last().is_none_or(|last| *last < goal) {
                let Some((incoming, receipt)) = client.recv_unacked().await? else { break };
                if let Incoming::Answer(answer) = incoming {
                    answers.push(answer.seq.get());
                }
                client.ack(receipt).await?;
            }
            anyhow::Ok(())
        };
        tokio::try_join!(sender, receiver)?;
        // Dropped in the middle, with answers outstanding: no goodbye, no close.
        drop(client);
    }
    let client = connect().await?;
    client.goodbye();
    while let Some(incoming) = client.recv().await? {
        if let Incoming::Answer(answer) = incoming {
            answers.push(answer.seq.get());
        }
    }
    assert_eq!(answers, (1..=total).collect::<Vec<_>>());
    Ok(())
}
