//! The producer of the process: idempotent, without a timeout, and given up after its first failure.
//!
//! After a record that could not be stored nothing behind it may be, so a producer that failed takes nothing any more; what
//! it has is purged, and a new one takes its place; only then the failures are told (`reports.rs`). Until then appends are
//! refused with nothing stored.

use std::{
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant, SystemTime},
};

use nimbus_core::ports::log::{Appending, LogError, TooLarge};
use rdkafka::{
    ClientConfig, ClientContext, Message as _,
    config::RDKafkaLogLevel,
    error::KafkaError,
    message::DeliveryResult,
    producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext, PurgeConfig},
    types::RDKafkaErrorCode,
    util::millis_to_epoch,
};
use tracing::{error, warn};

use crate::{
    KafkaAdmin, KafkaConfig, append::Append, appender::Fence, blocking, budget::Budget, client::log_line, fault,
    metrics::Metrics, parcel::Parcel, reports::Accounts, sizes::Sizes,
};

/// How long the thread takes answers before it looks around: for a failed producer, or the end. Not shorter, and not a whole number of
/// milliseconds: the library waits in whole ones, and spends what is left of the last one asking the clock whether it is over (rdkafka
/// 0.39, `BaseProducer::poll`). So nothing is left of an idle turn, and half a millisecond on average of one in which something came.
const TURN: Duration = Duration::from_micros(100_050);
/// How long answers to purged records may take; they are made locally.
const PURGE_LIMIT: Duration = Duration::from_secs(5);
/// Until a producer that could not be made is tried again.
const REBUILD_PAUSE: Duration = Duration::from_secs(1);

/// Takes the broker's answers.
struct Answers {
    failed: Arc<AtomicBool>,
    too_large: Arc<AtomicBool>,
    metrics: Metrics,
}

impl ClientContext for Answers {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        log_line(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.metrics.broker_errors.inc();
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::Fatal) {
            self.failed.store(true, Ordering::Release);
        }
        warn!(%error, reason, "trouble with a broker while appending");
    }
}

impl ProducerContext for Answers {
    type DeliveryOpaque = Arc<Append>;

    fn delivery(&self, result: &DeliveryResult<'_>, append: Arc<Append>) {
        match result {
            Ok(message) => append.record_stored(message.offset()),
            Err((error, _)) => {
                let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail);
                if fault::is_too_large(code) {
                    self.too_large.store(true, Ordering::Release);
                }
                // Before anybody hears of it: nothing that is appended from now on lands.
                self.failed.store(true, Ordering::Release);
                append.record_failed(code);
            }
        }
    }
}

/// One producer of librdkafka, until it fails.
struct Line {
    native: BaseProducer<Answers>,
    failed: Arc<AtomicBool>,
    /// A topic takes less than it did.
    too_large: Arc<AtomicBool>,
}

impl Line {
    fn open(config: &ClientConfig, metrics: &Metrics) -> Result<Self, KafkaError> {
        let failed = Arc::new(AtomicBool::new(false));
        let too_large = Arc::new(AtomicBool::new(false));
        let (also_failed, also_too_large) = (Arc::clone(&failed), Arc::clone(&too_large));
        let answers = Answers { failed: also_failed, too_large: also_too_large, metrics: metrics.clone() };
        Ok(Self { native: config.create_with_context(answers)?, failed, too_large })
    }

    fn failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    /// Answers everything that is on its way, whatever became of it.
    fn purge(&self) {
        self.native.purge(PurgeConfig::default().queue().inflight());
        let deadline = Instant::now() + PURGE_LIMIT;
        while self.native.in_flight_count() > 0 && Instant::now() < deadline {
            self.native.poll(Duration::from_millis(1));
        }
    }
}

/// The producer of the process.
pub(crate) struct Producer {
    config: KafkaConfig,
    sizes: Sizes,
    /// To ask the topics for their limits again.
    admin: KafkaAdmin,
    /// `None`: being made again, or closed.
    line: RwLock<Option<Arc<Line>>>,
    accounts: Arc<Accounts>,
    closing: AtomicBool,
    closed: AtomicBool,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl std::fmt::Debug for Producer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Producer").field("accounts", &self.accounts).finish_non_exhaustive()
    }
}

