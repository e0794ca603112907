//! Numbers in seven-bit groups, the lowest first.

/// A number takes no more.
pub(super) const MAX_BYTES: usize = 10;

pub(super) fn write(into: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        into.push(number as u8 | 0x80);
        number >>= 7;
    }
    into.push(number as u8);
}

/// Takes a number off the front; `None` if there is no whole one that fits.
pub(super) fn read(from: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for (index, byte) in from.iter().enumerate().take(MAX_BYTES) {
        let bits = u64::from(byte & 0x7f);
        if index == MAX_BYTES - 1 && bits > 1 {
            return None;
        }
        number |= bits << (7 * index);
        if byte & 0x80 == 0 {
            *from = &from[index + 1..];
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_written_is_read(numbers: Vec<u64>) {
            let mut bytes = Vec::new();
            numbers.iter().for_each(|number| write(&mut bytes, *number));
            let mut rest = &bytes[..];
            for number in numbers {
                prop_assert_eq!(read(&mut rest), Some(number));
            }
            prop_assert_eq!(read(&mut rest), None);
        }

        #[test]
        fn anything_else_is_refused_or_read_without_a_panic(bytes: Vec<u8>) {
            let mut rest = &bytes[..];
            while read(&mut rest).is_some() {}
        }
    }

    #[test]
    fn a_number_that_does_not_fit_is_refused() {
        let mut too_large: &[u8] = &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2];
        assert_eq!(read(&mut too_large), None);
        let mut largest: &[u8] = &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1];
        assert_eq!(read(&mut largest), Some(u64::MAX));
    }
}
