//! `make lint`, the part that no tool knows: the shape of this repository, checked as it stands in the design.
//!
//! Each check names the file and the way on. They read sources as text: simple, quick, and good enough to keep a house
//! in order; they are no proof.

#![allow(clippy::unwrap_used, reason = "a test: what is not there is a failure")]

mod arrows;
mod compose;
mod documents;
mod files;
mod logs;
mod readme;
mod sleeps;
mod sources;
