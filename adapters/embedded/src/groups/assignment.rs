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
