//! On a broker, or on librdkafka's own mock of one.

mod appends;
mod broker;
mod contracts;
mod groups;
mod leaders;
mod mock;
mod topics;
