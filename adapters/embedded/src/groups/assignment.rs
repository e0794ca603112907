//! Who gets which partition: every member about as many as any other, and no partition moves without need. Pure.

/// Who has a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    Nobody,
    Member(u64),
    /// Revoked, but not released yet.
    Leaving(u64),
}

impl Owner {
    pub(super) fn member(&self) -> Option<u64> {
        match self {
            Self::Nobody => None,
            Self::Member(id) | Self::Leaving(id) => Some(*id),
        }
    }
}

/// What a member must be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    Assign { partition: usize, member: u64 },
    Revoke { partition: usize, member: u64 },
}

/// Brings `owners` towards an even share among `members` (sorted).
pub(super) fn rebalance(owners: &mut [Owner], members: &[u64]) -> Vec<Change> {
    let mut changes = Vec::new();
    if members.is_empty() {
        return changes;
    }
    let mut shares: Vec<Share> = members.iter().map(|member| Share { member: *member, held: 0, quota: 0 }).collect();
    for owner in owners.iter() {
        if let Owner::Member(id) = owner
            && let Ok(index) = members.binary_search(id)
        {
            shares[index].held += 1;
        }
    }
    let (each, more) = (owners.len() / members.len(), owners.len() % members.len());
    // Those that hold most get the odd ones: fewest moves.
    shares.sort_by_key(|share| (usize::MAX - share.held, share.member));
    for (index, share) in shares.iter_mut().enumerate() {
        share.quota = each + usize::from(index < more);
    }
    for (partition, owner) in owners.iter_mut().enumerate().rev() {
        let Owner::Member(id) = *owner else { continue };
        let Some(share) = shares.iter_mut().find(|share| share.member == id) else { continue };
        if share.held > share.quota {
            share.held -= 1;
            *owner = Owner::Leaving(id);
            changes.push(Change::Revoke { partition, member: id });
        }
    }
    for (partition, owner) in owners.iter_mut().enumerate() {
        if *owner != Owner::Nobody {
            continue;
        }
        let Some(share) = shares.iter_mut().filter(|share| share.held < share.quota).min_by_key(|share| share.held)
        else {
            continue;
        };
        share.held += 1;
        *owner = Owner::Member(share.member);
        changes.push(Change::Assign { partition, member: share.member });
    }
    changes
}

#[derive(Debug)]
struct Share {
    member: u64,
    held: usize,
    quota: usize,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    enum Step {
        Join,
        Leave(usize),
        /// The owner gives up what was revoked.
        Release(usize),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            Just(Step::Join),
            any::<usize>().prop_map(Step::Leave),
            any::<usize>().prop_map(Step::Release),
        ];
        prop::collection::vec(step, 1..40)
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn everyone_gets_an_even_share_and_nothing_is_owned_twice(partitions in 1..20usize, steps in steps()) {
            let mut owners = vec![Owner::Nobody; partitions];
            // What each member believes to own: told by changes only.
            let mut believed: BTreeSet<(u64, usize)> = BTreeSet::new();
            let (mut members, mut next) = (Vec::new(), 0);
            for step in steps {
                match step {
                    Step::Join => {
                        members.push(next);
                        next += 1;
                    }
                    Step::Leave(n) if !members.is_empty() => {
                        let gone = members.remove(n % members.len());
                        believed.retain(|(member, _)| *member != gone);
                        owners.iter_mut().filter(|o| o.member() == Some(gone)).for_each(|o| *o = Owner::Nobody);
                    }
                    Step::Release(n) => {
                        let owner = &mut owners[n % partitions];
                        if let Owner::Leaving(member) = *owner {
                            believed.remove(&(member, n % partitions));
                            *owner = Owner::Nobody;
                        }
                    }
                    Step::Leave(_) => {}
                }
                for change in rebalance(&mut owners, &members) {
                    match change {
                        Change::Assign { partition, member } => {
                            prop_assert!(believed.iter().all(|(_, owned)| *owned != partition), "owned twice");
                            believed.insert((member, partition));
                        }
                        Change::Revoke { partition, member } => prop_assert!(believed.contains(&(member, partition))),
                    }
                }
                prop_assert!(rebalance(&mut owners, &members).is_empty(), "a second look changes nothing");
            }
            // Once everything revoked is released, shares differ by one at most.
            while let Some(left) = owners.iter().position(|owner| matches!(owner, Owner::Leaving(_))) {
                owners[left] = Owner::Nobody;
                rebalance(&mut owners, &members);
            }
            if !members.is_empty() {
                let held = |member| owners.iter().filter(|owner| **owner == Owner::Member(member)).count();
                let shares: Vec<_> = members.iter().map(|member| held(*member)).collect();
                prop_assert_eq!(shares.iter().sum::<usize>(), partitions);
                prop_assert!(shares.iter().max().unwrap() - shares.iter().min().unwrap() <= 1);
            }
        }
    }

    #[test]
    fn a_newcomer_moves_no_more_than_its_share() {
        let mut owners = vec![Owner::Nobody; 16];
        rebalance(&mut owners, &[0, 1, 2]);
        let revoked = rebalance(&mut owners, &[0, 1, 2, 3]);
        assert_eq!(revoked.len(), 4, "{revoked:?}");
    }
}
