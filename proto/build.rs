//! Compiles the .proto files without protoc.
//!
//! The codec is our own (`src/codec.rs`): tonic's default keeps two 8 KiB buffers per stream, which is most of what an
//! idle stream would cost.

use std::{env, error::Error, fs, path::PathBuf};

use prost::Message as _;

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
    Ok(())
}
