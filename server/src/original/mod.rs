//! `nimbus.NimbusService`: the original protocol, wire compatible.

mod context;
mod response;
mod service;
mod wire;

pub(crate) use service::OriginalService;
