//! How a load is doing, on standard error: on a terminal one line that changes, with the rates of the last half minute as a
//! picture; in a pipe a line every second; nothing with `--json`.

use std::{
    collections::VecDeque,
    io::{self, IsTerminal as _},
};

use indicatif::{ProgressBar, ProgressStyle};
use nimbus_loadtest::LoadProgress;

use super::units;
use crate::exit::tell;

/// How many rates the picture shows: half a minute fits into a narrow terminal.
const SHOWN: usize = 30;
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

#[derive(Debug)]
pub(super) enum Progress {
    Live(ProgressBar, Sparkline),
    Lines,
    Silent,
}

impl Progress {
    pub(super) fn new(is_silent: bool) -> Self {
        if is_silent {
            return Self::Silent;
        }
        if !io::stderr().is_terminal() {
            return Self::Lines;
        }
        let style = ProgressStyle::with_template("{spinner} {elapsed}  {msg}");
        let style = style.expect("a constant that is a valid template");
        Self::Live(ProgressBar::new_spinner().with_style(style), Sparkline::default())
    }

    pub(super) fn show(&mut self, now: LoadProgress) {
        match self {
            Self::Live(bar, rates) => {
                rates.push(now.events_per_second);
                bar.set_message(format!("{}  {}", rates.draw(), line(&now)));
                bar.tick();
            }
            Self::Lines => tell(format_args!("{:.0} s: {}", now.elapsed.as_secs_f64(), line(&now))),
            Self::Silent => {}
        }
    }

    pub(super) fn end(&mut self) {
        if let Self::Live(bar, _) = self {
            bar.finish_and_clear();
        }
    }
}

fn line(now: &LoadProgress) -> String {
    let rate = units::count(now.events_per_second);
    let latency = now.latency.map_or_else(
        || "nothing measured".to_owned(),
        |latency| format!("p50 {}, p99 {}", units::micros(latency.p50_us), units::micros(latency.p99_us)),
    );
    let errors = if now.errors == 0 { "no errors".to_owned() } else { format!("{} errors", now.errors) };
    let broken =
        if now.broken_streams == 0 { String::new() } else { format!(", {} streams broken", now.broken_streams) };
    format!("{rate} answers/s, {latency}, {errors}{broken}")
}

/// The latest values as bars beside each other, the highest of them full.
#[derive(Debug, Default)]
pub(super) struct Sparkline(VecDeque<f64>);

impl Sparkline {
    fn push(&mut self, value: f64) {
        if self.0.len() == SHOWN {
            self.0.pop_front();
        }
        self.0.push_back(value.max(0.0));
    }

    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    fn draw(&self) -> String {
        let most = self.0.iter().copied().fold(0.0, f64::max);
        let top = BARS.len() - 1;
        let bar = |value: &f64| if most > 0.0 { BARS[(value / most * top as f64).round() as usize] } else { BARS[0] };
        self.0.iter().map(bar).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use nimbus_loadtest::Latency;

    use super::*;

    #[test]
    fn the_highest_rate_is_a_full_bar_and_old_ones_leave() {
        let mut rates = Sparkline::default();
        assert_eq!(rates.draw(), "");
        rates.push(0.0);
        assert_eq!(rates.draw(), "▁");
        for rate in [100.0, 50.0, 0.0] {
            rates.push(rate);
        }
        assert_eq!(rates.draw(), "▁█▅▁");
        (0..SHOWN).for_each(|_| rates.push(7.0));
        assert_eq!(rates.draw(), "█".repeat(SHOWN));
    }

    #[test]
    fn a_line_says_what_the_last_second_was_like() {
        let mut now = LoadProgress {
            elapsed: Duration::from_secs(3),
            answered: 100,
            events_per_second: 12_345.6,
            latency: None,
            errors: 0,
            broken_streams: 0,
        };
        assert_eq!(line(&now), "12,346 answers/s, nothing measured, no errors");
        now.latency = Some(Latency { p50_us: 812.0, p99_us: 12_345.0, ..Latency::default() });
        (now.errors, now.broken_streams) = (3, 1);
        assert_eq!(line(&now), "12,346 answers/s, p50 812 us, p99 12.3 ms, 3 errors, 1 streams broken");
    }
}
