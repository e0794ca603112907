//! Lines in a picture: as much of SVG as the page of a result needs. Written by hand; a library would decide how it looks.

use std::fmt::Write as _;

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 280.0;
/// Of the panel within the picture.
const LEFT: f64 = 76.0;
const RIGHT: f64 = WIDTH - 20.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = HEIGHT - 44.0;
/// How wide a letter of a key is at most.
const LETTER: f64 = 7.0;

/// From values to places, and which of them are named.
#[derive(Debug, Clone)]
pub(super) struct Axis {
    pub(super) name: &'static str,
    from: f64,
    to: f64,
    is_log: bool,
    ticks: Vec<(f64, String)>,
}

impl Axis {
    /// Equal steps of the value are equal steps in the picture.
    pub(super) fn linear(name: &'static str, to: f64, label: impl Fn(f64) -> String) -> Self {
        let to = if to > 0.0 { to } else { 1.0 };
        let step = nice_step(to / 6.0);
        let steps = (0..).map(|number| f64::from(number) * step).take_while(|value| *value <= to);
        Self { name, from: 0.0, to, is_log: false, ticks: steps.map(|value| (value, label(value))).collect() }
    }

    /// Equal factors of the value are equal steps in the picture. At least one power of ten of it.
    pub(super) fn log(name: &'static str, from: f64, to: f64, label: impl Fn(f64) -> String) -> Self {
        let from = from.max(f64::MIN_POSITIVE);
        let to = to.max(from * 10.0);
        let (first, last) = (from.log10().floor() as i32, to.log10().ceil() as i32);
        let values = (first..=last).map(|power| 10f64.powi(power)).filter(|value| (from..=to).contains(value));
        Self { name, from, to, is_log: true, ticks: values.map(|value| (value, label(value))).collect() }
    }

    /// The same with these values named.
    pub(super) fn with_ticks(self, ticks: Vec<(f64, String)>) -> Self {
        Self { ticks, ..self }
    }

    fn share(&self, value: f64) -> f64 {
        let value = value.clamp(self.from, self.to);
        if self.is_log {
            (value / self.from).ln() / (self.to / self.from).ln()
        } else {
            (value - self.from) / (self.to - self.from)
        }
    }

    fn x(&self, value: f64) -> f64 {
        LEFT + self.share(value) * (RIGHT - LEFT)
    }

    fn y(&self, value: f64) -> f64 {
        BOTTOM - self.share(value) * (BOTTOM - TOP)
    }
}

/// One line. Where a value is missing, it is broken.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) name: &'static str,
    pub(super) colour: &'static str,
    pub(super) points: Vec<(f64, Option<f64>)>,
}

/// An `svg` element for a page, with the class names of [`STYLE`].
pub(super) fn chart(title: &str, x: &Axis, y: &Axis, lines: &[Line]) -> String {
    let mut text = String::new();
    draw(&mut text, title, x, y, lines).expect("a string takes everything");
    text
}

/// To be on the page once.
pub(super) const STYLE: &str = "svg text{font:12px ui-sans-serif,system-ui,sans-serif;fill:#61707f}\
svg .title{font-weight:600;fill:#1f2933;font-size:14px}.grid{stroke:#e4e8ec}.axis{stroke:#9aa5b1}\
svg path{fill:none;stroke-width:1.6;stroke-linejoin:round}";

fn draw(text: &mut String, title: &str, x: &Axis, y: &Axis, lines: &[Line]) -> std::fmt::Result {
    writeln!(text, r#"<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img">"#)?;
    writeln!(text, r#"<text class="title" x="{LEFT}" y="20">{title}, {}</text>"#, y.name)?;
    for (value, label) in &y.ticks {
        let at = y.y(*value);
        writeln!(text, r#"<line class="grid" x1="{LEFT}" x2="{RIGHT}" y1="{at:.1}" y2="{at:.1}"/>"#)?;
        writeln!(text, r#"<text x="{:.1}" y="{:.1}" text-anchor="end">{label}</text>"#, LEFT - 8.0, at + 4.0)?;
    }
    writeln!(text, r#"<line class="axis" x1="{LEFT}" x2="{RIGHT}" y1="{BOTTOM}" y2="{BOTTOM}"/>"#)?;
    for (value, label) in &x.ticks {
        let at = x.x(*value);
        writeln!(text, r#"<line class="axis" x1="{at:.1}" x2="{at:.1}" y1="{BOTTOM}" y2="{:.1}"/>"#, BOTTOM + 4.0)?;
        writeln!(text, r#"<text x="{at:.1}" y="{:.1}" text-anchor="middle">{label}</text>"#, BOTTOM + 18.0)?;
    }
    writeln!(text, r#"<text x="{RIGHT}" y="{:.1}" text-anchor="end">{}</text>"#, BOTTOM + 36.0, x.name)?;
    let mut key = RIGHT;
    for Line { name, colour, points } in lines.iter().rev() {
        key -= LETTER * name.len() as f64;
        writeln!(text, r#"<text x="{key:.1}" y="20">{name}</text>"#)?;
        writeln!(text, r#"<path stroke="{colour}" d="M{:.1} 16h16"/>"#, key - 22.0)?;
        key -= 40.0;
        let (mut path, mut is_down) = (String::new(), false);
        for (at, value) in points {
            let Some(value) = value else {
                is_down = false;
                continue;
            };
            write!(path, "{}{:.1} {:.1}", if is_down { 'L' } else { 'M' }, x.x(*at), y.y(*value))?;
            is_down = true;
        }
        writeln!(text, r#"<path stroke="{colour}" d="{path}"/>"#)?;
    }
    writeln!(text, "</svg>")
}

/// 1, 2 or 5 times a power of ten, not below `about`.
fn nice_step(about: f64) -> f64 {
    let power = 10f64.powf(about.log10().floor());
    [1.0, 2.0, 5.0, 10.0].map(|digit| digit * power).into_iter().find(|step| *step >= about).unwrap_or(about)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(axis: &Axis) -> Vec<f64> {
        axis.ticks.iter().map(|(value, _)| *value).collect()
    }

    #[test]
    fn axes_name_round_values_within() {
        let name = |value: f64| value.to_string();
        assert_eq!(values(&Axis::linear("", 1_000.0, name)), [0.0, 200.0, 400.0, 600.0, 800.0, 1_000.0]);
        assert_eq!(values(&Axis::linear("", 0.0, name)), [0.0, 0.2, 0.4, 0.6000000000000001, 0.8, 1.0]);
        assert_eq!(values(&Axis::log("", 50.0, 20_000.0, name)), [100.0, 1_000.0, 10_000.0]);
        let log = Axis::log("", 1.0, 100.0, name);
        assert_eq!([0.1, 1.0, 10.0, 100.0, 1_000.0].map(|value| log.share(value)), [0.0, 0.0, 0.5, 1.0, 1.0]);
    }

    #[test]
    fn a_line_is_broken_where_a_value_is_missing() {
        let axis = Axis::linear("", 4.0, |value| value.to_string());
        let points = vec![(0.0, Some(1.0)), (1.0, Some(2.0)), (2.0, None), (3.0, Some(3.0)), (4.0, Some(4.0))];
        let text = chart("t", &axis, &axis, &[Line { name: "n", colour: "#000", points }]);
        let path = text.lines().rfind(|line| line.starts_with("<path")).unwrap();
        assert_eq!((path.matches('M').count(), path.matches('L').count()), (2, 2), "{path}");
    }
}
