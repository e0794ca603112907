//! The whole log, through its ports.

mod basics;
mod faults;
mod power;
