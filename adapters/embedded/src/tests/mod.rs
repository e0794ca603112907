//! The whole log, through its ports.

mod basics;
mod contracts;
mod damage;
mod early;
mod faults;
mod mailbox;
mod power;
mod retention;
mod spare;
mod tools;
