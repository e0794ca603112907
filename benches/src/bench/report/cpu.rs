//! CPU time of an event by role, of all rounds: v1, where one is alone and where the most is outstanding.

use nimbus_loadtest::Protocol;
use serde::{Deserialize, Serialize};

use super::{
    super::{ALONE, CROWD, MANY, Shape, kind::Kind},
    Measured, Spread,
};

/// One server under one load.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct CpuRow {
    pub(super) kind: Kind,
    pub(super) streams: usize,
    pub(super) window: usize,
    /// In the order in which an event comes to them, and microseconds.
    pub(super) roles: Vec<(String, Spread)>,
}

pub(super) fn rows(measured: &[Measured]) -> Vec<CpuRow> {
    let kinds = [Kind::Baseline, Kind::Nats, Kind::Nimbus, Kind::Glue, Kind::Distributed];
    let all = kinds.into_iter().flat_map(|kind| [ALONE, CROWD, MANY].map(|shape| row(measured, kind, shape)));
    all.filter(|row| !row.roles.is_empty()).collect()
}

fn row(measured: &[Measured], kind: Kind, shape: Shape) -> CpuRow {
    let these = measured.iter().filter(|one| one.is_of(kind, Protocol::V1, shape));
    let mut by_role: Vec<(String, Vec<f64>)> = Vec::new();
    for spent in these.flat_map(|one| &one.cpu) {
        match by_role.iter_mut().find(|(role, _)| *role == spent.role) {
            Some((_, values)) => values.push(spent.us_per_event),
            None => by_role.push((spent.role.clone(), vec![spent.us_per_event])),
        }
    }
    let roles = by_role.into_iter().map(|(role, values)| (role, Spread::of(&values))).collect();
    CpuRow { kind, streams: shape.streams, window: shape.window, roles }
}
