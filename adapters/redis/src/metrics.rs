//! What the connection counts.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, histogram::Histogram},
    registry::Registry,
};

use crate::scripts;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ScriptLabel {
    script: &'static str,
}

/// Counters of the connection to Redis. Clones share their values.
#[derive(Debug, Clone)]
pub struct RedisMetrics {
    calls: Family<ScriptLabel, Histogram, fn() -> Histogram>,
    pub(crate) failures: Counter,
    pub(crate) reloads: Counter,
    pub(crate) conflicts: Counter,
    pub(crate) losses: Counter,
    pub(crate) silences: Counter,
}

/// 0.1 ms to 1.6 s: one round trip to the longest that is waited for.
fn latencies() -> Histogram {
    Histogram::new([0.000_1, 0.000_2, 0.000_4, 0.000_8, 0.001_6, 0.003, 0.006, 0.012, 0.025, 0.05, 0.1, 0.4, 1.6])
}

impl Default for RedisMetrics {
    fn default() -> Self {
        let calls = Family::new_with_constructor(latencies as fn() -> Histogram);
        for script in scripts::NAMES {
            drop(calls.get_or_create(&ScriptLabel { script }));
        }
        Self {
            calls,
            failures: Counter::default(),
            reloads: Counter::default(),
            conflicts: Counter::default(),
            losses: Counter::default(),
            silences: Counter::default(),
        }
    }
}

impl RedisMetrics {
    /// Makes the counters and puts them into a registry.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "nimbus_redis_call_seconds",
            "How long Redis took to run a script, by script, the way there and back included",
            metrics.calls.clone(),
        );
        registry.register(
            "nimbus_redis_silences",
            "Connections that did not answer and were made again",
            metrics.silences.clone(),
        );
        registry.register(
            "nimbus_redis_failures",
            "Calls that Redis did not answer or refused",
            metrics.failures.clone(),
        );
        registry.register("nimbus_redis_script_reloads", "Scripts that had to be sent again", metrics.reloads.clone());
        registry.register(
            "nimbus_redis_conflicts",
            "Decisions that were made again because something had changed before they were written",
            metrics.conflicts.clone(),
        );
        registry.register(
            "nimbus_redis_losses",
            "Times that Redis was found emptied, or to be another one than before",
            metrics.losses.clone(),
        );
        metrics
    }

    pub(crate) fn observe(&self, script: &'static str, seconds: f64) {
        self.calls.get_or_create(&ScriptLabel { script }).observe(seconds);
    }
}
