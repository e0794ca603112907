//! The handle that applications hold.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use bytes::Bytes;
use tokio::{
    sync::{Mutex, oneshot, watch},
    task::JoinHandle,
};

use crate::{
    Answer, Builder, Departures, Error, Event, Incoming, Seq, State,
    shared::{Progress, Shared},
};

/// A connection to Nimbus that stays: it reconnects by itself, resumes, and hands everything over once.
///
/// Cheap to clone; all clones are one client. One task runs behind it, from `connect` until [`close`](Self::close), the
/// end of [`finish`](Self::finish), or the drop of the last clone.
///
/// Dropping the last clone stops the client without acknowledging what [`recv`](Self::recv) handed out last: with a file
/// outbox that comes again after a restart. Call `close` to acknowledge it.
#[derive(Debug, Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    shared: Arc<Shared>,
    outbox_id: Bytes,
    /// One receiver at a time.
    turn: Mutex<()>,
    task: Mutex<Option<JoinHandle<()>>>,
    closed: AtomicBool,
}

/// Names one item that [`Client::recv_unacked`] handed out, and so everything before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Receipt(u64);

/// What a client that was closed left behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Remains {
    /// Events that no server has accepted: gone with a memory outbox, sent after a restart with a file outbox.
    pub unaccepted: u64,
    /// Events, those included, that have no outcome yet.
    pub unanswered: u64,
}

impl Client {
    /// Begins to describe a client for the server at `address`, such as `http://127.0.0.1:50051`.
    pub fn builder(address: impl Into<String>) -> Builder {
        Builder::new(address.into())
    }

    pub(crate) fn new(shared: Arc<Shared>, outbox_id: Bytes, task: JoinHandle<()>) -> Self {
        let inner = Inner {
            shared,
            outbox_id,
            turn: Mutex::new(()),
            task: Mutex::new(Some(task)),
            closed: AtomicBool::new(false),
        };
        Self { inner: Arc::new(inner) }
    }

    fn shared(&self) -> &Shared {
        &self.inner.shared
    }

    /// The random id within which this client's event numbers count: (client id, outbox id, number) names an event for
    /// good.
    pub fn outbox_id(&self) -> &Bytes {
        &self.inner.outbox_id
    }

    /// Puts one event into the outbox and returns its number. Events are sent in the order of their numbers.
    ///
    /// It is not on a server when this returns, see [`accepted`](Self::accepted). With a file outbox it is on disk by
    /// then; with a memory outbox it is lost if the process ends before it is accepted.
    ///
    /// Waits while the outbox holds as many unaccepted events as it may: that is the back-pressure of the server and of
    /// the network. Also waits for the disk with a file outbox.
    ///
    /// Cancel safe in this sense: before the event has its number, nothing happened; with a file outbox, an event whose
    /// `send` is cancelled while the disk works may be sent.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an event that no server could read; otherwise why the client ended. Not retryable.
    pub async fn send(&self, event: Event) -> Result<Seq, Error> {
        self.take_room().await?;
        let seq = self.put(event, None)?;
        self.kept(seq).await
    }

    /// [`send`](Self::send) that does not wait for room, nor for the disk: with a file outbox the event is not on disk
    /// yet when this returns (it is sent only once it is).
    ///
    /// # Errors
    /// [`Error::Full`] (retryable), and those of `send`.
    pub fn try_send(&self, event: Event) -> Result<Seq, Error> {
        match self.shared().room.try_acquire() {
            Ok(permit) => permit.forget(),
            Err(tokio::sync::TryAcquireError::NoPermits) => return Err(Error::Full),
            Err(tokio::sync::TryAcquireError::Closed) => return Err(self.shared().end_reason()),
        }
        self.put(event, None)
    }

