//! What holds the client of one stream back, and since when: told to the metrics as it goes, so that a client that never reads shows as a
//! stream that is held all the time, and one that is only quick as many short times.

use tokio::time::Instant;

use crate::metrics::{Metrics, ReasonLabel};

#[derive(Debug, Default)]
pub(super) struct Holding {
    held: Option<(ReasonLabel, Instant)>,
}

impl Holding {
    /// Looks at what holds the client back now.
    pub(super) fn look(&mut self, held: Option<ReasonLabel>, now: Instant, metrics: &Metrics) {
        let before = std::mem::replace(&mut self.held, held.map(|held| (held, now)));
        if let Some((held, since)) = before {
            let seconds = now.saturating_duration_since(since).as_secs_f64();
            metrics.streams_held_seconds.get_or_create(&held).inc_by(seconds);
        }
        if let Some(held) = held.filter(|held| before.is_none_or(|(before, _)| before != *held)) {
            metrics.streams_held.get_or_create(&held).inc();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use nimbus_core::session::Held;

    use super::*;
    use crate::metrics;

    #[test]
    fn a_time_is_counted_once_and_its_length_as_it_goes() {
        let (metrics, mut holding, start) = (Metrics::default(), Holding::default(), Instant::now());
        let at = |ms| start + Duration::from_millis(ms);
        let (window, in_flight) = (metrics::held(Held::Window), metrics::held(Held::InFlight));
        let counted = || {
            let times = metrics.streams_held.get_or_create(&window).get();
            (times, metrics.streams_held_seconds.get_or_create(&window).get())
        };
        holding.look(None, at(0), &metrics);
        assert_eq!(counted(), (0, 0.0));
        holding.look(Some(window), at(500), &metrics);
        holding.look(Some(window), at(1_000), &metrics);
        assert_eq!(counted(), (1, 0.5), "while it lasts");
        holding.look(Some(in_flight), at(1_500), &metrics);
        holding.look(Some(window), at(2_000), &metrics);
        holding.look(None, at(2_250), &metrics);
        holding.look(None, at(9_000), &metrics);
        assert_eq!(counted(), (2, 1.25));
        assert_eq!(metrics.streams_held.get_or_create(&in_flight).get(), 1);
    }
}
