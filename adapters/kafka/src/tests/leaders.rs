//! Partitions that have no leader for a while, as when their broker is lost: everything goes on once they have one.
//!
//! The mock can be asked then, and no more: a produce request to a partition without a leader ends it. What happens to appends is
//! seen on real brokers (`it distributed::brokers`).

use std::num::NonZeroU32;

use nimbus_contracts::within;
use nimbus_core::{Partition, PartitionCount, ports::log::LogError};

use super::{broker::epoch, mock::Mock};

const P0: Partition = Partition(0);

fn partitions() -> PartitionCount {
    PartitionCount(NonZeroU32::new(2).unwrap())
}

#[tokio::test]
async fn a_partition_that_had_no_leader_is_asked_about_again() {
    let mock = Mock::new();
    let config = mock.config(partitions());
    let kafka = Mock::open(&config, epoch());
    let log = kafka.events();
    let range = within("a range", log.range(P0)).await.unwrap();
    for _ in 0..2 {
        mock.lead(&config, P0, None);
        for _ in 0..2 {
            let refused = within("a refusal", log.range(P0)).await;
            assert!(matches!(refused, Err(LogError::Unavailable(_))), "{refused:?}");
        }
        mock.lead(&config, P0, Some(1));
        let again = within("a range", log.range(P0)).await;
        assert_eq!(again.unwrap(), range);
    }
}
