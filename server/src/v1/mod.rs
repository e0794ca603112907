//! `nimbus.v1.Gateway`.

mod decode;
mod encode;
mod service;
mod wire;

pub(crate) use service::GatewayService;
