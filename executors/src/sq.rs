//! `sq`: the square of an integer.

use nimbus_core::{
    ContentType, Event, Reason,
    ports::executor::{Executor, ExecutorError, Job, Outcome, Output, Run},
};

use crate::json;

/// Takes a JSON integer and answers its square as a JSON integer.
///
/// Anything but an integer literal is refused with `INVALID_PAYLOAD`; a square beyond 64 bits (signed) with
/// `RESULT_OUT_OF_RANGE`. Never a wrapped number. Pure.
#[derive(Debug)]
pub struct Sq {
    media_type: ContentType,
}

impl Sq {
    /// The executor.
    pub fn new() -> Self {
        Self { media_type: json::media_type() }
    }

    fn square(&self, event: &Event) -> Outcome {
        json::check_media_type(event)?;
        let literal = integer_literal(&event.payload).ok_or_else(|| {
            json::refusal(event, "takes a JSON integer such as 12, without quotes, fraction or exponent")
        })?;
        // A literal that i64 cannot hold is an integer all the same; it is its square that has no place.
        let number: Option<i64> = literal.parse().ok();
        let square = number.and_then(|n| n.checked_mul(n)).ok_or_else(|| {
            let message = format!("the square of {literal:.40} does not fit into a signed 64-bit integer");
            ExecutorError::rejected(Reason::ResultOutOfRange, message)
        })?;
        Ok(Output::new(square.to_string(), self.media_type.clone()))
    }
}

impl Default for Sq {
    fn default() -> Self {
        Self::new()
    }
}

impl Executor for Sq {
    fn name(&self) -> &str {
        "sq"
    }

    fn is_pure(&self) -> bool {
        true
    }

    fn run<'a>(&'a self, job: Job<'a>) -> Run<'a> {
        Run::Now(self.square(job.event))
    }
}

/// The payload if it is a JSON integer literal: an optional minus, then digits without a leading zero.
fn integer_literal(payload: &[u8]) -> Option<&str> {
    let text = str::from_utf8(payload).ok()?.trim_matches([' ', '\t', '\n', '\r']);
    let digits = text.strip_prefix('-').unwrap_or(text);
    let canonical = digits == "0" || !digits.starts_with('0');
    (canonical && !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())).then_some(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{event, now, refused};

    fn sq(payload: &str) -> Outcome {
        now(&Sq::new(), &event("sq", payload, "application/json"))
    }

    #[test]
    fn answers_the_square_as_a_json_integer() {
        for (number, square) in [("7", "49"), ("-7", "49"), ("0", "0"), (" 3037000499\n", "9223372030926249001")] {
            let output = sq(number).unwrap();
            assert_eq!(output.payload, square.as_bytes());
            assert_eq!(output.content_type.as_str(), "application/json");
        }
    }

    #[test]
    fn a_square_beyond_64_bits_is_refused_never_wrapped() {
        for number in ["3037000500", "-3037000500", "9223372036854775807", "123456789012345678901234567890"] {
            assert_eq!(refused(sq(number)).0, "RESULT_OUT_OF_RANGE", "{number}");
        }
    }

    #[test]
    fn anything_but_an_integer_literal_is_refused_and_says_what_to_send() {
        for payload in ["", "-", "twelve", "\"12\"", "12.0", "1e3", "+1", "007", "-01", "1 2", "null", "[1]", "0x10"] {
            let (reason, message) = refused(sq(payload));
            assert_eq!(reason, "INVALID_PAYLOAD", "{payload}");
            assert!(message.contains("JSON integer such as 12"), "{message}");
        }
    }

    #[test]
    fn json_may_be_unsaid_or_said_with_parameters_but_not_contradicted() {
        for said in ["", "application/json", "Application/JSON; charset=utf-8"] {
            assert!(now(&Sq::new(), &event("sq", "2", said)).is_ok(), "{said}");
        }
        let (reason, message) = refused(now(&Sq::new(), &event("sq", "2", "text/plain")));
        assert_eq!(reason, "INVALID_PAYLOAD");
        assert!(message.contains("text/plain"));
    }

    proptest! {
        #[test]
        fn agrees_with_wide_arithmetic(number: i64) {
            let wide = i128::from(number) * i128::from(number);
            match sq(&number.to_string()) {
                Ok(output) => prop_assert_eq!(output.payload, wide.to_string()),
                Err(_) => prop_assert!(wide > i128::from(i64::MAX)),
            }
        }

        #[test]
        fn no_payload_makes_it_panic(payload: Vec<u8>) {
            let mut event = event("sq", "", "");
            event.payload = payload.into();
            let outcome = now(&Sq::new(), &event);
            prop_assert!(matches!(outcome, Ok(_) | Err(ExecutorError::Rejected(_))));
        }
    }
}
