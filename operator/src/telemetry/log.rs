//! The log: JSON, an object a line, on standard error; for people where that is a terminal.
//!
//! Repositories, registries and API servers choose much of what is logged. So every field and every message is made fit to
//! show where it is written, in both forms: hidden characters are spelled, also in JSON, since whoever reads that prints the
//! texts in it; and nothing that is logged begins a line.

use std::{
    error::Error,
    fmt,
    io::{self, IsTerminal as _},
};

use k8s_openapi::jiff::Timestamp;
use serde_json::{Map, Value, json};
use sluicegate_policy::text::escape;
use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    EnvFilter,
    field::RecordFields,
    fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields, MakeWriter, format::Writer},
    layer::SubscriberExt as _,
    registry::LookupSpan,
    util::{SubscriberInitExt as _, TryInitError},
};

use crate::errors::with_causes;

/// What is logged when nobody says.
const LEVEL: &str = "info";
/// The field in which tracing keeps the message.
const MESSAGE: &str = "message";

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
        Format::Json => Box::new(registry.with(layer.fmt_fields(JsonFields).event_format(JsonLine))),
        Format::Human => Box::new(registry.with(layer.fmt_fields(Words).with_target(false))),
    }
}

/// The fields of an event or a span, each fit to show.
#[derive(Default)]
struct Fields(Map<String, Value>);

impl Fields {
    fn of(fields: &impl RecordFields) -> Self {
        let mut found = Self::default();
        fields.record(&mut found);
        found
    }

    fn put(&mut self, field: &Field, value: Value) {
        self.0.insert(field.name().to_owned(), value);
    }

    fn text(&mut self, field: &Field, text: &str) {
        self.put(field, Value::String(escape(text).into_owned()));
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.text(field, &format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field, value);
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.text(field, &with_causes(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, json!(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, json!(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, json!(value));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, json!(value));
    }
}

/// Fields for people: `message name=value name="text"`.
struct Words;

impl<'writer> FormatFields<'writer> for Words {
    fn format_fields<R: RecordFields>(&self, mut writer: Writer<'writer>, fields: R) -> fmt::Result {
        let mut fields = Fields::of(&fields).0;
        let mut separator = "";
        if let Some(Value::String(message)) = fields.remove(MESSAGE) {
            writer.write_str(&message)?;
            separator = " ";
        }
        for (name, value) in fields {
            match value {
                Value::String(text) => write!(writer, "{separator}{name}=\"{text}\"")?,
                other => write!(writer, "{separator}{name}={other}")?,
            }
            separator = " ";
        }
        Ok(())
    }
}

/// Fields of spans as JSON.
struct JsonFields;

impl<'writer> FormatFields<'writer> for JsonFields {
    fn format_fields<R: RecordFields>(&self, mut writer: Writer<'writer>, fields: R) -> fmt::Result {
        write!(writer, "{}", Value::Object(Fields::of(&fields).0))
    }
}

/// An event as a line of JSON: when, how grave, what, from where, and in which span.
struct JsonLine;

impl<S, N> FormatEvent<S, N> for JsonLine
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    N: for<'writer> FormatFields<'writer> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let (metadata, fields) = (event.metadata(), Fields::of(event).0);
        let (time, level) = (Timestamp::now().to_string(), metadata.level().as_str());
        write!(writer, "{{\"timestamp\":\"{time}\",\"level\":\"{level}\"")?;
        for (name, value) in &fields {
            write!(writer, ",{}:{value}", json!(name))?;
        }
        write!(writer, ",\"target\":{}", json!(metadata.target()))?;
        if let Some(span) = context.lookup_current() {
            let extensions = span.extensions();
            let formatted = extensions.get::<FormattedFields<N>>().map(|fields| fields.fields.as_str());
            let mut fields: Map<String, Value> =
                formatted.and_then(|fields| serde_json::from_str(fields).ok()).unwrap_or_default();
            fields.insert("name".to_owned(), json!(span.name()));
            write!(writer, ",\"span\":{}", Value::Object(fields))?;
        }
        writeln!(writer, "}}")
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{self, Write},
        sync::{Arc, Mutex},
    };

    use serde_json::Value;
    use sluicegate_policy::text::is_hidden;
    use tracing::{debug, info, info_span, subscriber::with_default};
    use tracing_subscriber::EnvFilter;

    use super::{Error, Format, LogError, filter, subscriber};

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
        assert_eq!(line["message"], "applied\\n{\"level\":\"ERROR\"}", "it cannot begin a line, whoever prints it");
        assert_eq!(line["objects"], 3);
        assert_eq!(line["span"]["agent"], "sluicegate-team-a");
        assert!(line["timestamp"].is_string());
    }

    #[test]
    fn draws_nothing_but_what_it_says() {
        let hostile = "x\u{1b}[2J\u{7}\r\n\u{202e}\u{2066}\u{85}\u{2028}\u{200b}\u{e0061}##vso[y]";
        let clean = |text: &str| !text.chars().any(is_hidden) && !text.contains("##vso[");
        for format in [Format::Json, Format::Human] {
            let lines = Lines::default();
            let writer = lines.clone();
            let subscriber = subscriber(filter(None, None).unwrap(), format, move || writer.clone());
            with_default(subscriber, || {
                let _span = info_span!("reconcile", agent = hostile, shown = %hostile, debug = ?hostile).entered();
                let error = io::Error::other(hostile);
                let cause =
                    LogError::Filter { filter: hostile.to_owned(), source: EnvFilter::try_new("a=b=c").unwrap_err() };
                info!(
                    text = hostile, shown = %hostile, debug = ?hostile, error = &error as &dyn Error,
                    cause = &cause as &dyn Error, "{hostile}"
                );
            });
            let mut text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
            assert_eq!(text.matches('\n').count(), 1, "{text:?}");
            if format == Format::Json {
                let line: Value = serde_json::from_str(&text).unwrap();
                for value in line.as_object().unwrap().values().chain(line["span"].as_object().unwrap().values()) {
                    assert!(value.as_str().is_none_or(clean), "{value:?}");
                }
            } else {
                // The level and the time are coloured by the formatter.
                assert_eq!(text.matches(r"\u{202e}").count(), 9, "{text:?}");
                for colour in ["\u{1b}[0m", "\u{1b}[1m", "\u{1b}[2m", "\u{1b}[3m", "\u{1b}[32m"] {
                    text = text.replace(colour, "");
                }
                assert!(clean(text.trim_end_matches('\n')), "{text:?}");
            }
        }
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
