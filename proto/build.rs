//! Compiles the .proto files without protoc.
//!
//! The codec is our own (`src/codec.rs`): tonic's default keeps two 8 KiB buffers per stream, which is most of what an
//! idle stream would cost.

use std::{env, error::Error, fs, path::PathBuf};

use prost::Message as _;
use tonic_prost_build::manual::{Builder, Method, Service};

/// In `src/original_messages.rs`, which says why.
const WRITTEN_BY_HAND: [&str; 4] = ["EventRequest", "EventResponse", "Log", "Step"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let files = ["nimbus/v1/gateway.proto", "nimbus/nimbus.proto", "nimbus/stored/v1/envelope.proto"];
    let descriptors = protox::compile(files, ["proto"])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    let mut builder = tonic_prost_build::configure().bytes(".").codec_path("crate::codec::SmallBufferCodec");
    for message in WRITTEN_BY_HAND {
        builder = builder.extern_path(format!(".nimbus.{message}"), format!("crate::original_messages::{message}"));
    }
    builder.compile_fds(descriptors)?;
    encoded_services();
    Ok(())
}

/// The servers of the same two services once more, with streams whose outgoing messages come encoded (`src/codec.rs` says
/// why).
fn encoded_services() {
    let stream = |name: &str, route: &str, input: &str| {
        let method = Method::builder().name(name).route_name(route).input_type(input);
        let method = method.output_type("crate::codec::Encoded").codec_path("crate::codec::EncodedCodec");
        method.client_streaming().server_streaming().build()
    };
    let unary = |name: &str| {
        let method = Method::builder().name(name.to_lowercase()).route_name(name);
        let method =
            method.input_type(format!("crate::v1::{name}Request")).output_type(format!("crate::v1::{name}Response"));
        method.codec_path("crate::codec::SmallBufferCodec").build()
    };
    let gateway = Service::builder().package("nimbus.v1").name("Gateway");
    let gateway = gateway.method(stream("session", "Session", "crate::v1::ClientFrame"));
    let gateway = ["Submit", "Call", "Push"].into_iter().fold(gateway, |gateway, name| gateway.method(unary(name)));
    let original = Service::builder().package("nimbus").name("NimbusService");
    let original = original.method(stream("process_event", "ProcessEvent", "crate::original_messages::EventRequest"));
    Builder::new().build_client(false).compile(&[gateway.build(), original.build()]);
}