    /// Sends one event and waits for its own answer, past [`recv`](Self::recv). Parts of its result are not handed over.
    ///
    /// The receive window is shared with everything else: where other deliveries come too, somebody must `recv` them.
    /// The answer counts as handed over when it arrives. Bound the wait with [`Event::expires_in`] or a timeout;
    /// cancelling does not withdraw the event, its answer then comes through `recv`.
    ///
    /// # Errors
    /// Those of `send`. That the event failed is not one: it is in the answer.
    pub async fn call(&self, event: Event) -> Result<Answer, Error> {
        self.take_room().await?;
        let (answer_tx, answer_rx) = oneshot::channel();
        let seq = self.put(event, Some(answer_tx))?;
        let mut call = Call { shared: self.shared(), seq: seq.get(), answer: answer_rx };
        match (&mut call.answer).await {
            Ok(answer) => Ok(answer),
            Err(_) => Err(self.shared().end_reason()),
        }
    }

    async fn take_room(&self) -> Result<(), Error> {
        match self.shared().room.acquire().await {
            Ok(permit) => {
                permit.forget();
                Ok(())
            }
            Err(_) => Err(self.shared().end_reason()),
        }
    }

    /// Gives the event its number; the caller has taken room for it.
    fn put(&self, event: Event, caller: Option<oneshot::Sender<Answer>>) -> Result<Seq, Error> {
        let shared = self.shared();
        let result = shared.with(|core, _| {
            let seq = core.machine.send(event)?;
            if let Some(caller) = caller {
                core.machine.expect_call(seq);
                core.calls.insert(seq, caller);
            }
            Ok(Seq::new(seq))
        });
        match &result {
            // Kept events are sent once they are kept.
            Ok(_) if !shared.keeps_records => shared.wake_frames(),
            Ok(_) => {}
            Err(_) => shared.room.add_permits(1),
        }
        result
    }

    async fn kept(&self, seq: Seq) -> Result<Seq, Error> {
        if self.shared().keeps_records {
            self.reached(|progress| progress.recorded_seq >= seq.get()).await?;
        }
        Ok(seq)
    }

    /// Waits until every event up to `seq` is durable on the server (or durably refused, and then answered as such).
    /// Cancel safe.
    ///
    /// # Errors
    /// Why the client ended before that.
    pub async fn accepted(&self, seq: Seq) -> Result<(), Error> {
        self.reached(|progress| progress.accepted >= seq.get()).await
    }

    /// The last event that is known to be durable on the server; 0 = none.
    pub fn accepted_seq(&self) -> u64 {
        self.shared().progress.borrow().accepted
    }

    /// The number of the last event in the outbox; 0 = none. A file outbox counts on from where an earlier process
    /// ended, so this tells what was sent already.
    pub fn last_seq(&self) -> u64 {
        self.shared().with(|core, _| core.machine.last_seq())
    }

    async fn reached(&self, done: impl Fn(&Progress) -> bool) -> Result<(), Error> {
        let mut progress = self.shared().progress.subscribe();
        let result = progress.wait_for(|progress| done(progress) || progress.ended).await.map(|progress| *progress);
        match result {
            Ok(progress) if done(&progress) => Ok(()),
            _ => Err(self.shared().end_reason()),
        }
    }

    /// Waits for the next thing that arrives, and acknowledges everything that was handed out before it: what this
    /// returns counts as handed over when you call `recv` again, or `close`, and not before.
    ///
    /// Returns `None` once the client was closed, or has finished and handed everything out. Cancel safe: a cancelled
    /// `recv` takes nothing. Use one receiver at a time; a second one waits for its turn.
    ///
    /// # Errors
    /// Why the client ended, after everything that had arrived was handed out. Not retryable.
    pub async fn recv(&self) -> Result<Option<Incoming>, Error> {
        Ok(self.next(true).await?.map(|(item, _)| item))
    }

    /// [`recv`](Self::recv) that acknowledges nothing: [`ack`](Self::ack) does, when the application has done its work.
    /// What is not acknowledged takes up the receive window, and comes again after a restart from a file outbox.
    ///
    /// # Errors
    /// Those of `recv`.
    pub async fn recv_unacked(&self) -> Result<Option<(Incoming, Receipt)>, Error> {
        self.next(false).await
    }

