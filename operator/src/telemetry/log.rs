//! The log: JSON, an object a line, on standard error; for people where that is a terminal.

use std::io::{self, IsTerminal as _};

use tracing::Subscriber;
use tracing_subscriber::{
    EnvFilter,
    fmt::MakeWriter,
    layer::SubscriberExt as _,
    util::{SubscriberInitExt as _, TryInitError},
};

/// What is logged when nobody says.
const LEVEL: &str = "info";

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// A filter that cannot be read.
    #[error("`{filter}` is no log level: use error, warn, info, debug, trace, or directives such as `info,kube=debug`")]
    Filter {
        /// The text.
        filter: String,
        /// What is wrong with it.
        source: tracing_subscriber::filter::ParseError,
    },
    /// There is a log already.
    #[error("the log is set up already")]
    Twice(#[from] TryInitError),
}

/// How a line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// An object a line, for machines.
    Json,
    /// For people.
    Human,
}

impl Format {
    /// For people on a terminal, for machines otherwise.
    pub fn of_stderr() -> Self {
        if io::stderr().is_terminal() { Format::Human } else { Format::Json }
    }
}

/// Sets up the log of this process. `level` is the value of `--log-level`; where there is none, `RUST_LOG` counts, and then
/// `info`. Both take levels and directives such as `info,kube=debug`.
///
/// # Errors
/// For a level that cannot be read, and where a log is set up already.
pub fn init(level: Option<&str>, format: Format) -> Result<(), LogError> {
    let environment = std::env::var(EnvFilter::DEFAULT_ENV).ok();
    subscriber(filter(level, environment.as_deref())?, format, io::stderr).try_init()?;
    Ok(())
}

fn filter(level: Option<&str>, environment: Option<&str>) -> Result<EnvFilter, LogError> {
    let said = [level, environment].into_iter().flatten().map(str::trim).find(|text| !text.is_empty());
    let filter = said.unwrap_or(LEVEL);
    EnvFilter::try_new(filter).map_err(|source| LogError::Filter { filter: filter.to_owned(), source })
}

fn subscriber<W>(filter: EnvFilter, format: Format, writer: W) -> Box<dyn Subscriber + Send + Sync>
where
    W: for<'writer> MakeWriter<'writer> + Send + Sync + 'static,
{
    let registry = tracing_subscriber::registry().with(filter);
    let layer = tracing_subscriber::fmt::layer().with_writer(writer);
    match format {
        Format::Json => Box::new(registry.with(layer.json().flatten_event(true).with_span_list(false))),
        Format::Human => Box::new(registry.with(layer.with_target(false))),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{self, Write},
        sync::{Arc, Mutex},
    };

    use serde_json::Value;
    use tracing::{debug, info, info_span, subscriber::with_default};

    use super::{Format, filter, subscriber};

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(level: Option<&str>, environment: Option<&str>, format: Format) -> String {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = subscriber(filter(level, environment).unwrap(), format, move || writer.clone());
        with_default(subscriber, || {
            let _span = info_span!("reconcile", agent = "sluicegate-team-a").entered();
            info!(objects = 3, "applied\n{{\"level\":\"ERROR\"}}");
            debug!("details");
        });
        String::from_utf8(lines.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn writes_an_object_a_line_for_machines() {
        let text = logged(None, None, Format::Json);
        assert_eq!(text.lines().count(), 1, "{text}");
        let line: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(line["level"], "INFO");
        assert_eq!(line["message"], "applied\n{\"level\":\"ERROR\"}");
        assert_eq!(line["objects"], 3);
        assert_eq!(line["span"]["agent"], "sluicegate-team-a");
        assert!(line["timestamp"].is_string());
    }

    #[test]
    fn writes_words_for_people() {
        let text = logged(None, None, Format::Human);
        assert!(text.contains("applied") && serde_json::from_str::<Value>(&text).is_err(), "{text}");
    }

    #[test]
    fn the_flag_counts_more_than_the_environment() {
        let details = |level, environment| logged(level, environment, Format::Json).contains("details");
        assert!(details(Some("debug"), Some("error")));
        assert!(details(None, Some("debug")));
        assert!(details(Some(" "), Some("debug")));
        assert!(!details(Some("info"), Some("debug")));
        assert!(!details(None, None));
    }

    #[test]
    fn refuses_what_is_no_level() {
        let error = filter(Some("loud=very"), None).unwrap_err();
        assert!(error.to_string().contains("`loud=very` is no log level"), "{error}");
    }
}
