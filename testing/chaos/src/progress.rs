//! What a run shows while it runs: a bar on a terminal, plain lines in a pipe, nothing with `--json`.

use std::{
    io::{self, IsTerminal as _, Write as _},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};
use nimbus_chaos::News;

/// How often a line tells about the load where there is no terminal.
const EVERY: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(crate) enum Progress {
    Bar(ProgressBar),
    Lines(Option<Instant>),
    Silent,
}

impl Progress {
    pub(crate) fn new(is_silent: bool) -> Self {
        if is_silent {
            return Self::Silent;
        }
        if !io::stderr().is_terminal() {
            return Self::Lines(None);
        }
        let style = ProgressStyle::with_template("{spinner} {elapsed}  [{bar:24}]  {wide_msg}");
        let style = style.expect("a constant that is a valid template").progress_chars("=> ");
        Self::Bar(ProgressBar::new(1_000).with_style(style))
    }

    pub(crate) fn show(&mut self, news: &News<'_>) {
        match news {
            News::Doing(what) => self.say(&format!("… {what}")),
            News::Strikes(step) => self.say(&format!("{:>3}  {}: {}", step.number, step.title(), step.kind.what())),
            News::Over(fault) => {
                let text = fault.recovery_s.zip(fault.after_s).map_or_else(
                    || "NOT RECOVERED".to_owned(),
                    |(recovery, after)| {
                        format!("recovered after {recovery:.1} s, {after:.1} s after the harm was over")
                    },
                );
                self.say(&format!("     {text}"));
            }
            News::Died(death) => self.say(&format!("     {} ENDED BY ITSELF: {}", death.name, death.status)),
            News::Load { done, answers, latency, outstanding, books } => {
                let latency = latency.map_or_else(String::new, |latency| {
                    format!(", p50 {:.0} ms, p99 {:.0} ms", latency.p50_ms, latency.p99_ms)
                });
                let wrong = match books.violations() {
                    0 => String::new(),
                    violations => format!(", {violations} VIOLATIONS"),
                };
                self.load(*done, format!("{answers} answers a second{latency}, {outstanding} outstanding{wrong}"));
            }
        }
    }

    fn load(&mut self, done: f64, text: String) {
        match self {
            Self::Bar(bar) => {
                bar.set_position((done * 1_000.0) as u64);
                bar.set_message(text);
                bar.tick();
            }
            Self::Lines(last) if last.is_none_or(|last| last.elapsed() >= EVERY) => {
                *last = Some(Instant::now());
                self.say(&format!("     {:.0} %: {text}", done * 100.0));
            }
            Self::Lines(_) | Self::Silent => {}
        }
    }

    fn say(&self, text: &str) {
        match self {
            Self::Bar(bar) => bar.println(text),
            // Nobody is left to tell that nobody reads it.
            Self::Lines(_) => drop(writeln!(io::stderr(), "{text}")),
            Self::Silent => {}
        }
    }

    pub(crate) fn end(&self) {
        if let Self::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}
