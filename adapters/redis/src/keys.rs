//! Every key and channel, what is in it, how long it lives and who writes it.
//!
//! `P` is `<prefix>:v1:<log epoch>:{<partition>}:`, so that all keys of a partition are on one node of a cluster. The `v1` is the
//! layout: a build with another one finds nothing of this in Redis, and fills it from the log as after a loss. What lies in a key
//! has a version of its own where a newer build may write it beside an older one (`codec.rs`).
//!
//! | key | type | what | written by | until |
//! |---|---|---|---|---|
//! | `<prefix>:epoch` | string | the log epoch in use | the first process; a newer epoch replaces it | replaced |
//! | `P head` | hash | `applied`, `floor`, `born` (which memory this is), `marks` (timeline), `fp` (fingerprint of the last record), `bytes` (what waits), `behind` (1: some clients may have something below the floor) | router; whoever comes first; `bytes` by all that take something away, `floor` and `behind` by the sweep | the epoch ends |
//! | `P notified` | hash | server → `last` of its newest notification | router; a claim puts 0 | nobody listens for the server any more (sweep) |
//! | `P taken` | hash | server → how many clients sessions at other servers took from it | claim | as above |
//! | `P seen` | hash | client → answered events, backlog | router | the client is forgotten (sweep) |
//! | `P claim` | hash | client → claims | claim | as above |
//! | `P owner` | hash | client → hands, session, server | claim, release | as above |
//! | `P tenure` | hash | client → the session that held it last, and those before | claim | as above |
//! | `P floors` | hash | client → its own floor | ack, router, claim | as above |
//! | `P kept` | hash | client of the original protocol → its position | ack, claim | as above |
//! | `P waiting` | sorted set | client → nothing before this waits for it | router, ack | nothing waits for it |
//! | `P box:<client>` | stream | chunks; an entry's id is the position past its last record | router | trimmed: ack, limits, window |
//!
//! Nothing has a TTL: what expires by itself would pass for "there is nothing". Channels are
//! `<channel prefix>:v1:<log epoch>:<server>`, in a cluster `<channel prefix>:v1:<log epoch>:{<partition>}:<server>`.

use nimbus_core::{ClientId, LogEpoch, Partition, ServerId};

/// Names the keys of one log epoch.
#[derive(Debug, Clone)]
pub(crate) struct Keys {
    keys: String,
    channels: String,
    cluster: bool,
}

/// Names the keys of one partition.
#[derive(Debug, Clone)]
pub(crate) struct PartitionKeys {
    base: String,
}

/// The layout of keys and channels.
const LAYOUT: &str = "v1";

/// The key that names the epoch. Builds with different layouts have to agree on it, so it has none.
pub(crate) fn epoch(prefix: &str) -> String {
    format!("{prefix}:epoch")
}

impl Keys {
    pub(crate) fn new(key_prefix: &str, channel_prefix: &str, epoch: LogEpoch, cluster: bool) -> Self {
        let (keys, channels) = (format!("{key_prefix}:{LAYOUT}:{epoch}"), format!("{channel_prefix}:{LAYOUT}:{epoch}"));
        Self { keys, channels, cluster }
    }

    pub(crate) fn partition(&self, partition: Partition) -> PartitionKeys {
        PartitionKeys { base: format!("{}:{{{partition}}}:", self.keys) }
    }

    /// What stands before a server's name in the channel on which it hears of this partition.
    pub(crate) fn channel_prefix(&self, partition: Partition) -> String {
        if self.cluster { format!("{}:{{{partition}}}:", self.channels) } else { format!("{}:", self.channels) }
    }

    pub(crate) fn channel(&self, partition: Partition, server: &ServerId) -> String {
        format!("{}{server}", self.channel_prefix(partition))
    }
}

impl PartitionKeys {
    fn named(&self, name: &str) -> String {
        format!("{}{name}", self.base)
    }

    pub(crate) fn head(&self) -> String {
        self.named("head")
    }

    pub(crate) fn notified(&self) -> String {
        self.named("notified")
    }

    pub(crate) fn taken(&self) -> String {
        self.named("taken")
    }

    pub(crate) fn seen(&self) -> String {
        self.named("seen")
    }

    pub(crate) fn claim(&self) -> String {
        self.named("claim")
    }

    pub(crate) fn owner(&self) -> String {
        self.named("owner")
    }

    pub(crate) fn tenure(&self) -> String {
        self.named("tenure")
    }

    pub(crate) fn floors(&self) -> String {
        self.named("floors")
    }

    pub(crate) fn kept(&self) -> String {
        self.named("kept")
    }

    pub(crate) fn waiting(&self) -> String {
        self.named("waiting")
    }

    /// What stands before a client's name in the key of its stream.
    pub(crate) fn stream_prefix(&self) -> String {
        self.named("box:")
    }

    pub(crate) fn stream(&self, client: &ClientId) -> String {
        format!("{}box:{client}", self.base)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ulid::Ulid;

    #[test]
    fn keys_of_a_partition_share_one_tag_and_name_the_epoch() {
        let keys = Keys::new("nimbus", "events", LogEpoch(Ulid(7)), true);
        let (client, server) = (ClientId::try_new("a:b").unwrap(), ServerId::try_new("s1").unwrap());
        let p = keys.partition(Partition(12));
        let all = [p.head(), p.notified(), p.seen(), p.claim(), p.owner(), p.floors(), p.kept(), p.waiting()];
        let others = [p.tenure(), p.taken(), p.stream(&client), keys.channel(Partition(12), &server)];
        for key in all.into_iter().chain(others) {
            assert!(key.contains(":{12}:") && key.contains("00000000000000000000000007"), "{key}");
        }
        let single = Keys::new("nimbus", "events", LogEpoch(Ulid(7)), false);
        assert_eq!(single.channel(Partition(1), &server), single.channel(Partition(2), &server));
    }
}
