//! Runs a load from its first connection to its report.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use nimbus_proto::v1;
use tokio::{sync::Notify, task::JoinSet};
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

use crate::{
    Cost, Limit, LoadConfig, LoadError, LoadProgress, LoadReport, LoadResult, Protocol, SCHEMA,
    answers::Inputs,
    cost::Watch,
    gather::{Found, Moments, gather},
    idle::IdleStreams,
    meter::{Measured, Meter},
    pacer::Pacer,
    result::Latencies,
    stream::{
        Common, Lane,
        dialect::{Dialect, Original, V1},
        turns::Turns,
    },
    tally::Tally,
    transport,
};

/// What a slow reader takes before it says so: a server has to keep the rest.
const SLOW_RECEIVE_WINDOW: u32 = 16;
/// How many streams are opened at the same time.
const OPENING_AT_ONCE: usize = 64;

/// Runs a load to its end. `on_progress` is called once a second.
///
/// All connections and v1 sessions are open before the first event, unless there is a [ramp](LoadConfig::ramp), and before
/// anything is measured. After the end of sending, everything outstanding is waited for, and every stream must end with OK after its half-close. Cancel safe in that dropping it ends the load;
/// nothing is reported then.
///
/// # Errors
/// [`LoadError`], when it cannot begin. What goes wrong later is in the report.
pub async fn run(config: &LoadConfig, on_progress: impl FnMut(LoadProgress)) -> Result<LoadReport, LoadError> {
    Ok(run_until(config, CancellationToken::new(), on_progress).await?.report)
}

/// [`run`] that ends the sending when `interrupted` is cancelled: what is outstanding is still waited for, and the report
/// says that it was cut short. Interrupted before its streams are open, it reports nothing sent.
///
/// # Errors
/// Those of `run`.
pub async fn run_until(
    config: &LoadConfig,
    interrupted: CancellationToken,
    on_progress: impl FnMut(LoadProgress),
) -> Result<LoadResult, LoadError> {
    config.check()?;
    let inputs = Arc::new(Inputs::new(&config.kinds(), config.payload_bytes));
    match config.protocol {
        Protocol::Original => {
            let make = |_: &str, number| Original { stream: number as u64, inputs: Arc::clone(&inputs) };
            run_dialect(config, make, interrupted, on_progress).await
        }
        Protocol::V1 => {
            let make = |client_id: &str, number| V1 {
                hello: if number < config.slow_readers {
                    v1::Hello { receive_window: SLOW_RECEIVE_WINDOW, ..hello(client_id, config.window) }
                } else {
                    hello(client_id, config.window)
                },
                stream: number as u64,
                inputs: Arc::clone(&inputs),
            };
            run_dialect(config, make, interrupted, on_progress).await
        }
    }
}

pub(crate) fn hello(client_id: &str, window: usize) -> v1::Hello {
    v1::Hello {
        client_id: client_id.to_owned(),
        outbox_id: Bytes::copy_from_slice(&rand::random::<[u8; 16]>()),
        session_no: 1,
        first_unaccepted: 1,
        resume: None,
        // Room for twice what is outstanding, so that credit is never what is waited for, where the server grants it.
        receive_window: u32::try_from(window * 2).unwrap_or(u32::MAX).max(128),
        sdk: concat!("nimbus-loadtest/", env!("CARGO_PKG_VERSION")).to_owned(),
    }
}

async fn run_dialect<D: Dialect>(
    config: &LoadConfig,
    make: impl Fn(&str, usize) -> D,
    interrupted: CancellationToken,
    mut on_progress: impl FnMut(LoadProgress),
) -> Result<LoadResult, LoadError> {
    let common = Arc::new(Common {
        window: config.window,
        to: config.destination().endpoint()?,
        own_connections: config.connections >= config.streams,
        think: config.think,
        slow_readers: config.slow_readers,
        slow_pause: config.slow_pause,
        reconnects: if config.churn > 0.0 {
            (0..config.streams).map(|_| Notify::new()).collect()
        } else {
            Box::default()
        },
        token: config.token.clone(),
        drain_timeout: config.drain_timeout,
        stop: CancellationToken::new(),
        open_loop: config.rate.is_some(),
        base: Instant::now(),
        base_since_1970: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default(),
        measure_from: AtomicU64::new(u64::MAX),
        measure_until: AtomicU64::new(u64::MAX),
        meter: Meter::new(),
        broken: AtomicU64::new(0),
    });
    let mut watch = Watch::new(&config.server_pids)?;
    // Dropped together with this future.
    let mut streams = JoinSet::new();
    let mut opened = Vec::with_capacity(config.streams);
    let mut sending_since = None;
    let mut idle = tokio::select! {
        idle = async {
            // Beside the load there is nothing that a server would have to do at once.
            let idle = open_idle(config).await?;
            let begin = |lane: Lane<D>| match config.begins_one_by_one() {
                true => {
                    sending_since.get_or_insert_with(|| common.base.elapsed());
                    streams.spawn(lane.run());
                }
                false => opened.push(lane),
            };
            open(config, make, &common, begin).await?;
            Ok::<_, LoadError>(idle)
        } => idle?,
        () = interrupted.cancelled() => {
            let nothing = Tally { interrupted: true, ..Tally::default() };
            let report = nothing.report(config, &Measured::new(), Duration::ZERO, Cost::default());
            return Ok(result(config, &common, common.base.elapsed(), report, Found::new()));
        }
    };

    let from = common.base.elapsed() + config.warmup;
    common.measure_from.store(nanos(from), Ordering::Relaxed);
    let mut moments = Moments {
        sending_since: sending_since.unwrap_or_else(|| common.base.elapsed()),
        measure_at: tokio::time::Instant::now() + config.warmup,
        stop_at: None,
        reconnect_interval: (config.churn > 0.0).then(|| Duration::from_secs_f64(1.0 / config.churn)),
    };
    if let Limit::Duration(time) = config.limit {
        common.measure_until.store(nanos(from + time), Ordering::Relaxed);
        moments.stop_at = Some(moments.measure_at + time);
    }
    let _pacer = pace(config, &opened, nanos(from), common.base)?;
    for lane in opened {
        streams.spawn(lane.run());
    }
    let (mut tally, found) = gather(&mut streams, &common, moments, &mut watch, &interrupted, &mut on_progress).await;
    let until = Duration::from_nanos(common.measure_until.load(Ordering::Relaxed));
    let measured = match config.limit {
        Limit::Duration(time) if !tally.interrupted => time,
        Limit::Duration(_) | Limit::Events(_) => common.base.elapsed().min(until).saturating_sub(from),
    };
    idle.ended().into_iter().for_each(|why| tally.error(format!("an idle stream: {why}")));
    let cost = watch.cost(found.total.counts.measured, config.streams + config.idle);
    let report = tally.report(config, &found.total, measured, cost);
    Ok(result(config, &common, from, report, found))
}

