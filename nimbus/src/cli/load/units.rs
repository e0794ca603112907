//! Numbers of a load as people read them.

use indicatif::HumanCount;

/// A whole number with its thousands apart.
pub(super) fn count(value: f64) -> String {
    HumanCount(value.round_ties_even() as u64).to_string()
}

/// A time with three digits, in the unit that fits.
pub(super) fn micros(value: f64) -> String {
    let (value, unit) = match value {
        value if value < 999.5 => (value, "us"),
        value if value < 999_500.0 => (value / 1e3, "ms"),
        value => (value / 1e6, "s"),
    };
    let decimals = match value {
        value if unit == "us" || value >= 99.95 => 0,
        value if value >= 9.995 => 1,
        _ => 2,
    };
    format!("{value:.decimals$} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_their_thousands_apart() {
        assert_eq!([0.0, 999.0, 1_000.4, 1_234_567.0].map(count), ["0", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn times_have_three_digits_and_the_unit_that_fits() {
        let times = [0.0, 87.4, 999.4, 1_000.0, 12_345.0, 123_456.0, 999_400.0, 1_500_000.0, 75_000_000.0];
        let texts = ["0 us", "87 us", "999 us", "1.00 ms", "12.3 ms", "123 ms", "999 ms", "1.50 s", "75.0 s"];
        assert_eq!(times.map(micros), texts);
    }
}
