//! Scan, replay and purge on logs that fail, and that retention shortens meanwhile.

use std::{sync::Arc, time::Duration};

use nimbus_core::{
    Event,
    clock::{Clock as _, UnixMillis},
    ports::log::LogError,
    position::Position,
};

use super::{
    super::{DeadLettersError, Fate, Filter, Found, Letter, LetterId, LetterState, fetch, find, purge, replay, scan},
    CLIENTS, letter,
};
use crate::testing::{Fate as AppendFate, MemoryLog, TokioClock};

/// The two logs and an operator.
struct Desk {
    letters: MemoryLog<nimbus_core::DeadLetter>,
    events: MemoryLog<Event>,
    clock: Arc<TokioClock>,
}

impl Desk {
    fn new() -> Self {
        Self { letters: MemoryLog::new(3), events: MemoryLog::new(3), clock: TokioClock::new() }
    }

    /// A letter of client `a` or `b`.
    fn put(&self, client: usize, seq: u64, failed: u64) -> LetterId {
        let offset = self.letters.put(letter(client, seq, 0, failed));
        LetterId { partition: self.letters.partition_of(CLIENTS[client]), offset }
    }

    async fn listed(&self, filter: &Filter) -> Vec<Letter> {
        scan(&self.letters, filter, usize::MAX).await.unwrap().letters
    }

    async fn open(&self) -> Vec<LetterId> {
        self.listed(&Filter::default()).await.into_iter().map(|letter| letter.id).collect()
    }

    async fn replay(&self, letters: Vec<Letter>) -> (Vec<(LetterId, Fate)>, Result<(), DeadLettersError>) {
        let mut told = Vec::new();
        let tell = |letter: &Letter, fate| told.push((letter.id, fate));
        let ended = replay(&self.letters, &self.events, &*self.clock, letters, tell).await;
        (told, ended)
    }

    async fn purge(&self, letters: Vec<Letter>) -> Vec<(LetterId, Fate)> {
        let mut told = Vec::new();
        purge(&self.letters, &*self.clock, letters, |letter, fate| told.push((letter.id, fate))).await.unwrap();
        told
    }

    async fn state(&self, id: LetterId) -> LetterState {
        find(&self.letters, &[id]).await.unwrap()[0].state
    }
}

#[tokio::test(start_paused = true)]
async fn a_replay_is_the_same_event_under_the_next_number() {
    let desk = Desk::new();
    let mut dead = letter(0, 5, 0, 100);
    dead.event.deadline = Some(UnixMillis(1));
    let original = dead.event.clone();
    let id = LetterId { partition: desk.letters.partition_of("a"), offset: desk.letters.put(dead) };
    tokio::time::advance(Duration::from_secs(60)).await;
    for replay_no in 1..4 {
        let letters = find(&desk.letters, &[id]).await.unwrap();
        let (told, ended) = desk.replay(letters).await;
        ended.unwrap();
        assert_eq!(told, [(id, Fate::Replayed(replay_no))]);
        assert_eq!(desk.state(id).await, LetterState::Replayed { replay_no, at: desk.clock.now() });
        let event = desk.events.all().pop().unwrap();
        let expected = Event { replay_no, deadline: None, received: desk.clock.now(), ..original.clone() };
        assert_eq!(event, expected);
        assert!(desk.open().await.is_empty());
    }
    assert_eq!(desk.letters.all().iter().filter(|record| record.mark.is_none()).count(), 1, "nothing new was made");
}

#[tokio::test(start_paused = true)]
async fn a_replay_that_failed_is_a_letter_of_its_own_and_numbers_go_on() {
    let desk = Desk::new();
    let first = desk.put(0, 5, 100);
    desk.replay(desk.listed(&Filter::default()).await).await.1.unwrap();
    let second = LetterId { offset: desk.letters.put(letter(0, 5, 1, 200)), ..first };
    assert_eq!(desk.open().await, [second]);
    // Both at once, the old one because it was named.
    let (told, ended) = desk.replay(find(&desk.letters, &[second, first, first]).await.unwrap()).await;
    ended.unwrap();
    assert_eq!(told, [(first, Fate::Replayed(2)), (second, Fate::Replayed(3))]);
    assert_eq!(desk.events.all().iter().map(|event| event.replay_no).collect::<Vec<_>>(), [1, 2, 3]);
}

