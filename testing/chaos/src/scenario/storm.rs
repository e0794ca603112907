//! A storm of reconnects: thousands of clients lose their connection in the same moment, as behind a balancer that restarts, and come
//! back, each to resume where it was, while others go on sending over a way of their own.

use std::{sync::Arc, time::Duration};

use nimbus_client::Resumed;
use tokio::time::Instant;

use super::{
    Finding,
    apart::Apart,
    crowd::{Crowd, Return},
    report::count,
    stage::Stage,
};

/// Within this everybody has a session again.
const RESUMED_WITHIN: f64 = 10.0;
/// Within this after the last session everybody has what it missed.
const REPLAYED_WITHIN: f64 = 1.0;
/// How much worse the p99 of the others may be.
const BOUND: f64 = 2.0;
/// Of the crowd and its way.
const THREADS: usize = 2;
/// What was accepted last is executed and delivered as far as it can be before the cut.
const REST: Duration = Duration::from_secs(2);

pub(super) async fn play(stage: &mut Stage<'_>) -> anyhow::Result<()> {
    let conditions = stage.conditions;
    stage.say(&format!("{} clients connect", conditions.crowd));
    let apart = Apart::new("crowd", THREADS)?;
    let (servers, run) = (stage.ground.servers(), stage.run.clone());
    let (size, backlog, bytes) = (conditions.crowd, conditions.backlog, conditions.payload_bytes);
    let gathering = apart.run(async move { Crowd::gather(servers, &run, size, backlog, bytes).await });
    let crowd = Arc::new(gathering.await??);
    // With the crowd connected: what it costs to have them is no part of the storm.
    let steady = stage.steady().await?;
    stage.say("they send what they will not have read");
    let filled = Arc::clone(&crowd);
    apart.run(async move { filled.fill().await }).await??;
    stage.wait(REST.min(conditions.window)).await?;
    stage.answered().await?;
    stage.say("all of them are cut");
    let cut = Arc::clone(&crowd);
    let returning = apart.run(async move { cut.cut().await });
    let (then, returned) = tokio::join!(stage.window(conditions.window), returning);
    let (then, (at, returns)) = (then?, returned??);
    let (books, violations) = apart.run(async move { crowd.disperse().await }).await?;
    stage.act.books += books;
    stage.act.violations.extend(violations);
    tell(stage, at, &returns);
    stage.compare("of the others with the storm", steady, then, BOUND);
    Ok(())
}

/// The figures of those that were cut.
fn tell(stage: &mut Stage<'_>, at: Instant, returns: &[Return]) {
    let since = |instant: Instant| instant.saturating_duration_since(at).as_secs_f64();
    let sessions: Vec<_> = returns.iter().filter_map(|back| back.resumed).collect();
    let mut resumed: Vec<_> = sessions.iter().map(|(at, _)| since(*at)).collect();
    resumed.sort_by(f64::total_cmp);
    let incomplete = sessions.iter().filter(|(_, how)| *how != Resumed::Complete).count();
    let missing = returns.len() - sessions.len();
    stage.found(count("clients cut at once", returns.len() as u64, None));
    stage.found(count("of these never resumed", missing as u64, Some(0)));
    stage.found(count("of these resumed with a gap, or as if they were new", incomplete as u64, Some(0)));
    if missing + incomplete > 0 {
        stage
            .act
            .troubles
            .push(format!("of {} clients {missing} did not resume, {incomplete} not completely", returns.len()));
    }
    let last = resumed.last().copied().unwrap_or_default();
    for (what, share) in [("half of them were resumed after", 0.5), ("99 % of them were resumed after", 0.99)] {
        stage.found(Finding::seconds(what, quantile(&resumed, share), None));
    }
    stage.found(Finding::seconds("the last of them was resumed after", last, Some(RESUMED_WITHIN)));

    let delivered: Vec<_> = returns.iter().filter_map(|back| back.delivered).map(since).collect();
    let mut replays: Vec<_> =
        returns.iter().filter_map(|back| Some(since(back.delivered?) - since(back.resumed?.0))).collect();
    replays.sort_by(f64::total_cmp);
    stage.found(Finding::seconds(
        "from a client's session until it had its backlog, 99 % of them",
        quantile(&replays, 0.99),
        None,
    ));
    let behind = delivered.iter().copied().fold(0.0, f64::max) - last;
    let what = "from the last session until the last backlog was delivered";
    stage.found(Finding::seconds(what, behind.max(0.0), Some(REPLAYED_WITHIN)));
}

/// Of sorted values.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let index = ((sorted.len() as f64 * share).ceil() as usize).clamp(1, sorted.len().max(1)) - 1;
    sorted.get(index).copied().unwrap_or_default().max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_the_value_that_so_many_are_not_above() {
        assert_eq!(quantile(&[], 0.5), 0.0);
        assert_eq!(quantile(&[3.0], 0.99), 3.0);
        let hundred: Vec<_> = (1..=100).map(f64::from).collect();
        assert_eq!((quantile(&hundred, 0.5), quantile(&hundred, 0.99), quantile(&hundred, 1.0)), (50.0, 99.0, 100.0));
    }
}
