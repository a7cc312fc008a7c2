//! Executors side by side: the same blocks, in one run, taking turns.

mod names;
mod one_block;
mod page;
mod page_tables;
mod rows;

pub use names::{ExecutorName, WorkloadName};
pub use one_block::{OneBlock, OneBlockError, one_block};
pub use page::page;
pub use rows::{
    BudgetRow, CellRow, CrossingRow, ExecutorRow, Interval, Phases, ScalingRow, SettingKey, SettingRow,
    WakeupRow,
};
