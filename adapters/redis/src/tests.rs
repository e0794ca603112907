//! The contract suites on a real Redis, and the interleavings that the rules prevent, replayed.

mod again;
mod bytes;
mod cluster;
mod contracts;
mod cost;
mod damage;
mod fitness;
mod losses;
mod originals;
mod races;
mod rolling;
mod stalls;