#[tokio::test(start_paused = true)]
async fn whatever_append_fails_no_letter_is_lost() {
    let full = LogError::Full("x".to_owned());
    let ambiguous = LogError::Ambiguous("x".to_owned());
    let events = [AppendFate::Lost(full.clone()), AppendFate::Lost(ambiguous.clone()), AppendFate::Landed(ambiguous)];
    for fate in events {
        let desk = Desk::new();
        let id = desk.put(0, 1, 1);
        desk.events.doom([fate]);
        let (told, ended) = desk.replay(desk.listed(&Filter::default()).await).await;
        assert!(matches!(ended, Err(DeadLettersError::Replay { letters, .. }) if letters == [id]));
        assert!(told.is_empty(), "nothing is told that is not so");
        assert_eq!(desk.open().await, [id]);
    }
    // The event is in the log and its mark is not: the letter looks open, and is replayed twice at worst.
    let desk = Desk::new();
    let id = desk.put(0, 1, 1);
    desk.letters.doom([AppendFate::Lost(full)]);
    let (told, ended) = desk.replay(desk.listed(&Filter::default()).await).await;
    assert!(matches!(ended, Err(DeadLettersError::Mark { letters, .. }) if letters == [id]));
    assert!(told.is_empty() && desk.open().await == [id]);
    let (told, ended) = desk.replay(desk.listed(&Filter::default()).await).await;
    ended.unwrap();
    assert_eq!(told, [(id, Fate::Replayed(1))]);
    assert_eq!(desk.events.all().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_marked_before_its_event_is_durable() {
    let desk = Desk::new();
    desk.put(0, 1, 1);
    desk.events.hold();
    let letters = desk.listed(&Filter::default()).await;
    let replaying = desk.replay(letters);
    tokio::select! {
        _ = replaying => panic!("it waits for the event"),
        () = desk.events.until_appends(1) => {}
    }
    assert_eq!(desk.letters.all().len(), 1);
    assert_eq!(desk.open().await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn purged_is_hidden_stays_purged_and_says_so() {
    let desk = Desk::new();
    let (one, two) = (desk.put(0, 1, 1), desk.put(1, 1, 2));
    let only = Filter { client: Some(nimbus_core::ClientId::try_new("a").unwrap()), ..Filter::default() };
    assert_eq!(desk.purge(desk.listed(&only).await).await, [(one, Fate::Purged)]);
    assert_eq!(desk.open().await, [two]);
    let all = desk.listed(&Filter { settled: true, ..Filter::default() }).await;
    assert_eq!(all.iter().map(|letter| letter.id).collect::<Vec<_>>(), [one, two]);
    assert!(fetch(&desk.letters, &all[0]).await.unwrap().is_some(), "the bytes are retention's business");
    assert_eq!(desk.purge(all).await.iter().filter(|told| **told == (one, Fate::AlreadyPurged)).count(), 1);
    assert!(desk.open().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_copy_of_a_letter_is_that_letter() {
    let desk = Desk::new();
    let (one, again) = (desk.put(0, 1, 1), desk.put(0, 1, 2));
    assert_eq!(desk.open().await, [one]);
    let found = find(&desk.letters, &[again, one]).await.unwrap();
    assert_eq!((found.len(), found[0].id, found[0].copies.as_slice()), (1, one, [again.offset].as_slice()));
    desk.replay(found).await.1.unwrap();
    assert_eq!(desk.events.all().len(), 1);
    // A third one, by whoever was cut off last, is no news either.
    desk.put(0, 1, 3);
    assert!(desk.open().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_retention_passes_is_told() {
    let desk = Desk::new();
    let (one, two) = (desk.put(0, 1, 1), desk.put(0, 2, 2));
    let listed = desk.listed(&Filter::default()).await;
    desk.letters.truncate(one.partition, one.offset.position_after());
    let (told, ended) = desk.replay(listed.clone()).await;
    ended.unwrap();
    assert_eq!(told, [(one, Fate::Gone), (two, Fate::Replayed(1))]);
    assert_eq!(desk.purge(listed[..1].to_vec()).await, [(one, Fate::Gone)]);
    let unknown = find(&desk.letters, &[one, two]).await;
    assert!(matches!(unknown, Err(DeadLettersError::Unknown(ids)) if ids == [one]));
    assert!(fetch(&desk.letters, &listed[0]).await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn names_of_marks_and_of_partitions_that_there_are_not_are_unknown() {
    let desk = Desk::new();
    let one = desk.put(0, 1, 1);
    desk.purge(desk.listed(&Filter::default()).await).await;
    let mark = desk.letters.end(one.partition);
    let beyond = LetterId { partition: nimbus_core::Partition(3), ..one };
    for id in [LetterId { offset: nimbus_core::Offset(mark.0 - 1), ..one }, beyond] {
        let found = find(&desk.letters, &[one, id]).await;
        assert!(matches!(found, Err(DeadLettersError::Unknown(ids)) if ids == [id]));
    }
}

#[tokio::test(start_paused = true)]
async fn a_limit_takes_the_oldest_and_says_how_many_there_are() {
    let desk = Desk::new();
    desk.letters.set_batch(2);
    for failed in [7, 3, 9, 1, 5] {
        desk.put((failed % 4 / 2) as usize, failed, failed);
    }
    let Found { letters, matching } = scan(&desk.letters, &Filter::default(), 3).await.unwrap();
    let times: Vec<_> = letters.iter().map(|letter| letter.failed.0).collect();
    assert_eq!((times, matching), (vec![1, 3, 5], 5));
    // From the log's start, wherever that is.
    desk.letters.truncate(desk.letters.partition_of("a"), Position(1_000));
    assert!(scan(&desk.letters, &Filter::default(), 9).await.unwrap().letters.len() < 5);
}
