//! On a broker, or on librdkafka's own mock of one.

mod broker;
mod contracts;
mod mock;
