//! The wire protocol and the stored form of records: generated code, the descriptor set, and nothing that decides.
//!
//! - [`v1`]: `nimbus.v1.Gateway`, the protocol of the SDKs;
//! - [`original`]: `nimbus.NimbusService`, wire compatible with clients of the original system;
//! - [`stored`]: what lies in the events and results logs.
//!
//! The .proto files under `proto/` carry the documentation of every message and field.

pub mod codec;
pub mod original_messages;

/// `nimbus.v1`: the Gateway service.
#[allow(missing_docs, clippy::all, clippy::pedantic, unreachable_pub, clippy::unwrap_used, clippy::clone_on_ref_ptr)]
pub mod v1 {
    tonic::include_proto!("nimbus.v1");
}

/// `nimbus`: the original service.
pub mod original {
    pub use crate::{
        generated_original::{EventError, nimbus_service_client, nimbus_service_server},
        original_messages::{EventRequest, EventResponse, Log, LoggedResponse, Step},
    };
}

/// What is generated of `nimbus`: all but the hot messages.
#[allow(missing_docs, clippy::all, clippy::pedantic, unreachable_pub, clippy::unwrap_used, clippy::clone_on_ref_ptr)]
mod generated_original {
    tonic::include_proto!("nimbus");
}

/// `nimbus.stored.v1`: envelopes of the logs.
#[allow(missing_docs, clippy::all, clippy::pedantic, unreachable_pub, clippy::unwrap_used, clippy::clone_on_ref_ptr)]
pub mod stored {
    tonic::include_proto!("nimbus.stored.v1");
}

/// The servers of both services, with streams whose outgoing messages come encoded.
#[allow(missing_docs, clippy::all, clippy::pedantic, unreachable_pub, clippy::unwrap_used, clippy::clone_on_ref_ptr)]
pub mod encoded {
    include!(concat!(env!("OUT_DIR"), "/nimbus.v1.Gateway.rs"));
    include!(concat!(env!("OUT_DIR"), "/nimbus.NimbusService.rs"));
}

/// The encoded `FileDescriptorSet` of all of the above, for gRPC reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