    async fn next(&self, acknowledges: bool) -> Result<Option<(Incoming, Receipt)>, Error> {
        let shared = self.shared();
        let _turn = self.inner.turn.lock().await;
        loop {
            let (item, ended) = shared.with(|core, now| {
                if acknowledges {
                    let receipt = core.machine.last_receipt();
                    core.machine.acknowledge(now, receipt);
                }
                (core.machine.receive(), core.machine.has_ended())
            });
            if let Some((item, receipt)) = item {
                return Ok(Some((item, Receipt(receipt))));
            }
            if ended {
                return match shared.end_reason() {
                    Error::Closed => Ok(None),
                    error => Err(error),
                };
            }
            shared.items.notified().await;
        }
    }

    /// Acknowledges an item and everything handed out before it, and waits until the outbox has kept that: a file outbox
    /// does not hand them out again, not even after `kill -9` (after a power loss it may, since acknowledgements are not
    /// fsynced). Cancel safe; cancelling does not withdraw it.
    ///
    /// # Errors
    /// Why the client ended before that.
    pub async fn ack(&self, receipt: Receipt) -> Result<(), Error> {
        self.shared().with(|core, now| {
            core.machine.acknowledge(now, receipt.0);
            core.machine.hurry(now);
        });
        self.reached(|progress| progress.recorded_receipt >= receipt.0).await
    }

    /// What the connection is doing.
    pub fn state(&self) -> watch::Receiver<State> {
        self.shared().state.subscribe()
    }

    /// How its sessions ended so far; those that it never had (a connect that failed) do not count.
    pub fn departures(&self) -> Departures {
        self.shared().with(|core, _| core.machine.departures())
    }

    /// Says that no more events will be sent, and returns at once. The server delivers what is outstanding;
    /// [`recv`](Self::recv) hands it out, and then returns `None`.
    pub fn goodbye(&self) {
        self.shared().with(|core, now| core.machine.finish(now));
        self.shared().wake_frames();
    }

    /// Says [`goodbye`](Self::goodbye), waits until every event has its outcome and everything that arrived was handed
    /// over, and closes. Somebody must be receiving meanwhile, unless nothing is outstanding.
    ///
    /// Waits as long as the answers take. Cancel safe: what is left is a client that said goodbye.
    ///
    /// # Errors
    /// Why the client ended before that.
    pub async fn finish(&self) -> Result<(), Error> {
        self.goodbye();
        let mut progress = self.shared().progress.subscribe();
        if progress.wait_for(|progress| progress.ended && progress.clear).await.is_err() {
            return Err(Error::Closed);
        }
        let reason = self.shared().end_reason();
        self.close().await;
        match reason {
            Error::Closed => Ok(()),
            error => Err(error),
        }
    }

    /// Stops at once: acknowledges what was handed out, keeps it, drops the connection, and frees the outbox file. Other
    /// clones get [`Error::Closed`]. Waits for the disk at most. Closing twice is fine.
    pub async fn close(&self) -> Remains {
        let shared = self.shared();
        let remains = shared.with(|core, now| {
            if !self.inner.closed.swap(true, Ordering::AcqRel) {
                let receipt = core.machine.last_receipt();
                core.machine.acknowledge(now, receipt);
            }
            core.machine.close();
            core.stopping = true;
            Remains { unaccepted: core.machine.unaccepted(), unanswered: core.machine.unanswered() }
        });
        shared.wake_frames();
        if let Some(task) = self.inner.task.lock().await.take()
            && let Err(error) = task.await
        {
            tracing::error!(%error, "the connection task panicked");
        }
        remains
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // The task keeps its last records and ends by itself.
        self.shared.with(|core, _| {
            core.machine.close();
            core.stopping = true;
        });
        self.shared.wake_frames();
    }
}

/// A call that waits. Dropped early, its answer goes the usual way.
struct Call<'a> {
    shared: &'a Shared,
    seq: u64,
    answer: oneshot::Receiver<Answer>,
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        let missed = self.shared.with(|core, _| {
            core.machine.forget_call(self.seq);
            core.calls.remove(&self.seq).is_some()
        });
        if !missed && let Ok(answer) = self.answer.try_recv() {
            self.shared.with(|core, _| core.machine.return_call_answer(answer));
        }
    }
}
