//! Receives, keeps, shows, and then acknowledges: in this order, so that a client that is killed in between gets again
//! what it has not kept, and [`Sink`] knows what it has.

use std::{
    future::{Future, poll_fn},
    io,
    pin::pin,
    task::Poll,
};

use nimbus_client::{Answer, Client, Error, Extra, ExtraKind, Incoming, Outcome};

use super::{
    failure,
    output::{Output, answer_json},
    sink::Sink,
};
use crate::exit::{Exit, Failure, OrExit, OrUnread};

/// Most items that are shown and kept before they are acknowledged together.
const BATCH: usize = 128;

/// What came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Tally {
    /// Events with an answer.
    pub(crate) answered: u64,
    /// Those whose answer is an error.
    pub(crate) failed: u64,
    /// Answers that were kept before: what a kill between keeping and acknowledging leaves behind.
    pub(crate) known: u64,
    /// Gaps.
    pub(crate) gaps: u64,
    /// Results for an earlier outbox of this client id that came since this one began.
    pub(crate) extras: u64,
}

pub(crate) struct Receiver<'a> {
    client: &'a Client,
    output: Output,
    sink: Option<Sink>,
    tally: Tally,
}

impl<'a> Receiver<'a> {
    pub(crate) fn new(client: &'a Client, output: Output, sink: Option<Sink>) -> Self {
        Self { client, output, sink, tally: Tally::default() }
    }

    /// Runs until the client has finished and everything was handed out.
    pub(crate) async fn run(&mut self) -> Result<(), Failure> {
        while let Some((incoming, mut receipt)) = self.client.recv_unacked().await.map_err(failure)? {
            let mut batch = vec![incoming];
            while batch.len() < BATCH {
                let Some(next) = ready_now(self.client.recv_unacked()).await else { break };
                let Some((incoming, later)) = next.map_err(failure)? else { break };
                batch.push(incoming);
                receipt = later;
            }
            for incoming in batch {
                self.take(incoming)?;
            }
            if let Some(sink) = &mut self.sink {
                sink.flush().or_exit(Exit::Io)?;
            }
            // After it is kept: a kill in between leaves an answer unshown, never one that is shown twice.
            self.output.flush().or_unread()?;
            match self.client.ack(receipt).await {
                // It has finished meanwhile: what is left comes out above, and closing keeps what was handed out.
                Ok(()) | Err(Error::Closed) => {}
                Err(error) => return Err(failure(error)),
            }
        }
        Ok(())
    }

    fn take(&mut self, incoming: Incoming) -> Result<(), Failure> {
        match &incoming {
            Incoming::Answer(answer) => {
                if let Some(sink) = &mut self.sink
                    && !sink.keep(self.client.outbox_id(), answer.seq.get(), answer_json(answer)).or_exit(Exit::Io)?
                {
                    self.tally.known += 1;
                    return Ok(());
                }
                self.count(answer);
            }
            Incoming::Gap(_) => self.tally.gaps += 1,
            Incoming::Extra(Extra { kind: ExtraKind::OtherOutbox, .. }) => {
                self.tally.extras += 1;
                if !self.output.shows_extras() {
                    return Ok(());
                }
            }
            _ => {}
        }
        self.output.show(&incoming).or_unread()
    }

    fn count(&mut self, answer: &Answer) {
        self.tally.answered += 1;
        match answer.outcome {
            Outcome::Final(_) => {}
            Outcome::Error(_) | Outcome::Unknown => self.tally.failed += 1,
        }
    }

    /// Says how it went. `unanswered` is what was sent and has no answer yet.
    pub(crate) fn finish(self, unanswered: u64) -> io::Result<Tally> {
        self.output.finish(self.tally, unanswered)?;
        Ok(self.tally)
    }
}

/// What a cancel safe future has at once, if it has something.
async fn ready_now<F: Future>(future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}
