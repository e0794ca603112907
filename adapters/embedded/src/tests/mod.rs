//! The whole log, through its ports.

mod basics;
