//! The whole client against a gateway that the test plays.

mod file;
mod gateway;
mod live;
mod reconnect;
