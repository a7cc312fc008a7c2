//! The line format, and the writer that keeps lines whole.

use crate::telemetry::process_name::process_name;
use std::fmt;
use tracing::{Event, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// `phx-shard-3[4711] WARN message key=value`.
struct LineWithProcess;

impl<S, N> FormatEvent<S, N> for LineWithProcess
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let level = event.metadata().level();
        write!(writer, "{}[{}] {level} ", process_name(), std::process::id())?;
        context.field_format().format_fields(writer.by_ref(), event)?;
        writeln!(writer)
    }
}

/// Sends log lines that pass `filter` (as in `RUST_LOG`: `warn`, `phalanx=debug`) to standard error. Each line is
/// written by one call, so that lines of several processes do not mix. Later calls in one process change nothing.
pub fn log_to_stderr(filter: &str) {
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("warn"));
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        // A log that nobody reads any more is no reason to panic, which the report about it would.
        .log_internal_errors(false)
        .event_format(LineWithProcess)
        .with_writer(std::io::stderr)
        .finish();
    // An embedding host may have its own subscriber: it stays.
    let _ = tracing::subscriber::set_global_default(subscriber);
}
