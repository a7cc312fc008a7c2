//! Executors side by side: the same blocks, in one run, taking turns.
//!
//! A **setting** is a workload, with or without signatures, and a block size. All its contenders, each with a state of its
//! own, execute the same blocks round by round, in an order that rotates; after each round all state digests must be
//! those of the sequential executor. What is generated, signed, prepared and compared is outside the measured time.

mod budget;
mod cells;
mod contender;
mod crossing;
mod error;
mod idle;
mod model;
mod names;
mod one_block;
mod options;
mod page;
mod page_tables;
mod rows;
mod scaling;
mod schedule;
mod setting;
mod table;
mod usage;
mod wakeup;

pub use error::BenchError;
pub use names::{ExecutorName, WorkloadName};
pub use one_block::{OneBlock, OneBlockError, one_block};
pub use options::{ExecutorOptions, Step};
pub use page::page;
pub use rows::{
    BudgetRow, CellRow, CrossingRow, ExecutorRow, IdleRow, Interval, Phases, ScalingRow, SettingKey,
    SettingRow, WakeupRow,
};
pub use scaling::{BoundBy, Calibration, ModelCosts, ModelHost, Prediction, predict};
pub use schedule::run;
pub use table::table;
