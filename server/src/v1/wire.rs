//! The v1 protocol as the driver sees it.

use std::sync::Arc;

use nimbus_core::session::{Dialect, ServerFrame};
use nimbus_proto::v1::{self, server_frame::Kind};
use prost::Message as _;

use super::{decode::Decoder, encode};
use crate::{
    shared::Shared,
    stream::{Outgoing, Wire, WireFrame},
};

#[derive(Debug)]
pub(super) struct V1Wire {
    shared: Arc<Shared>,
    decoder: Decoder,
    deliveries: encode::Deliveries,
}

impl V1Wire {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, decoder: Decoder::default(), deliveries: encode::Deliveries::default() }
    }
}

impl Wire for V1Wire {
    type In = v1::ClientFrame;
    const DIALECT: Dialect = Dialect::V1;

    fn decode(&mut self, frame: Self::In, _next_seq: u64) -> WireFrame {
        self.decoder.frame(frame)
    }

    fn encode(&mut self, frame: ServerFrame, out: &mut Outgoing) {
        let kind = match frame {
            ServerFrame::Welcome(welcome) => {
                encode::welcome(&welcome, &self.shared.config, self.shared.ports.results.epoch())
            }
            ServerFrame::Accepted(up_to_seq) => Kind::Accepted(v1::Accepted { up_to_seq }),
            ServerFrame::Rejected(rejected) => encode::rejected(rejected),
            ServerFrame::Delivery(delivered) => self.deliveries.encode(&delivered),
            ServerFrame::Ping(bookmark) => Kind::Ping(v1::Ping { bookmark: bookmark.0 }),
            ServerFrame::GoAway(reason) => encode::go_away(reason),
        };
        let frame = v1::ServerFrame { kind: Some(kind) };
        // Acknowledgements say what arrived; nobody asks what was handed over.
        out.put(None, |buffer| frame.encode(buffer).expect("a buffer that grows has room"));
    }
}
