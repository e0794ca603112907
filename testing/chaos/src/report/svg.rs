//! The timeline as a picture: three panels over one axis of time (throughput, latency on a log scale, what waits), and behind them
//! a band for each fault. Written by hand: it needs a few lines and some text, and a library would decide how it looks.

mod scale;

use std::fmt::Write as _;

use self::scale::{Linear, Log, nice_step, time_step};
use super::{Fault, Report};
use crate::Sample;

const WIDTH: f64 = 1_280.0;
const LEFT: f64 = 76.0;
const MARGIN: f64 = 24.0;
/// Where the labels of the faults begin, and how high one row of them is.
const LABELS: f64 = 74.0;
const ROW: f64 = 14.0;
/// The heights of the panels.
const THROUGHPUT: f64 = 150.0;
const LATENCY: f64 = 250.0;
const WAITING: f64 = 110.0;
const BETWEEN: f64 = 34.0;
/// From so many faults on, labels stand upright.
const MANY: usize = 30;
/// How high the longest of them is then, and how close they may stand.
const UPRIGHT: f64 = 166.0;
const SIDE_BY_SIDE: f64 = 10.5;
/// How much room each fault has at least.
const ROOM: f64 = 13.0;
/// How far above the rate the throughput is drawn.
const CATCHING_UP: f64 = 2.5;
/// How wide a letter of a label is at most.
const LETTER: f64 = 6.1;

const STYLE: &str = "text{font:12px ui-sans-serif,system-ui,'Segoe UI',Roboto,'DejaVu Sans',sans-serif;fill:#1f2933}\
.title{font-size:17px;font-weight:600}.sub,.tick{fill:#61707f}.tick,.label{font-size:11px}.panel{font-weight:600}.panel,.key{paint-order:stroke;stroke:#ffffff;stroke-width:5px;stroke-linejoin:round}\
.grid{stroke:#e4e8ec;stroke-width:1}.axis{stroke:#9aa5b1;stroke-width:1}\
.harm{fill:#e4572e;fill-opacity:.20}.healing{fill:#f2a541;fill-opacity:.20}.lead{stroke:#c2452a;stroke-width:1;stroke-opacity:.45}\
.sent{fill:none;stroke:#9aa5b1;stroke-width:1.2;stroke-dasharray:4 3}.answered{fill:none;stroke:#1769aa;stroke-width:1.6}\
.p50{fill:none;stroke:#1769aa;stroke-width:1.6}.p99{fill:none;stroke:#c2452a;stroke-width:1.6}\
.label.small{font-size:9px}.label{paint-order:stroke;stroke:#ffffff;stroke-width:4px;stroke-linejoin:round}\
.good{stroke:#2e8b57;stroke-width:1;stroke-dasharray:6 4}.area{fill:#7b61a8;fill-opacity:.30;stroke:#7b61a8;stroke-width:1.2}";

pub(super) fn svg(report: &Report) -> String {
    let mut picture = Picture { text: String::new(), report, x: time(report) };
    picture.draw().expect("a string takes everything");
    picture.text
}

/// Where the right end of the panels is: a long run has a wide picture.
fn right(report: &Report) -> f64 {
    f64::max(WIDTH - MARGIN, LEFT + ROOM * report.faults.len() as f64)
}

fn time(report: &Report) -> Linear {
    Linear::new(0.0, end(report), LEFT, right(report))
}

fn end(report: &Report) -> f64 {
    report.timeline.last().map_or(1.0, |sample| sample.at_s).max(1.0)
}

struct Picture<'a> {
    text: String,
    report: &'a Report,
    x: Linear,
}

/// One panel: its name, and where it is.
struct Panel {
    top: f64,
    bottom: f64,
}

