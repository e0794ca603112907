//! Log lines: to standard error, so that standard output stays the product's own.
//!
//! Lines are written by the thread that logs them. When whatever reads standard error stalls, so does that thread: losing
//! log lines silently would be worse, and the default level logs nothing per event.

use std::io::{self, IsTerminal};

use tracing::Subscriber;
use tracing_subscriber::{EnvFilter, fmt::MakeWriter};

/// What a line looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people; in colours if standard error is a terminal and `NO_COLOR` is not set.
    Text,
    /// One JSON object a line.
    Json,
}

/// Why logging could not be set up. Not retryable.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The filter breaks its grammar.
    #[error("the log filter is not right: {0}")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    /// Somebody has set a subscriber before.
    #[error("logging is set up already")]
    Twice(#[from] tracing::subscriber::SetGlobalDefaultError),
}

/// Sends the process's log lines to standard error. `filter` is a level, or `target=level` separated by commas.
///
/// # Errors
/// [`LogError`].
pub fn init_logs(filter: &str, format: LogFormat) -> Result<(), LogError> {
    let colours = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let subscriber = subscriber(filter, format, colours, io::stderr)?;
    Ok(tracing::subscriber::set_global_default(subscriber)?)
}

fn subscriber<W>(
    filter: &str,
    format: LogFormat,
    colours: bool,
    writer: W,
) -> Result<Box<dyn Subscriber + Send + Sync>, LogError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let filter = EnvFilter::try_new(filter)?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(colours)
        .with_writer(writer)
        // It would report a failed write to stderr, and panic when that is what failed: whoever reads the log may go away.
        .log_internal_errors(false);
    Ok(match format {
        LogFormat::Text => Box::new(builder.finish()),
        LogFormat::Json => Box::new(builder.json().flatten_event(true).finish()),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Captured(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Captured {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(filter: &str, format: LogFormat) -> String {
        let captured = Captured::default();
        let writer = captured.clone();
        let subscriber = subscriber(filter, format, false, move || writer.clone()).unwrap();
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(partition = 3, "partition taken");
            tracing::debug!("hidden");
        });
        let bytes = captured.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn text_is_plain_and_json_is_one_object_a_line() {
        let text = logged("info", LogFormat::Text);
        assert!(text.contains("partition taken partition=3") && !text.contains('\u{1b}'), "{text}");
        let json = logged("info", LogFormat::Json);
        assert!(json.starts_with('{') && json.ends_with("}\n") && json.contains(r#""partition":3"#), "{json}");
        assert_eq!(json.lines().count(), 1, "the filter hides debug");
    }

    #[test]
    fn a_wrong_filter_is_an_error() {
        assert!(matches!(subscriber("nimbus=loud", LogFormat::Text, false, io::sink), Err(LogError::Filter(_))));
    }
}
