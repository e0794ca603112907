//! Waits for the streams of a load, and does meanwhile what has its moment: ends the sending, looks at what it costs, tells
//! progress.

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use tokio::{
    task::JoinSet,
    time::{Instant as Moment, Interval, interval_at, sleep_until},
};
use tokio_util::sync::CancellationToken;

use crate::{LoadProgress, cost::Watch, report::Tally, run::nanos, stream::Common};

/// How often progress is told.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);
/// How often the memory of servers is looked at: what lasts shorter may be missed.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// When measuring begins, and when the sending ends by itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moments {
    pub(crate) measure_at: Moment,
    pub(crate) stop_at: Option<Moment>,
}

/// Returns when all streams have ended.
pub(crate) async fn gather(
    streams: &mut JoinSet<Tally>,
    common: &Common,
    moments: Moments,
    watch: &mut Watch,
    interrupted: &CancellationToken,
    on_progress: &mut impl FnMut(LoadProgress),
) -> Tally {
    let mut tally = Tally::new();
    let began = Instant::now();
    let mut last = (Duration::ZERO, 0);
    let (mut ticks, mut looks) = (every(PROGRESS_INTERVAL), every(LOOK_INTERVAL));
    let mut measures = false;
    loop {
        tokio::select! {
            // In this order: measuring that takes no time ends after it has begun.
            biased;
            () = sleep_until(moments.measure_at), if !measures => {
                measures = true;
                watch.begin();
            }
            joined = streams.join_next() => match joined {
                None => {
                    watch.end();
                    return tally;
                }
                Some(Ok(more)) => tally.add(more),
                Some(Err(error)) => tally.error(format!("a stream panicked: {error}")),
            },
            () = at(moments.stop_at), if !common.stop.is_cancelled() => {
                watch.end();
                common.stop.cancel();
            }
            () = interrupted.cancelled(), if !common.stop.is_cancelled() => {
                tally.interrupted = true;
                common.measure_until.fetch_min(nanos(common.base.elapsed()), Ordering::Relaxed);
                watch.end();
                common.stop.cancel();
            }
            _ = looks.tick() => watch.look(),
            _ = ticks.tick() => {
                let (elapsed, answered) = (began.elapsed(), common.answered.load(Ordering::Relaxed));
                #[allow(clippy::cast_precision_loss)]
                let rate = (answered - last.1) as f64 / (elapsed - last.0).as_secs_f64();
                last = (elapsed, answered);
                on_progress(LoadProgress {
                    elapsed,
                    answered,
                    events_per_second: rate,
                    broken_streams: common.broken.load(Ordering::Relaxed),
                });
            }
        }
    }
}

fn every(period: Duration) -> Interval {
    interval_at(Moment::now() + period, period)
}

async fn at(moment: Option<Moment>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}