impl Producer {
    pub(crate) fn open(
        config: KafkaConfig,
        sizes: Sizes,
        admin: KafkaAdmin,
        metrics: Metrics,
    ) -> Result<Arc<Self>, crate::OpenError> {
        let refused = |error: KafkaError| crate::OpenError::Config(fault::settings(&error));
        let line = Line::open(&config.producer(sizes.get()), &metrics).map_err(refused)?;
        let queue_bytes = config.append_queue_bytes;
        let producer = Arc::new(Self {
            config,
            sizes,
            admin,
            line: RwLock::new(Some(Arc::new(line))),
            accounts: Arc::new(Accounts::new(Budget::new(queue_bytes, metrics.queue_bytes.clone()), metrics)),
            closing: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            thread: Mutex::default(),
        });
        let running = Arc::clone(&producer);
        let thread = std::thread::Builder::new().name("kafka-append".to_owned()).spawn(move || running.run())?;
        *producer.thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread);
        Ok(producer)
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.accounts.metrics
    }

    pub(crate) fn sizes(&self) -> &Sizes {
        &self.sizes
    }

    pub(crate) async fn ready(&self) {
        self.accounts.budget.ready().await;
    }

    /// Whether a record of this append could never be stored.
    pub(crate) fn check(&self, parcel: &Parcel) -> Result<(), LogError> {
        let too_large = |found: TooLarge| LogError::Full(format!("a record cannot be stored: {found}"));
        self.sizes.check(parcel.topic, parcel.largest()).map_err(too_large)
    }

    /// Enqueues an append of its own.
    pub(crate) fn append(&self, parcel: &Parcel) -> Appending {
        let (append, appending) = self.begin(parcel, None);
        if let Err((records, error)) = self.send(parcel, &append) {
            append.cut_off(records, error);
        }
        appending
    }

    pub(crate) fn begin(&self, parcel: &Parcel, fence: Option<Arc<Fence>>) -> (Arc<Append>, Appending) {
        Append::new(parcel, &self.accounts, fence)
    }

    /// Hands the records to librdkafka, in order. `Err`: so many of the last ones did not go out; to be told to the append
    /// when no lock is held.
    pub(crate) fn send(&self, parcel: &Parcel, append: &Arc<Append>) -> Result<(), (usize, LogError)> {
        // Held over all records: in between the producer is not exchanged.
        let line = self.line.read().unwrap_or_else(PoisonError::into_inner);
        let usable = line.as_ref().filter(|line| !line.failed());
        let Some(line) = usable else { return Err((parcel.len(), self.not_now())) };
        let topic = self.config.topics.of(parcel.topic);
        let partition = parcel.partition.0.cast_signed();
        // One for all: the library would ask for the date for each record.
        let now = millis_to_epoch(SystemTime::now());
        for (sent, (key, value)) in parcel.records().enumerate() {
            let mut record = BaseRecord::with_opaque_to(topic, Arc::clone(append)).partition(partition).timestamp(now);
            record.headers = parcel.headers(sent).cloned();
            if let Err((error, _)) = line.native.send(record.key(key).payload(value)) {
                let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail);
                if sent > 0 {
                    // Its beginning may land: nothing may land behind it.
                    line.failed.store(true, Ordering::Release);
                }
                return Err((parcel.len() - sent, fault::refused(code)));
            }
        }
        Ok(())
    }

    fn not_now(&self) -> LogError {
        if self.closing.load(Ordering::Relaxed) {
            LogError::Closed
        } else {
            LogError::Unavailable("an earlier append failed; nothing of this one was stored".to_owned())
        }
    }

    fn current(&self) -> Option<Arc<Line>> {
        self.line.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn exchange(&self, line: Option<Arc<Line>>) -> Option<Arc<Line>> {
        std::mem::replace(&mut *self.line.write().unwrap_or_else(PoisonError::into_inner), line)
    }

    fn run(&self) {
        while !self.closed.load(Ordering::Acquire) {
            match self.current() {
                Some(line) if !line.failed() => line.native.poll(TURN),
                _ => self.rebuild(),
            }
            if !self.current().is_some_and(|line| line.failed()) {
                self.accounts.tell();
            }
        }
        if let Some(line) = self.exchange(None) {
            line.purge();
        }
        self.accounts.tell();
    }

    fn rebuild(&self) {
        if let Some(line) = self.exchange(None) {
            let fatal = line.native.client().fatal_error().map(|(_, reason)| reason);
            warn!(reason = fatal.as_deref().unwrap_or("an append failed"), "the producer is given up and made again");
            line.purge();
            if line.too_large.load(Ordering::Acquire) {
                self.ask_for_sizes();
            }
        }
        if self.closing.load(Ordering::Acquire) {
            std::thread::sleep(TURN);
            return;
        }
        match Line::open(&self.config.producer(self.sizes.get()), self.metrics()) {
            Ok(line) => {
                self.metrics().producer_rebuilds.inc();
                self.exchange(Some(Arc::new(line)));
            }
            Err(error) => {
                error!(%error, "cannot make a producer, trying again");
                std::thread::sleep(REBUILD_PAUSE);
            }
        }
    }

    /// Before the failure is told: whoever comes again is to be refused by the new limit, and not to fail once more.
    fn ask_for_sizes(&self) {
        match blocking::wait(self.admin.max_record_bytes()) {
            Ok(most) => {
                warn!(?most, "a topic takes smaller records than before; larger ones are refused from now on");
                self.sizes.set(most);
            }
            Err(error) => warn!(%error, "the topics cannot be asked for the largest record that they take"),
        }
    }

    /// Waits until everything is answered, at most that long; what is left then is answered as ambiguous. Takes nothing
    /// any more. Says whether nothing was left.
    pub(crate) fn close(&self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        self.closing.store(true, Ordering::Release);
        // From here on `send` finds nothing; the line is kept alive, and polled, below.
        let line = self.exchange(None);
        let mut settled = true;
        if let Some(line) = line {
            while line.native.in_flight_count() > 0 && Instant::now() < deadline && !line.failed() {
                line.native.poll(Duration::from_millis(2));
            }
            settled = line.native.in_flight_count() == 0;
            line.purge();
        }
        self.closed.store(true, Ordering::Release);
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.accounts.tell();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            error!("the appending thread panicked");
        }
        settled
    }
}
