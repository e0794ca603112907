//! The life of a stream: connect, hello, welcome, loss, and where deliveries go on from.

use std::time::Duration;

use nimbus_proto::v1::{self, GoAwayReason, ResumeOutcome, server_frame::Kind as Down};
use tokio::time::Instant;

use super::{
    CONNECT_TIMEOUT, LEAVE_AFTER, Leaving, Live, Loss, Machine, PING_INTERVAL, Phase, READING_TIME, Record,
    STABLE_AFTER,
};
use crate::{Error, Gap, Resumed, Session};

impl Machine {
    /// Whether a stream is to be opened now.
    pub(crate) fn should_connect(&self, now: Instant) -> bool {
        matches!(self.phase, Phase::Waiting { until, .. } if until <= now)
    }

    /// Begins an attempt; its stream has the generation that is returned. The session number must be kept (see
    /// [`take_records`](Self::take_records)) before the stream is opened.
    pub(crate) fn begin_connect(&mut self, now: Instant) -> u64 {
        self.generation += 1;
        self.session_no += 1;
        self.record_urgently(Record::Session { number: self.session_no });
        self.phase = Phase::Opening { until: now + CONNECT_TIMEOUT, hello_sent: false };
        self.generation
    }

    /// Whether this generation's stream is still wanted.
    pub(crate) const fn wants_stream(&self, generation: u64) -> bool {
        self.generation == generation && matches!(self.phase, Phase::Opening { .. } | Phase::Live(_))
    }

    /// A stream ended.
    pub(crate) fn lost(&mut self, now: Instant, generation: u64, loss: Loss) {
        if !self.wants_stream(generation) {
            return;
        }
        match loss {
            Loss::Terminal(error) => self.phase = Phase::Ended(Some(error)),
            Loss::Ended => {
                let said_goodbye = matches!(&self.phase, Phase::Live(live) if live.goodbye_sent);
                if said_goodbye {
                    // The server says that nothing is outstanding: what has no answer by now lay in the gap.
                    self.down.settle_suspects(u64::MAX, &mut self.records);
                }
                self.retry(now, Duration::ZERO, "the server ended the stream".to_owned());
            }
            Loss::Retry { after, why } => self.retry(now, after, why),
        }
        self.end_if_finished(now);
    }

    pub(super) fn retry(&mut self, now: Instant, after: Duration, why: String) {
        let mut at_least = after;
        if let Phase::Live(live) = &self.phase {
            self.patience = live.suspects_until.saturating_duration_since(now);
            let has_held = now.saturating_duration_since(live.since) >= STABLE_AFTER;
            if has_held {
                self.backoff.reset();
            }
            match live.leaving {
                Some(_) => self.departures.asked += 1,
                None => self.departures.lost += 1,
            }
            if let Some(leaving) = live.leaving {
                let delay = leaving.retry_at.saturating_duration_since(now);
                if has_held {
                    // It was asked to move, at a moment that the server chose for it alone: there is no herd to keep out of.
                    self.phase = Phase::Waiting { until: now + delay, delay, why };
                    return;
                }
                at_least = at_least.max(delay);
            }
        }
        let delay = self.backoff.next(at_least);
        self.phase = Phase::Waiting { until: now + delay, delay, why };
    }

    /// One frame from the stream of this generation.
    pub(crate) fn frame(&mut self, now: Instant, generation: u64, frame: v1::ServerFrame) {
        if !self.wants_stream(generation) {
            return;
        }
        // A kind that this version does not know.
        let Some(kind) = frame.kind else { return self.heard(now) };
        match (&mut self.phase, kind) {
            (Phase::Opening { .. }, Down::Welcome(welcome)) => self.welcome(now, welcome),
            (_, Down::GoAway(go_away)) => self.go_away(now, &go_away),
            (Phase::Live(live), kind) => {
                live.last_heard = now;
                match kind {
                    Down::Accepted(accepted) => self.accepted(now, accepted.up_to_seq),
                    Down::Rejected(rejected) => live.rejected(now, &rejected, &self.up),
                    Down::Delivery(delivery) => self.delivery(now, delivery),
                    Down::Ping(ping) => {
                        live.pongs += 1;
                        self.bookmark(now, ping.bookmark);
                    }
                    Down::Welcome(_) | Down::GoAway(_) => {
                        let why = "the server broke the protocol: a second welcome".to_owned();
                        self.retry(now, Duration::ZERO, why);
                    }
                }
            }
            (_, kind) => {
                let why = format!("the server broke the protocol: {} before its welcome", kind_name(&kind));
                self.retry(now, Duration::ZERO, why);
            }
        }
        self.end_if_finished(now);
    }

