//! Logs: whole lines on standard error, each with the name of the process that wrote it.

mod log;

pub use log::log_to_stderr;
