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

use crate::{
    LoadProgress,
    cost::Watch,
    meter::{self, Measured},
    run::nanos,
    stream::Common,
    tally::Tally,
};

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

/// Returns when all streams have ended, with what they counted and measured.
pub(crate) async fn gather(
    streams: &mut JoinSet<Tally>,
    common: &Common,
    moments: Moments,
    watch: &mut Watch,
    interrupted: &CancellationToken,
    on_progress: &mut impl FnMut(LoadProgress),
) -> (Tally, Measured) {
    let mut tally = Tally::default();
    let mut looking = Looking::new();
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
                    looking.look(common);
                    return (tally, looking.total);
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
            _ = ticks.tick() => on_progress(looking.look(common)),
        }
    }
}

/// What was found so far, and at the last look.
#[derive(Debug)]
struct Looking {
    began: Instant,
    looked: Duration,
    last: Measured,
    total: Measured,
}

impl Looking {
    fn new() -> Self {
        Self { began: Instant::now(), looked: Duration::ZERO, last: Measured::new(), total: Measured::new() }
    }

    fn look(&mut self, common: &Common) -> LoadProgress {
        let elapsed = self.began.elapsed();
        let before = std::mem::replace(&mut self.looked, elapsed);
        common.meter.take(&mut self.last);
        self.total.add(&self.last);
        #[allow(clippy::cast_precision_loss)]
        let events_per_second = self.last.counts.answered as f64 / (elapsed - before).as_secs_f64();
        LoadProgress {
            elapsed,
            answered: self.total.counts.answered,
            events_per_second,
            latency: meter::latency(&self.last.latencies),
            errors: self.total.counts.errors(),
            broken_streams: common.broken.load(Ordering::Relaxed),
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
