//! Four clients that behave badly beside others that do not: what the others feel of it, what it costs in memory, and whether each of
//! the four can be seen in the metrics.

use std::collections::BTreeMap;

use anyhow::Context as _;

use super::{
    Counted, Finding,
    misfits::{Misfit, Misfits},
    stage::Stage,
};
use crate::{
    memory::{Memory, Watch},
    way::Way,
};

/// How much worse the p99 of the others may be.
const BOUND: f64 = 1.5;
/// What a process may grow by meanwhile: the sum of what its queues may hold by the list of them (docs/adr/0004), and the results that
/// wait for those who do not read them.
const GROWTH_MIB: f64 = 256.0;

/// Which metric shows whom: labels are closed sets, so it is the kind of behaviour that is counted, never a client.
const SHOWS: [(Misfit, &str); 8] = [
    (Misfit::NeverReader, r#"nimbus_streams_held_seconds_total{reason="window"}"#),
    (Misfit::Flooder, r#"nimbus_streams_held_seconds_total{reason="share"}"#),
    (Misfit::Flooder, r#"nimbus_streams_held_total{reason="turn"}"#),
    (Misfit::Flooder, r#"nimbus_streams_held_total{reason="in_flight"}"#),
    (Misfit::Flapper, r#"nimbus_streams_opened_total{protocol="v1"}"#),
    (Misfit::Flapper, "nimbus_streams_broken_total"),
    (Misfit::Poison, r#"nimbus_executor_dead_letters_total{reason="poison"}"#),
    (Misfit::Poison, r#"nimbus_executor_dead_letters_total{reason="panicked"}"#),
];

pub(super) async fn play(stage: &mut Stage<'_>) -> anyhow::Result<()> {
    let mut counters = vec![shown(stage).await?];
    let steady = stage.steady().await?;
    counters.push(shown(stage).await?);
    stage.say("four clients begin to behave badly");
    let watch = Watch::begin(stage.ground.pids());
    let way = Way::open(stage.ground.servers()).await?;
    let misfits = Misfits::loose(way.address(), &stage.run, stage.conditions.payload_bytes)?;
    let then = stage.window(stage.conditions.window).await;
    counters.push(shown(stage).await?);
    let (deeds, memory) = (misfits.deeds(), watch.end());
    misfits.end().await?;
    stage.compare("beside four clients that behave badly", steady, then?, BOUND);
    grown(stage, &memory);
    stage.act.memory = memory;
    for (misfit, metric) in SHOWS {
        let at = |look: usize| counters[look].get(metric).copied().unwrap_or_default();
        let (without, with) = (at(1) - at(0), at(2) - at(1));
        let metric = metric.to_owned();
        stage.act.counted.push(Counted { misfit, did: deeds[&misfit], metric, without, with });
    }
    for misfit in Misfit::ALL {
        let seen = stage.act.counted.iter().any(|counted| counted.misfit == misfit && counted.with > counted.without);
        if !seen {
            stage.act.troubles.push(format!("nothing in the metrics shows the {}", misfit.name()));
        }
    }
    Ok(())
}

/// The counters that show the misfits, of all processes together.
async fn shown(stage: &Stage<'_>) -> anyhow::Result<BTreeMap<&'static str, f64>> {
    let mut sums = BTreeMap::new();
    for (name, process) in stage.ground.processes() {
        let metrics = process.metrics().await.with_context(|| format!("the metrics of {name}"))?;
        for (_, metric) in SHOWS {
            // Each role counts what it does.
            *sums.entry(metric).or_default() += metrics.get(metric).unwrap_or_default();
        }
    }
    Ok(sums)
}

fn grown(stage: &mut Stage<'_>, memory: &[Memory]) {
    for Memory { process, before_mib, max_mib, .. } in memory {
        let what = format!("memory of {process}: growth at most");
        stage.found(Finding::mib(&what, max_mib - before_mib, GROWTH_MIB));
    }
}
