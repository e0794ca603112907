//! What an operator does with dead letters: look at them, replay them, purge them.
//!
//! The log of dead letters is append-only, so what happens to a letter is a **mark**, a small record behind it; whoever lists
//! letters folds the marks in (`ledger.rs`). A mark names its letter by the event's identity and not by an offset: a crash
//! between a letter and its answer keeps the same letter twice, and what is done about it is done about all its copies.
//!
//! Everything here works on ports, beside a living system or on its own. Nothing is locked: two operators who replay the
//! same letter at once replay it twice, and so does one whom a crash stops between the event and its mark. Replays are
//! *at least once*, and no letter is ever lost by one: the event is durable again before anything is said about the letter.
//!
//! Left out: nothing is deleted. Retention does that, to letters and marks alike; a letter always goes before its marks.

mod error;
mod filter;
mod ledger;
mod letter;
mod replay;
mod scan;
#[cfg(test)]
mod tests;
mod write;

pub use error::DeadLettersError;
pub use filter::Filter;
pub use letter::{InvalidLetterId, Letter, LetterId, LetterState};
pub use replay::replay;
pub use scan::{Found, fetch, find, scan};
pub use write::{Fate, purge};
