//! Logs: whole lines on standard error, each with the name of the process that wrote it. Timelines: who did what when.

mod log;
mod process_name;
mod timeline;

pub use log::log_to_stderr;
pub use timeline::{
    BlockTimeline, SPANS_KEPT, Span, SpanKind, Timeline, TimelineConfig, Track, monotonic_ns,
};

pub(crate) use process_name::name_process;
pub(crate) use timeline::TimelineBook;
