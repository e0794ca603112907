//! All scenarios that were asked for, one after the other, each on an installation of its own.

use std::{
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::Context as _;
use tokio_util::sync::CancellationToken;

use super::{Act, Conditions, On, Scenario, Scenarios, isolation, misfits::Misfit, roll, stage::Stage, storm};
use crate::{News, files};

/// Plays to the end, or until `interrupted`; then with what there is by then. The report is returned and nothing of it is written; logs
/// and data of all processes are in the directory that it names.
///
/// # Errors
/// There may not be so many open files, or an installation could not be started: nothing was found out about it.
pub async fn play(
    conditions: &Conditions,
    interrupted: &CancellationToken,
    mut tell: impl FnMut(News<'_>),
) -> anyhow::Result<Scenarios> {
    let crowd = if conditions.scenarios.contains(&Scenario::Storm) { conditions.crowd } else { 0 };
    files::allow((crowd + conditions.clients) as u64)?;
    let began = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let directory = work_directory(&conditions.out, began)?;
    let mut report = Scenarios::new(conditions, began, directory.clone());
    let acts = conditions.acts();
    for (number, (scenario, on)) in acts.iter().enumerate() {
        let done = number as f64 / acts.len() as f64;
        let place = directory.join(format!("{scenario}-{on}"));
        let act = act(conditions, (*scenario, *on), &place, done, interrupted, &mut tell).await;
        report.acts.extend(act.with_context(|| format!("{scenario}, {on}; logs are in {}", place.display()))?);
        if interrupted.is_cancelled() {
            report.interrupted = true;
            break;
        }
    }
    Ok(report)
}

async fn act(
    conditions: &Conditions,
    (scenario, on): (Scenario, On),
    directory: &Path,
    done: f64,
    interrupted: &CancellationToken,
    tell: &mut dyn FnMut(News<'_>),
) -> anyhow::Result<Option<Act>> {
    let clients = match scenario {
        Scenario::Roll | Scenario::Storm => conditions.clients,
        Scenario::Isolation => conditions.clients.saturating_sub(Misfit::ALL.len()),
    };
    let setting = Stage::set(conditions, (scenario, on), clients, directory, done, tell);
    let mut stage = tokio::select! {
        stage = setting => stage?,
        () = interrupted.cancelled() => return Ok(None),
    };
    let playing = async {
        stage.settle().await?;
        match scenario {
            Scenario::Roll => roll::play(&mut stage).await,
            Scenario::Storm => storm::play(&mut stage).await,
            Scenario::Isolation => isolation::play(&mut stage).await,
        }
    };
    let is_cut_short = tokio::select! {
        played = playing => {
            if let Err(error) = played {
                stage.act.troubles.push(format!("{error:#}"));
            }
            false
        }
        () = interrupted.cancelled() => true,
    };
    stage.say("waiting for the last answers");
    stage.close(directory, is_cut_short).await.map(Some)
}

/// Where logs and data of this run go.
fn work_directory(out: &Path, began: Duration) -> anyhow::Result<PathBuf> {
    let path = out.join(format!("scenarios-{}", began.as_secs()));
    std::fs::create_dir_all(&path).with_context(|| format!("{} cannot be made", path.display()))?;
    path.canonicalize().with_context(|| format!("{} is not there", path.display()))
}
