//! The event rate limit: per client id, so that reconnecting does not refill it.

use std::{num::NonZeroU32, time::Duration};

use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter, clock::Clock as _};
use nimbus_core::{ClientId, session::Admission};

/// The limiter of a server.
#[derive(Debug)]
pub(crate) struct EventRate {
    limiter: Option<DefaultKeyedRateLimiter<ClientId>>,
}

impl EventRate {
    pub(crate) fn new(events_per_second: Option<NonZeroU32>) -> Self {
        Self { limiter: events_per_second.map(|rate| RateLimiter::keyed(Quota::per_second(rate))) }
    }

    /// The limit as it applies to one client.
    pub(crate) fn of<'a>(&'a self, client: &'a ClientId) -> ClientRate<'a> {
        ClientRate { rate: self, client }
    }

    /// Forgets clients whose allowance is full again.
    pub(crate) fn sweep(&self) {
        if let Some(limiter) = &self.limiter {
            limiter.retain_recent();
            limiter.shrink_to_fit();
        }
    }
}

/// One client's share.
#[derive(Debug)]
pub(crate) struct ClientRate<'a> {
    rate: &'a EventRate,
    client: &'a ClientId,
}

impl Admission for ClientRate<'_> {
    fn admit(&mut self) -> Result<(), Duration> {
        let Some(limiter) = &self.rate.limiter else { return Ok(()) };
        limiter.check_key(self.client).map_err(|not_until| not_until.wait_time_from(limiter.clock().now()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_clients_burst_leaves_the_others_alone() {
        let rate = EventRate::new(NonZeroU32::new(3));
        let (a, b) = (ClientId::try_new("a").unwrap(), ClientId::try_new("b").unwrap());
        assert_eq!((0..5).filter(|_| rate.of(&a).admit().is_ok()).count(), 3);
        let wait = rate.of(&a).admit().unwrap_err();
        assert!(wait > Duration::ZERO && wait <= Duration::from_secs(1), "{wait:?}");
        assert!(rate.of(&b).admit().is_ok());
    }

    #[test]
    fn no_limit_admits_everything() {
        let rate = EventRate::new(None);
        let a = ClientId::try_new("a").unwrap();
        assert!((0..10_000).all(|_| rate.of(&a).admit().is_ok()));
    }
}
