//! Logs: whole lines on standard error, each with the name of the process that wrote it.

mod log;
mod process_name;

pub use log::log_to_stderr;

pub(crate) use process_name::name_process;
