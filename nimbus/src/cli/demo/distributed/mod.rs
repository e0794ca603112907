//! `nimbus demo distributed`, which is what `make run-distributed` runs: two servers and two consumers over Kafka and
//! Redis, clients of the SDK, kills whenever somebody asks for them (`make kill-one`), and a verdict that can fail.
//!
//! It leaves its topics and keys, which have names of their own, in Kafka and Redis: retention removes the records.

mod balancer;
mod clients;
mod fleet;
mod screen;
mod state;

use std::{path::PathBuf, pin::pin, sync::atomic::Ordering, time::Duration};

use clap::Args;
use tokio::time::{Instant, MissedTickBehavior, sleep_until};
use tokio_util::sync::CancellationToken;

use self::{
    clients::{CLIENTS, Clients},
    fleet::{Fleet, OF_EACH},
    screen::Screen,
    state::{State, kill_one_of_each},
};
use super::{Scratch, verdict::Verdict};
use crate::{
    compose::Role,
    exit::{Exit, Failure, OrExit},
};

/// How often processes are looked at.
const TICK: Duration = Duration::from_millis(100);
/// Beyond this a start or the last answers hang.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug, Args)]
pub(crate) struct DistributedArgs {
    /// Kafka's brokers, as host:port,…
    #[arg(long, default_value = "127.0.0.1:9092")]
    kafka: String,
    /// Redis, as host:port
    #[arg(long, default_value = "127.0.0.1:6379")]
    redis: String,
    /// Ends by itself after so many seconds, and kills one of each in the middle
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(2..))]
    seconds: Option<u64>,
    #[command(flatten)]
    file: StateFile,
}

/// Where the processes of a running demonstration are noted.
#[derive(Debug, Args)]
pub(crate) struct StateFile {
    /// Where the processes of a running demonstration are noted
    #[arg(long, value_name = "FILE", default_value = "target/run-distributed.json")]
    state: PathBuf,
}

/// Kills one server and one consumers process of a running demonstration.
pub(crate) fn kill_one(file: &StateFile) -> Result<Exit, Failure> {
    let mut screen = Screen::new();
    for killed in kill_one_of_each(&file.state)? {
        screen.say(&killed)?;
    }
    Ok(Exit::Done)
}

/// Runs until ctrl-c or for so many seconds, and says what became of every event.
pub(crate) async fn run(args: DistributedArgs, interrupted: CancellationToken) -> Result<Exit, Failure> {
    if args.kafka.is_empty() || args.redis.is_empty() {
        return Err(Failure::new(Exit::Unavailable, "this needs Kafka and Redis; why they are missing stands above"));
    }
    let file = &args.file.state;
    if State::running(file)?.is_some() {
        let message = format!("another demonstration runs: {} names its processes", file.display());
        return Err(Failure::new(Exit::Unavailable, message));
    }
    let directory = Scratch::new().or_exit(Exit::Io)?;
    let mut screen = Screen::new();
    let style = screen.style;
    let title =
        format!("{OF_EACH} servers and {OF_EACH} consumers start, over Kafka {} and Redis {}", args.kafka, args.redis);
    screen.say(&style.bold(&title))?;
    let fleet = Fleet::start(directory.path(), settings(&args));
    let fleet = tokio::select! {
        fleet = tokio::time::timeout(PATIENCE, fleet) => match fleet {
            Ok(fleet) => fleet?,
            Err(_) => return Err(Failure::new(Exit::Unavailable, format!("they are not ready after {PATIENCE:?}"))),
        },
        () = interrupted.cancelled() => return Ok(Exit::Interrupted),
    };
    fleet.state().write(file)?;
    let outcome = show(&args, &mut screen, fleet, directory.path(), interrupted).await;
    let removed = std::fs::remove_file(file);
    let verdict = outcome?;
    screen.say(&format!("\n{verdict}"))?;
    match removed {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error).or_exit(Exit::Io),
        _ => {}
    }
    Ok(if verdict.is_good() { Exit::Done } else { Exit::Failed })
}

