//! Waits for the streams of a load, and does meanwhile what has its moment: ends the sending, looks at what it costs, tells
//! progress, takes samples.

use std::{sync::atomic::Ordering, time::Duration};

use tokio::{
    task::JoinSet,
    time::{Instant as Moment, Interval, MissedTickBehavior, interval_at, sleep_until},
};
use tokio_util::sync::CancellationToken;

use crate::{
    LoadProgress,
    cost::Watch,
    meter::{self, Measured},
    result::Sample,
    run::nanos,
    stream::Common,
    tally::Tally,
};

/// How often progress is told and a sample taken.
const SECOND: Duration = Duration::from_secs(1);
/// How often the memory of servers is looked at: what lasts shorter may be missed.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// When measuring begins, and when the sending ends by itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moments {
    /// When the first stream began, on the load's clock: the first progress tells of what was answered since.
    pub(crate) sending_since: Duration,
    pub(crate) measure_at: Moment,
    pub(crate) stop_at: Option<Moment>,
    /// How often a session is opened anew.
    pub(crate) reconnect_interval: Option<Duration>,
}

/// Returns when all streams have ended, with what they counted and measured.
pub(crate) async fn gather(
    streams: &mut JoinSet<Tally>,
    common: &Common,
    moments: Moments,
    watch: &mut Watch,
    interrupted: &CancellationToken,
    on_progress: &mut impl FnMut(LoadProgress),
) -> (Tally, Found) {
    let mut tally = Tally::default();
    let mut looking = Looking::new(common, moments.sending_since);
    let (mut ticks, mut looks) = (every_second(common), every(LOOK_INTERVAL));
    let mut measures = false;
    let mut churn = Churn::new(moments.reconnect_interval);
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
                    looking.look();
                    return (tally, looking.found);
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
            _ = ticks.tick() => on_progress(looking.look()),
            // The last, since much of it would leave no time for the rest.
            () = churn.next(), if !common.stop.is_cancelled() => churn.knock(common),
        }
    }
}

/// Tells one stream after the other to open its session anew.
#[derive(Debug)]
struct Churn {
    ticks: Option<Interval>,
    next: usize,
}

impl Churn {
    fn new(interval: Option<Duration>) -> Self {
        Self { ticks: interval.map(every), next: 0 }
    }

    /// Cancel safe.
    async fn next(&mut self) {
        match &mut self.ticks {
            Some(ticks) => drop(ticks.tick().await),
            None => std::future::pending().await,
        }
    }

    /// A stream that has not got to it yet is told once.
    fn knock(&mut self, common: &Common) {
        common.reconnects[self.next].notify_one();
        self.next = (self.next + 1) % common.reconnects.len();
    }
}

/// What was measured.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) total: Measured,
    pub(crate) samples: Vec<Sample>,
}

impl Found {
    pub(crate) fn new() -> Self {
        Self { total: Measured::new(), samples: Vec::new() }
    }
}

/// Looks at what is found.
#[derive(Debug)]
struct Looking<'a> {
    common: &'a Common,
    /// On the load's clock.
    began: Duration,
    looked: Duration,
    /// Until here everything is in a sample. From zero: measuring may have begun a moment before the first look.
    sampled: Duration,
    last: Measured,
    found: Found,
}

impl<'a> Looking<'a> {
    fn new(common: &'a Common, began: Duration) -> Self {
        Self { common, began, looked: began, sampled: Duration::ZERO, last: Measured::new(), found: Found::new() }
    }

    fn look(&mut self) -> LoadProgress {
        let Self { common, last, found, .. } = self;
        let now = common.base.elapsed();
        let before = std::mem::replace(&mut self.looked, now);
        common.meter.take(last);
        found.total.add(last);
        if let Some((from, time)) = common.measured_within(std::mem::replace(&mut self.sampled, now), now) {
            found.samples.push(Sample::new(common.base_since_1970 + from, time, last));
        }
        #[allow(clippy::cast_precision_loss)]
        let events_per_second = last.counts.answered as f64 / (now - before).as_secs_f64();
        LoadProgress {
            elapsed: now - self.began,
            answered: found.total.counts.answered,
            events_per_second,
            latency: meter::latency(&last.latencies),
            errors: found.total.counts.errors(),
            broken_streams: common.broken.load(Ordering::Relaxed),
        }
    }
}

/// Every second of the wall clock, so that samples of several load processes can be laid on top of each other.
fn every_second(common: &Common) -> Interval {
    let now = common.base_since_1970 + common.base.elapsed();
    let until_next = SECOND - Duration::from_nanos(now.subsec_nanos().into());
    let mut ticks = interval_at(Moment::now() + until_next, SECOND);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    ticks
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
