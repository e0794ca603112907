//! `echo`: gives back what it gets.

use nimbus_core::ports::executor::{Executor, Job, Output, Run};

/// Answers with the event's own payload, media type and attributes. Pure.
#[derive(Debug)]
pub struct Echo;

impl Executor for Echo {
    fn name(&self) -> &str {
        "echo"
    }

    fn is_pure(&self) -> bool {
        true
    }

    fn run<'a>(&'a self, job: Job<'a>) -> Run<'a> {
        Run::Now(Ok(Output {
            payload: job.event.payload.clone(),
            content_type: job.event.content_type.clone(),
            attributes: job.event.attributes.clone(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{event, now};

    #[test]
    fn gives_back_payload_media_type_and_attributes() {
        let mut event = event("echo", "any \u{0} bytes", "text/x-odd");
        event.attributes = vec![("k".to_owned(), "v".to_owned())];
        let output = now(&Echo, &event).unwrap();
        assert_eq!(output.payload, event.payload);
        assert_eq!(output.content_type, event.content_type);
        assert_eq!(output.attributes, event.attributes);
    }
}