async fn show(
    args: &DistributedArgs,
    screen: &mut Screen,
    mut fleet: Fleet,
    directory: &std::path::Path,
    interrupted: CancellationToken,
) -> Result<Verdict, Failure> {
    let style = screen.style;
    let mut clients = Clients::start(fleet.balancer.address, directory).await?;
    screen.say(&format!("{CLIENTS} clients send numbers to `sq`, half of them to each server"))?;
    let kill = match args.seconds {
        Some(seconds) => format!("it ends after {seconds} seconds; one of each is killed in the middle"),
        None => format!("in another terminal, {} kills one of each; ctrl-c ends it", style.bold("make kill-one")),
    };
    screen.say(&format!("{kill}\n"))?;

    let (began, mut verdict) = (Instant::now(), Verdict::default());
    let (mut killed, mut patience) = (false, pin!(sleep_until(began)));
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let stopping = clients.stop.is_cancelled();
        tokio::select! {
            books = clients.next() => match books? {
                Some(books) if stopping => verdict.add(&books),
                Some(_) => return Err(Failure::new(Exit::Failed, "a client ended by itself")),
                None => break,
            },
            () = interrupted.cancelled(), if !stopping => clients.stop.cancel(),
            () = &mut patience, if stopping => {
                return Err(Failure::new(Exit::Failed, format!("answers are still missing after {PATIENCE:?}")));
            }
            _ = tick.tick() => {}
        }
        let news = fleet.look().await?;
        for line in &news {
            screen.say(&format!("   {}", style.bold(line)))?;
        }
        if !news.is_empty() {
            fleet.state().write(&args.file.state)?;
        }
        if let Some(seconds) = args.seconds.map(Duration::from_secs) {
            if !killed && began.elapsed() >= seconds / 2 {
                killed = true;
                for line in kill_one_of_each(&args.file.state)? {
                    screen.say(&format!("   {}", style.bold(&line)))?;
                }
            }
            // Not before both are back.
            if began.elapsed() >= seconds && fleet.revived >= 2 {
                clients.stop.cancel();
            }
        }
        if !stopping && clients.stop.is_cancelled() {
            patience.as_mut().reset(Instant::now() + PATIENCE);
            screen.say("nothing is sent any more; what is outstanding is waited for")?;
        }
        screen.progress(&progress(&fleet, &clients, began.elapsed()))?;
    }
    fleet.stop().await?;
    Ok(verdict)
}

fn progress(fleet: &Fleet, clients: &Clients, elapsed: Duration) -> String {
    let (sent, answered) = (&clients.progress.sent, &clients.progress.answered);
    let connections: Vec<_> = fleet.balancer.open().iter().map(ToString::to_string).collect();
    format!(
        "   {:>4} s   sent {:>7}   answered {:>7}   servers {} (clients {})   consumers {}",
        elapsed.as_secs(),
        sent.load(Ordering::Relaxed),
        answered.load(Ordering::Relaxed),
        fleet.up(Role::Server),
        connections.join(" + "),
        fleet.up(Role::Consumers),
    )
}

/// What every process is told: names of its own for this run, and silences short enough to be watched.
fn settings(args: &DistributedArgs) -> Vec<(&'static str, String)> {
    let name = format!("nimbus-demo-{}", ulid::Ulid::generate().to_string().to_lowercase());
    vec![
        ("NIMBUS_PORT", "0".to_owned()),
        ("NIMBUS_ADMIN_ADDR", "off".to_owned()),
        ("NIMBUS_LOG", "error".to_owned()),
        ("NIMBUS_PARTITIONS", "4".to_owned()),
        ("NIMBUS_KAFKA_BROKERS", args.kafka.clone()),
        ("NIMBUS_KAFKA_EVENTS_TOPIC", format!("{name}-events")),
        ("NIMBUS_KAFKA_RESULTS_TOPIC", format!("{name}-results")),
        ("NIMBUS_KAFKA_DLQ_TOPIC", format!("{name}-dlq")),
        ("NIMBUS_KAFKA_GROUP_PREFIX", name.clone()),
        // The least that a broker takes unless it is told otherwise.
        ("NIMBUS_KAFKA_SESSION_TIMEOUT", "6s".to_owned()),
        ("NIMBUS_REDIS_ADDRESS", args.redis.clone()),
        ("NIMBUS_REDIS_KEY_PREFIX", name.clone()),
        ("NIMBUS_REDIS_EVENTS_CHANNEL", name),
    ]
}
