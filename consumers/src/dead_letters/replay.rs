//! Replay: the event once more into the events log, and then a mark on its letter.
//!
//! In this order, each step durable before the next. A crash in between leaves a letter that looks open although its event
//! runs again: replayed once more it is executed twice, which executors must bear anyway, and its client sees two extras.
//! The other order could lose an event: marked, and never appended.

use std::collections::HashMap;

use nimbus_core::{
    Event,
    clock::{Clock, UnixMillis},
    ports::log::{DeadLetterLog, EventLog},
    result::{Mark, MarkKind},
};

use super::{
    error::DeadLettersError,
    letter::{Identity, Letter},
    scan::fetch,
    write::{Fate, ids, note, pieces},
};

/// Replays letters, each client's in the order in which they failed. Their answers go to their clients as extras, marked
/// with the `replay_no` that [`Fate::Replayed`] tells; the first terminal answer stands (`core/src/mailbox/fold.rs`).
///
/// A letter that was replayed before is replayed again, under the next number; a purged one too: whoever picks the letters
/// decides. Tells the fate of each as soon as it is durable. At least once: a crash, or dropping this, may leave up to 64
/// letters of one partition that were replayed and look open.
///
/// # Errors
/// [`DeadLettersError::Read`]; [`DeadLettersError::Replay`]; [`DeadLettersError::Mark`]. It can be begun again, at the price
/// of replaying those of the failed piece twice.
pub async fn replay(
    log: &DeadLetterLog,
    events: &EventLog,
    clock: &dyn Clock,
    letters: Vec<Letter>,
    mut tell: impl FnMut(&Letter, Fate),
) -> Result<(), DeadLettersError> {
    // A letter and the letter of its failed replay may both be among them: the second gets the number after the first's.
    let mut last: HashMap<Identity, u32> = HashMap::new();
    for piece in pieces(letters) {
        let (mut marked, mut again) = (Vec::new(), Vec::new());
        for letter in piece {
            let Some(record) = fetch(log, &letter).await? else {
                tell(&letter, Fate::Gone);
                continue;
            };
            let now = clock.now();
            let number = last.entry(Identity::new(&letter.origin, letter.seq)).or_insert(letter.last_replay_no);
            *number = number.saturating_add(1);
            let replay_no = *number;
            let mark = record.marked(Mark { kind: MarkKind::Replayed { replay_no }, at: now });
            again.push(replayed(record.event, replay_no, now));
            marked.push((letter, mark));
        }
        let Some((first, _)) = marked.first() else { continue };
        // Events, results and dead letters of a client lie in partitions of the same number.
        let partition = first.id.partition;
        events.ready().await;
        let appended = events.append(partition, again).await;
        appended.map_err(|source| DeadLettersError::Replay { letters: ids(&marked), source })?;
        note(log, marked, &mut tell).await?;
    }
    Ok(())
}

/// The same event as it goes into the log again. Its deadline was for its first answer, which was given. It counts as
/// received now, or its waiting time in the dead letters would pass for latency, and no rolling deploy could bring the
/// executor that it needs.
fn replayed(event: Event, replay_no: u32, now: UnixMillis) -> Event {
    Event { replay_no, deadline: None, received: now, ..event }
}
