//! A rolling restart: every process in turn is told to end, is waited for, and is started again, while clients send. It should be
//! invisible: clients are told to move before their stream ends, and partitions are handed over.

use std::time::Duration;

use anyhow::bail;
use tokio::time::Instant;

use super::{Finding, Turn, ground::Ground, report::count, stage::Stage};
use crate::{kind::Role, plan::OF_EACH, recovery::round};

/// How much worse the p99 may be meanwhile than it is otherwise.
const BOUND: f64 = 3.0;
/// From when a process is ready to the end of the next one, as `docs/operations.md` asks of whoever rolls (`minReadySeconds`). A newcomer gets
/// its partitions in a second round of its group, and members join again at most once a second: a partition whose owner ends
/// sooner than that after another change lies idle for the rest of the second.
const BETWEEN: Duration = Duration::from_secs(5);

pub(super) async fn play(stage: &mut Stage<'_>) -> anyhow::Result<()> {
    let steady = stage.steady().await?;
    let (before, began) = (stage.load.departures(), Instant::now());
    stage.load.mark();
    for role in Role::ALL {
        for number in 0..OF_EACH {
            turn(stage, role, number).await?;
        }
    }
    stage.answered().await?;
    let Some(rolling) = stage.load.mark() else { bail!("nothing was answered during the roll") };
    let took = began.elapsed();
    let after = stage.load.departures();
    stage.compare("during the roll", steady, rolling, BOUND);
    stage.found(Finding::seconds("the roll of all processes took", took.as_secs_f64(), None));
    stage.found(count(
        "streams that a client left because the server had asked it to",
        after.asked - before.asked,
        None,
    ));
    stage.found(count("streams that broke under a client", after.lost - before.lost, Some(0)));
    Ok(())
}

/// One process.
async fn turn(stage: &mut Stage<'_>, role: Role, number: usize) -> anyhow::Result<()> {
    let process = format!("{}-{}", role.name(), number + 1);
    stage.say(&format!("restarting {process}"));
    stage.load.lap();
    let began = Instant::now();
    let Ground::Distributed(site) = &mut stage.ground else { bail!("one process cannot be rolled") };
    site.stop(role, number).await?;
    let ended = Instant::now();
    site.ready(role, number).await?;
    let ready = Instant::now();
    stage.wait(BETWEEN).await?;
    stage.answered().await?;
    let latency = stage.load.lap();
    let (stop_s, start_s) = ((ended - began).as_secs_f64(), (ready - ended).as_secs_f64());
    stage.act.turns.push(Turn { process, stop_s: round(stop_s), start_s: round(start_s), latency });
    Ok(())
}