impl Picture<'_> {
    fn draw(&mut self) -> std::fmt::Result {
        let is_crowded = self.report.faults.len() >= MANY;
        let labels = if is_crowded { Vec::new() } else { rows(&self.report.faults, &self.x) };
        let rows = labels.iter().map(|(_, row)| row + 1).max().unwrap_or(0);
        let top = LABELS + if is_crowded { UPRIGHT } else { ROW * rows as f64 + 26.0 };
        let throughput = Panel { top, bottom: top + THROUGHPUT };
        let latency = Panel { top: throughput.bottom + BETWEEN, bottom: throughput.bottom + BETWEEN + LATENCY };
        let waiting = Panel { top: latency.bottom + BETWEEN, bottom: latency.bottom + BETWEEN + WAITING };
        let (width, height) = (right(self.report) + MARGIN, waiting.bottom + 46.0);
        writeln!(
            self.text,
            r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0} {height:.0}" width="{width:.0}" height="{height:.0}" role="img">"#
        )?;
        writeln!(self.text, "<title>{}</title><style>{STYLE}</style>", self.headline())?;
        writeln!(self.text, r##"<rect width="100%" height="100%" fill="#ffffff"/>"##)?;
        self.head()?;
        self.bands(throughput.top, waiting.bottom)?;
        if is_crowded {
            self.upright_labels(throughput.top - 42.0)?;
        } else {
            self.labels(&labels, waiting.bottom)?;
        }
        self.throughput(&throughput)?;
        self.latency(&latency)?;
        self.waiting(&waiting)?;
        self.time_axis(&[&throughput, &latency, &waiting])?;
        writeln!(self.text, "</svg>")
    }

    fn headline(&self) -> String {
        let books = &self.report.books;
        format!(
            "{} events, {} faults: {} lost, {} duplicated, {} reordered, {} to the wrong client",
            books.sent,
            self.report.faults.len(),
            books.lost,
            books.duplicated,
            books.reordered,
            books.foreign
        )
    }

    fn head(&mut self) -> std::fmt::Result {
        let headline = self.headline();
        writeln!(self.text, r#"<text class="title" x="{LEFT}" y="30">{headline}</text>"#)?;
        let sub = format!(
            "seed {}, {} clients, {:.0} events a second together; every answer verified; latency from when an event should have been sent",
            self.report.seed, self.report.clients, self.report.rate
        );
        writeln!(self.text, r#"<text class="sub" x="{LEFT}" y="50">{sub}</text>"#)?;
        let keys = [("harm", "harm is done"), ("healing", "until recovered")];
        let mut x = right(self.report) - 232.0;
        for (class, name) in keys {
            writeln!(self.text, r#"<rect class="{class}" x="{x:.0}" y="20" width="14" height="12"/>"#)?;
            writeln!(self.text, r#"<text class="tick" x="{:.0}" y="30">{name}</text>"#, x + 20.0)?;
            x += 116.0;
        }
        Ok(())
    }

    fn bands(&mut self, top: f64, bottom: f64) -> std::fmt::Result {
        let (x, end, height) = (self.x, end(self.report), bottom - top);
        for fault in &self.report.faults {
            let course = &fault.course;
            let (from, to) = (x.at(course.began_s), x.at(course.ended_s));
            let healed = x.at(course.recovered_s.unwrap_or(end));
            for (class, left, right) in [("harm", from, to.max(from + 1.5)), ("healing", to.max(from + 1.5), healed)] {
                if right > left {
                    writeln!(
                        self.text,
                        r#"<rect class="{class}" x="{left:.1}" y="{top:.1}" width="{:.1}" height="{height:.1}"/>"#,
                        right - left
                    )?;
                }
            }
        }
        Ok(())
    }

    /// Labels side by side in rows, each beside a line down to its band.
    fn labels(&mut self, labels: &[(usize, usize)], bottom: f64) -> std::fmt::Result {
        let (x, report) = (self.x, self.report);
        let placed = || labels.iter().filter_map(|(number, row)| Some((report.faults.get(*number)?, row)));
        for (fault, row) in placed() {
            let (at, y) = (x.at(fault.course.began_s), LABELS + ROW * *row as f64);
            writeln!(self.text, r#"<line class="lead" x1="{at:.1}" x2="{at:.1}" y1="{y:.1}" y2="{bottom:.1}"/>"#)?;
        }
        // Over the lines of all of them, not only of those before.
        for (fault, row) in placed() {
            let text = label(fault);
            let (from, y) = (label_x(x.at(fault.course.began_s), &text), LABELS + ROW * *row as f64 + 10.0);
            writeln!(self.text, r#"<text class="label" x="{from:.1}" y="{y:.1}">{text}</text>"#)?;
        }
        Ok(())
    }

    /// Where there are many: upright, each over its band or as close to it as those before let it.
    fn upright_labels(&mut self, foot: f64) -> std::fmt::Result {
        let mut free = 0.0;
        for fault in &self.report.faults {
            let line = self.x.at(fault.course.began_s);
            let at = f64::max(line + 4.0, free);
            free = at + SIDE_BY_SIDE;
            writeln!(
                self.text,
                r#"<path class="lead" fill="none" d="M{line:.1} {:.1}L{line:.1} {:.1}L{:.1} {foot:.1}"/>"#,
                foot + 42.0,
                foot + 14.0,
                at - 3.0
            )?;
            writeln!(
                self.text,
                r#"<text class="label small" transform="translate({at:.1} {foot:.1}) rotate(-90)">{}</text>"#,
                label(fault)
            )?;
        }
        Ok(())
    }

    fn throughput(&mut self, panel: &Panel) -> std::fmt::Result {
        let samples = &self.report.timeline;
        let most = samples.iter().map(|sample| sample.answered.max(sample.sent)).max().unwrap_or(0) as f64;
        // What is caught up with in one second would make a flat line of all others.
        let bound = CATCHING_UP * self.report.rate;
        let name =
            if most > bound { "events a second (cut off where it catches up faster)" } else { "events a second" };
        let y = Linear::new(0.0, (most.min(bound)).max(1.0) * 1.08, panel.bottom, panel.top);
        self.panel(panel, name, &[("sent", "sent"), ("answered", "answered")])?;
        self.linear_grid(&y)?;
        self.line("sent", |sample| Some(y.at(sample.sent as f64)))?;
        self.line("answered", |sample| Some(y.at(sample.answered as f64)))
    }

    fn latency(&mut self, panel: &Panel) -> std::fmt::Result {
        let right = right(self.report);
        let samples = &self.report.timeline;
        let latencies = || samples.iter().filter_map(|sample| sample.latency);
        let least = latencies().map(|latency| latency.p50_ms).fold(f64::INFINITY, f64::min).clamp(0.1, 1_000.0);
        let most = latencies().map(|latency| latency.p99_ms).fold(10.0 * least, f64::max);
        let y = Log::new(least * 0.8, most * 1.25, panel.bottom, panel.top);
        self.panel(
            panel,
            "latency of a second's answers, log scale",
            &[("p50", "p50"), ("p99", "p99"), ("good", "bound of recovery")],
        )?;
        for (value, is_named) in y.ticks() {
            let at = y.at(value);
            writeln!(self.text, r#"<line class="grid" x1="{LEFT}" x2="{right}" y1="{at:.1}" y2="{at:.1}"/>"#)?;
            if is_named {
                self.tick(LEFT - 8.0, at + 4.0, "end", &named_ms(value))?;
            }
        }
        let good = y.at(self.report.steady.good_p99_ms.max(least));
        if good > panel.top {
            writeln!(self.text, r#"<line class="good" x1="{LEFT}" x2="{right}" y1="{good:.1}" y2="{good:.1}"/>"#)?;
        }
        self.line("p50", |sample| sample.latency.map(|latency| y.at(latency.p50_ms)))?;
        self.line("p99", |sample| sample.latency.map(|latency| y.at(latency.p99_ms)))
    }

    fn waiting(&mut self, panel: &Panel) -> std::fmt::Result {
        let samples = &self.report.timeline;
        let most = samples.iter().map(|sample| sample.outstanding).max().unwrap_or(0) as f64;
        let y = Linear::new(0.0, most.max(1.0) * 1.08, panel.bottom, panel.top);
        self.panel(panel, "events without an answer yet", &[])?;
        self.linear_grid(&y)?;
        let mut path = format!("M{LEFT:.1} {:.1}", panel.bottom);
        for sample in samples {
            write!(path, "L{:.1} {:.1}", self.x.at(sample.at_s), y.at(sample.outstanding as f64))?;
        }
        write!(path, "L{:.1} {:.1}Z", self.x.at(end(self.report)), panel.bottom)?;
        writeln!(self.text, r#"<path class="area" d="{path}"/>"#)
    }

    /// The name of a panel, its base line, and what its lines are.
    fn panel(&mut self, panel: &Panel, name: &str, keys: &[(&str, &str)]) -> std::fmt::Result {
        let right = right(self.report);
        let y = panel.top - 9.0;
        writeln!(self.text, r#"<text class="panel" x="{LEFT}" y="{y:.1}">{name}</text>"#)?;
        let bottom = panel.bottom;
        writeln!(self.text, r#"<line class="axis" x1="{LEFT}" x2="{right}" y1="{bottom:.1}" y2="{bottom:.1}"/>"#)?;
        let mut x = right;
        for (class, name) in keys.iter().rev() {
            x -= LETTER * name.len() as f64;
            self.tick(x, y, "start", name)?;
            writeln!(
                self.text,
                r#"<line class="{class}" x1="{:.1}" x2="{:.1}" y1="{:.1}" y2="{:.1}"/>"#,
                x - 28.0,
                x - 6.0,
                y - 4.0,
                y - 4.0
            )?;
            x -= 46.0;
        }
        Ok(())
    }

    fn linear_grid(&mut self, y: &Linear) -> std::fmt::Result {
        let right = right(self.report);
        let step = nice_step(y.most() / 6.0);
        let mut value = 0.0;
        while value <= y.most() {
            let at = y.at(value);
            if value > 0.0 {
                writeln!(self.text, r#"<line class="grid" x1="{LEFT}" x2="{right}" y1="{at:.1}" y2="{at:.1}"/>"#)?;
            }
            self.tick(LEFT - 8.0, at + 4.0, "end", &thousands(value))?;
            value += step;
        }
        Ok(())
    }

    fn time_axis(&mut self, panels: &[&Panel]) -> std::fmt::Result {
        let end = end(self.report);
        let step = time_step(end / 12.0);
        let bottom = panels.last().map_or(0.0, |panel| panel.bottom);
        let mut at = 0.0;
        while at <= end {
            let x = self.x.at(at);
            for panel in panels {
                let (from, to) = (panel.bottom, panel.bottom + 4.0);
                writeln!(self.text, r#"<line class="axis" x1="{x:.1}" x2="{x:.1}" y1="{from:.1}" y2="{to:.1}"/>"#)?;
            }
            self.tick(x, bottom + 18.0, "middle", &clock(at))?;
            at += step;
        }
        self.tick(right(self.report), bottom + 36.0, "end", "minutes and seconds since the first event")
    }

    fn tick(&mut self, x: f64, y: f64, anchor: &str, text: &str) -> std::fmt::Result {
        writeln!(self.text, r#"<text class="tick" x="{x:.1}" y="{y:.1}" text-anchor="{anchor}">{text}</text>"#)
    }

    /// A line through the samples; where there is no value it is broken.
    fn line(&mut self, class: &str, y: impl Fn(&Sample) -> Option<f64>) -> std::fmt::Result {
        let (mut path, mut is_down) = (String::new(), false);
        for sample in &self.report.timeline {
            let Some(y) = y(sample) else {
                is_down = false;
                continue;
            };
            write!(path, "{}{:.1} {y:.1}", if is_down { 'L' } else { 'M' }, self.x.at(sample.at_s))?;
            is_down = true;
        }
        if !path.is_empty() {
            writeln!(self.text, r#"<path class="{class}" stroke-linejoin="round" d="{path}"/>"#)?;
        }
        Ok(())
    }
}

fn label(fault: &Fault) -> String {
    let recovery = fault.recovery_s.map_or_else(|| "–".to_owned(), |seconds| format!("{seconds:.1} s"));
    format!("{}: {recovery}", fault.title())
}

/// Where a label begins: right of its line, or where it still fits into the picture.
fn label_x(line: f64, text: &str) -> f64 {
    (line + 3.0).min(WIDTH - 4.0 - LETTER * text.chars().count() as f64)
}

/// Which row each label goes into, so that none covers another: the first one that is free where it begins.
fn rows(faults: &[Fault], x: &Linear) -> Vec<(usize, usize)> {
    let mut ends: Vec<f64> = Vec::new();
    let placed = faults.iter().enumerate().map(|(number, fault)| {
        let text = label(fault);
        let from = label_x(x.at(fault.course.began_s), &text);
        let to = from + LETTER * text.chars().count() as f64 + 8.0;
        let row = ends.iter().position(|end| *end <= from).unwrap_or(ends.len());
        match ends.get_mut(row) {
            Some(end) => *end = to,
            None => ends.push(to),
        }
        (number, row)
    });
    placed.collect()
}

fn named_ms(value: f64) -> String {
    if value >= 1_000.0 { format!("{} s", value / 1_000.0) } else { format!("{value} ms") }
}

fn thousands(value: f64) -> String {
    indicatif::HumanCount(value.round_ties_even() as u64).to_string()
}

fn clock(seconds: f64) -> String {
    let seconds = seconds.round() as u64;
    format!("{}:{:02}", seconds / 60, seconds % 60)
}

#[cfg(test)]
mod tests;
