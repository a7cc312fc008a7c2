//! Tests of the log's files alone. Those of whole state directories are in `tests/durable.rs`.

mod log;
