//! From values to places in a picture, and where lines of a grid go.

/// Equal steps of the value are equal steps in the picture.
#[derive(Debug, Clone, Copy)]
pub(super) struct Linear {
    least: f64,
    most: f64,
    from: f64,
    to: f64,
}

impl Linear {
    pub(super) const fn new(least: f64, most: f64, from: f64, to: f64) -> Self {
        Self { least, most, from, to }
    }

    pub(super) fn at(&self, value: f64) -> f64 {
        let share = (value.clamp(self.least, self.most) - self.least) / (self.most - self.least);
        self.from + share * (self.to - self.from)
    }

    pub(super) const fn most(&self) -> f64 {
        self.most
    }
}

/// Equal factors of the value are equal steps in the picture.
#[derive(Debug, Clone, Copy)]
pub(super) struct Log(Linear);

impl Log {
    pub(super) fn new(least: f64, most: f64, from: f64, to: f64) -> Self {
        Self(Linear::new(least.log10(), most.log10(), from, to))
    }

    pub(super) fn at(&self, value: f64) -> f64 {
        self.0.at(value.log10())
    }

    /// 1, 2 and 5 of each power of ten that are within, and whether one is given its name: all of them where there are few.
    pub(super) fn ticks(&self) -> Vec<(f64, bool)> {
        let powers = (self.0.least.floor() as i32)..=(self.0.most.ceil() as i32);
        let is_within = |value: &f64| (self.0.least..=self.0.most).contains(&value.log10());
        let is_narrow = self.0.most - self.0.least < 3.0;
        let ticks = powers.flat_map(|power| {
            [1.0, 2.0, 5.0].map(|digit| {
                // Not a product, which would not be a round number below 1.
                let value = if power < 0 { digit / 10f64.powi(-power) } else { digit * 10f64.powi(power) };
                (value, digit == 1.0 || is_narrow)
            })
        });
        ticks.filter(|(value, _)| is_within(value)).collect()
    }
}

/// 1, 2 or 5 times a power of ten, not below `about`.
pub(super) fn nice_step(about: f64) -> f64 {
    let about = about.max(1.0);
    let power = 10f64.powf(about.log10().floor());
    [1.0, 2.0, 5.0, 10.0].map(|digit| digit * power).into_iter().find(|step| *step >= about).unwrap_or(about)
}

/// A step of a clock, not below `about` seconds.
pub(super) fn time_step(about: f64) -> f64 {
    let steps = [1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1_800.0, 3_600.0];
    steps.into_iter().find(|step| *step >= about).unwrap_or_else(|| (about / 3_600.0).ceil() * 3_600.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_round() {
        assert_eq!([0.3, 1.1, 13.0, 260.0, 999.0].map(nice_step), [1.0, 2.0, 20.0, 500.0, 1_000.0]);
        assert_eq!([0.2, 4.0, 25.0, 150.0, 7_000.0].map(time_step), [1.0, 5.0, 30.0, 300.0, 7_200.0]);
    }

    #[test]
    fn a_log_scale_has_equal_steps_for_equal_factors_and_ticks_within() {
        let scale = Log::new(1.0, 100.0, 0.0, 200.0);
        assert_eq!([1.0, 10.0, 100.0].map(|value| scale.at(value)), [0.0, 100.0, 200.0]);
        assert_eq!(
            scale.ticks().iter().map(|(value, _)| *value).collect::<Vec<_>>(),
            [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0]
        );
        assert_eq!(Log::new(0.09, 0.3, 0.0, 1.0).ticks(), [(0.1, true), (0.2, true)]);
    }
}