fn result(config: &LoadConfig, common: &Common, from: Duration, report: LoadReport, found: Found) -> LoadResult {
    let since_1970 = common.base_since_1970 + from;
    LoadResult {
        schema: SCHEMA.to_owned(),
        measured_from_unix_ms: u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX),
        loads: vec![config.clone()],
        report,
        latencies: Latencies::of(&found.total.latencies),
        samples: found.samples,
    }
}

/// Gives the streams of an open loop their turns, and begins to wake them for these.
fn pace<D: Dialect>(
    config: &LoadConfig,
    lanes: &[Lane<D>],
    measure_from: u64,
    base: Instant,
) -> Result<Option<Pacer>, LoadError> {
    let Some(rate) = config.rate else { return Ok(None) };
    let begins = measure_from.saturating_sub(nanos(config.warmup));
    for (number, lane) in (0..).zip(lanes) {
        lane.take_turns(Turns::new(rate, lanes.len() as u64, number, begins), measure_from);
    }
    let feeds = lanes.iter().map(Lane::feed).collect();
    let last = config.events().unwrap_or(u64::MAX);
    Ok(Some(Pacer::spawn(feeds, Turns::of_all(rate, begins), last, base)?))
}

async fn open_idle(config: &LoadConfig) -> Result<IdleStreams, LoadError> {
    let prefix = format!("{}-idle", config.client_id_prefix);
    IdleStreams::open(&config.destination(), config.protocol, config.idle, &prefix, config.token.as_deref()).await
}

/// Opens all connections and streams, each at its time, and hands every stream to `begin` once it is open.
async fn open<D: Dialect>(
    config: &LoadConfig,
    make: impl Fn(&str, usize) -> D,
    common: &Arc<Common>,
    mut begin: impl FnMut(Lane<D>),
) -> Result<(), LoadError> {
    let shared: Vec<Channel> = stream::iter(0..if common.own_connections { 0 } else { config.connections })
        .map(|_| transport::connect(&common.to))
        .buffered(OPENING_AT_ONCE)
        .try_collect()
        .await?;
    let run_no: u32 = rand::random();
    let first_at = tokio::time::Instant::now();
    let lanes = (0..config.streams).map(|number| {
        let client_id = format!("{}-{run_no:08x}-{number}", config.client_id_prefix);
        let last = share(config.events(), config.streams as u64, number as u64);
        let dialect = make(&client_id, number);
        let shared = (!shared.is_empty()).then(|| shared[number % shared.len()].clone());
        async move {
            tokio::time::sleep_until(first_at + config.opens_after(number)).await;
            let channel = match shared {
                Some(channel) => channel,
                None => transport::connect(&common.to).await?,
            };
            let mut lane = Lane::new(Arc::clone(common), (number, last), dialect, channel, client_id);
            let opened = lane.open().await;
            opened.map_err(|status| LoadError::opening(&common.to.uri().to_string(), &status))?;
            Ok::<_, LoadError>(lane)
        }
    });
    let mut opening = stream::iter(lanes).buffered(OPENING_AT_ONCE);
    while let Some(lane) = opening.next().await {
        begin(lane?);
    }
    Ok(())
}

/// On the clock of a load.
pub(crate) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// The last event of one stream.
fn share(events: Option<u64>, streams: u64, number: u64) -> u64 {
    events.map_or(u64::MAX, |events| events / streams + u64::from(number < events % streams))
}
