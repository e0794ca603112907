//! An executor that does as the payload says, and counts.

use std::collections::HashMap;

use super::*;

/// Payloads: `now`, `later MS`, `hang`, `transient N` (fails N times), `poison`, `reject`, `panic`, `panic-later`,
/// `panic-drop`, `parts N`, `big N`, `big-part N`, `retry-parts`.
#[derive(Debug, Clone)]
pub(super) struct Probe {
    name: &'static str,
    lane: Lane,
    time_limit: Duration,
    pure: bool,
    seen: Arc<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    runs: Mutex<HashMap<String, u32>>,
    running: Mutex<HashMap<String, u32>>,
    most: AtomicUsize,
    overlapped: AtomicU32,
}

/// Counts an attempt as under way.
struct Under<'a>(&'a Seen, String);

impl<'a> Under<'a> {
    fn way(seen: &'a Seen, client: String) -> Self {
        let mut running = seen.running.lock().unwrap();
        let mine = running.entry(client.clone()).or_default();
        *mine += 1;
        if *mine > 1 {
            seen.overlapped.fetch_add(1, Ordering::Relaxed);
        }
        seen.most.fetch_max(running.values().sum::<u32>() as usize, Ordering::Relaxed);
        Self(seen, client)
    }
}

impl Drop for Under<'_> {
    fn drop(&mut self) {
        *self.0.running.lock().unwrap().get_mut(&self.1).unwrap() -= 1;
    }
}

struct PanicsWhenDropped;

impl Drop for PanicsWhenDropped {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            panic!("dropped");
        }
    }
}

impl Probe {
    pub(super) fn new(name: &'static str) -> Self {
        Self { name, lane: Lane::Ordered, time_limit: Duration::from_secs(30), pure: false, seen: Arc::default() }
    }

    /// One that says that it has no effect but its outcome.
    pub(super) fn pure(name: &'static str) -> Self {
        Self { pure: true, time_limit: Duration::from_secs(100_000), ..Self::new(name) }
    }

    pub(super) fn jobs(name: &'static str) -> Self {
        Self { lane: Lane::Jobs, time_limit: Duration::from_secs(100_000), ..Self::new(name) }
    }

    /// How often an event was attempted.
    pub(super) fn runs(&self, client: &str, seq: u64) -> u32 {
        self.seen.runs.lock().unwrap().get(&format!("{client}/{seq}")).copied().unwrap_or(0)
    }

    /// The most attempts that were under way at one time.
    pub(super) fn most(&self) -> usize {
        self.seen.most.load(Ordering::Relaxed)
    }

    /// How often two attempts of one client were under way at one time.
    pub(super) fn overlapped(&self) -> u32 {
        self.seen.overlapped.load(Ordering::Relaxed)
    }

    async fn later(&self, job: Job<'_>, word: &str, number: u64) -> Result<Output, ExecutorError> {
        let _under = Under::way(&self.seen, job.event.origin.client.to_string());
        let output = |text: String| Output::new(text, ContentType::default());
        match word {
            // sleep: its tests pause the clock.
            "later" => tokio::time::sleep(Duration::from_millis(number)).await,
            "panic-later" => {
                tokio::task::yield_now().await;
                panic!("later");
            }
            "panic-drop" => {
                let _bomb = PanicsWhenDropped;
                std::future::pending::<()>().await;
            }
            "parts" => {
                for part in 1..=number {
                    job.parts.emit(InterimKind::Part, output(part.to_string())).await;
                }
            }
            "retry-parts" => {
                job.parts.emit(InterimKind::Log, output(format!("try {}", job.attempt))).await;
                if job.attempt == 1 {
                    return Err(ExecutorError::Transient("once".to_owned()));
                }
            }
            "big-part" => job.parts.emit(InterimKind::Part, output("x".repeat(number as usize))).await,
            _ => std::future::pending().await,
        }
        Ok(output(word.to_owned()))
    }
}

impl Executor for Probe {
    fn name(&self) -> &str {
        self.name
    }

    fn lane(&self) -> Lane {
        self.lane
    }

    fn time_limit(&self) -> Duration {
        self.time_limit
    }

    fn is_pure(&self) -> bool {
        self.pure
    }

    fn run<'a>(&'a self, job: Job<'a>) -> Run<'a> {
        let event = job.event;
        *self.seen.runs.lock().unwrap().entry(format!("{}/{}", event.origin.client, event.seq)).or_default() += 1;
        let payload = str::from_utf8(&event.payload).unwrap();
        let (word, number) = payload.split_once(' ').unwrap_or((payload, "0"));
        let number: u64 = number.parse().unwrap();
        let done = |text: String| Ok(Output::new(text, ContentType::default()));
        match word {
            "now" => Run::Now(done("now".to_owned())),
            "transient" if u64::from(job.attempt) <= number => {
                Run::Now(Err(ExecutorError::Transient("not yet".to_owned())))
            }
            "transient" => Run::Now(done(format!("attempt {}", job.attempt))),
            "poison" => Run::Now(Err(ExecutorError::Poison("secret".to_owned()))),
            "reject" => Run::Now(Err(ExecutorError::rejected(nimbus_core::Reason::InvalidPayload, "no"))),
            "panic" => panic!("at once"),
            "big" => Run::Now(done("x".repeat(number as usize))),
            word => Run::later(self.later(job, word, number)),
        }
    }
}
