//! What is appended about letters: marks, in pieces of bounded size.

use nimbus_core::{
    Partition,
    clock::Clock,
    ports::log::DeadLetterLog,
    result::{DeadLetter, Mark, MarkKind},
};

use super::{
    error::DeadLettersError,
    letter::{Letter, LetterId, LetterState},
    scan::fetch,
};

/// Letters of one piece: what at most is replayed again after a crash in between.
pub(super) const PIECE_LETTERS: usize = 64;
/// Payload of one piece. One letter may exceed it.
pub(super) const PIECE_BYTES: usize = 1 << 20;

/// What was done about a letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Its event is durable again under this number, and that is noted.
    Replayed(u32),
    /// It is marked as purged.
    Purged,
    /// Nothing: it was purged before.
    AlreadyPurged,
    /// Nothing: retention has passed it since it was listed.
    Gone,
}

/// Marks letters as purged; nobody lists or replays them any more unless asked to. Their bytes stay until retention takes
/// them. Tells the fate of each as soon as it is durable. Not cancel safe: what was told is done, the rest may be.
///
/// # Errors
/// [`DeadLettersError::Read`], [`DeadLettersError::Mark`]. It can be begun again.
pub async fn purge(
    log: &DeadLetterLog,
    clock: &dyn Clock,
    letters: Vec<Letter>,
    mut tell: impl FnMut(&Letter, Fate),
) -> Result<(), DeadLettersError> {
    for piece in pieces(letters) {
        let mut marked = Vec::new();
        for letter in piece {
            if matches!(letter.state, LetterState::Purged { .. }) {
                tell(&letter, Fate::AlreadyPurged);
            } else if let Some(record) = fetch(log, &letter).await? {
                let mark = record.marked(Mark { kind: MarkKind::Purged, at: clock.now() });
                marked.push((letter, mark));
            } else {
                tell(&letter, Fate::Gone);
            }
        }
        note(log, marked, &mut tell).await?;
    }
    Ok(())
}

/// Makes marks of letters of one partition durable, and tells their fates.
pub(super) async fn note(
    log: &DeadLetterLog,
    marked: Vec<(Letter, DeadLetter)>,
    tell: &mut impl FnMut(&Letter, Fate),
) -> Result<(), DeadLettersError> {
    let Some((first, _)) = marked.first() else { return Ok(()) };
    log.ready().await;
    let marks = marked.iter().map(|(_, mark)| mark.clone()).collect();
    let appended = log.append(first.id.partition, marks).await;
    appended.map_err(|source| DeadLettersError::Mark { letters: ids(&marked), source })?;
    for (letter, record) in &marked {
        match record.mark {
            Some(Mark { kind: MarkKind::Replayed { replay_no }, .. }) => tell(letter, Fate::Replayed(replay_no)),
            Some(Mark { kind: MarkKind::Purged, .. }) => tell(letter, Fate::Purged),
            None => {}
        }
    }
    Ok(())
}

pub(super) fn ids<T>(letters: &[(Letter, T)]) -> Vec<LetterId> {
    letters.iter().map(|(letter, _)| letter.id).collect()
}

/// Letters in the order of the log, so that each client's events keep theirs, in pieces of one partition each.
pub(super) fn pieces(mut letters: Vec<Letter>) -> Vec<Vec<Letter>> {
    letters.sort_by_key(|letter| letter.id);
    let mut pieces: Vec<Vec<Letter>> = Vec::new();
    let mut current: Option<Partition> = None;
    let mut bytes = 0;
    for letter in letters {
        let (partition, more) = (letter.id.partition, letter.payload_bytes);
        match pieces.last_mut() {
            Some(piece) if current == Some(partition) && piece.len() < PIECE_LETTERS && bytes + more <= PIECE_BYTES => {
                bytes += more;
                piece.push(letter);
            }
            Some(_) | None => {
                (current, bytes) = (Some(partition), more);
                pieces.push(vec![letter]);
            }
        }
    }
    pieces
}