    fn heard(&mut self, now: Instant) {
        if let Phase::Live(live) = &mut self.phase {
            live.last_heard = now;
        }
    }

    fn welcome(&mut self, now: Instant, welcome: v1::Welcome) {
        if welcome.accepted_seq > self.up.last_seq() {
            let error = Error::OutboxOutdated { accepted: welcome.accepted_seq, last: self.up.last_seq() };
            self.phase = Phase::Ended(Some(error));
            return;
        }
        self.accepted(now, welcome.accepted_seq);
        let resumed = self.resume(&welcome);
        let limits = welcome.limits.unwrap_or_default();
        let or = |given: u32, default: u32| if given == 0 { default } else { given };
        let ping_interval = match welcome.ping_interval_ms {
            0 => PING_INTERVAL,
            ms => Duration::from_millis(u64::from(ms)),
        };
        let session = Session { server_id: welcome.server_id, session_id: welcome.session_id, resumed };
        self.up.max_payload_bytes = (limits.max_payload_bytes > 0).then_some(limits.max_payload_bytes);
        self.phase = Phase::Live(Live {
            session,
            since: now,
            last_heard: now,
            ping_interval,
            max_in_flight: u64::from(or(limits.max_in_flight, 1024)),
            window: or(limits.receive_window, or(self.options.receive_window, 128)),
            next_to_send: self.up.accepted() + 1,
            hold_until: None,
            delivered: 0,
            acked: 0,
            pongs: 0,
            goodbye_sent: false,
            leaving: None,
            suspects_until: now + self.patience.max(READING_TIME.min(self.options.unknown_after)),
            done_at: None,
        });
        self.mark_dirty(now);
    }

    /// Settles with the server where deliveries go on from.
    fn resume(&mut self, welcome: &v1::Welcome) -> Resumed {
        let token = welcome.resume_token.clone();
        let outcome = ResumeOutcome::try_from(welcome.resume_outcome).unwrap_or(ResumeOutcome::Unspecified);
        let from_here = Gap { from: self.down.place().position, to: welcome.position };
        let has_begun = self.down.has_begun();
        let gap = match (outcome, welcome.gap) {
            (ResumeOutcome::Gap, Some(gap)) => Gap { from: gap.from, to: gap.to },
            (ResumeOutcome::Gap, None) => from_here,
            // A server that begins anew left something out for a client that has a place, or whose events it has.
            (ResumeOutcome::New, _) if has_begun || self.up.accepted() > 0 => from_here,
            _ if !has_begun => {
                self.down.begin(token, welcome.position, &mut self.records);
                return Resumed::New;
            }
            // Its first gap is still in the application's hands, so the server could not know where it is.
            _ if self.down.place().token.is_none() => from_here,
            _ => {
                self.down.renew_token(token, &mut self.records);
                return Resumed::Complete;
            }
        };
        if !self.down.gap(gap, token, self.up.sent()) {
            return Resumed::Complete;
        }
        self.patience = self.options.unknown_after;
        Resumed::WithGap
    }

    fn go_away(&mut self, now: Instant, go_away: &v1::GoAway) {
        if go_away.reason() == GoAwayReason::Superseded {
            let message = "a newer session of this client id took over".to_owned();
            self.phase = Phase::Ended(Some(Error::Superseded { message }));
            return;
        }
        let after = Duration::from_millis(u64::from(go_away.retry_after_ms));
        match &mut self.phase {
            // Accepts and deliveries that are under way may still come, so the stream is read to its end.
            Phase::Live(live) => live.leaving = Some(Leaving { at: now + LEAVE_AFTER, retry_at: now + after }),
            _ => self.retry(now, after, "the server turned the session away".to_owned()),
        }
    }
}

const fn kind_name(kind: &Down) -> &'static str {
    match kind {
        Down::Welcome(_) => "welcome",
        Down::Accepted(_) => "accepted",
        Down::Rejected(_) => "rejected",
        Down::Delivery(_) => "delivery",
        Down::Ping(_) => "ping",
        Down::GoAway(_) => "go-away",
    }
}
