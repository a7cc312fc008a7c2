//! Executors side by side: the same blocks, in one run, taking turns.

mod names;
mod rows;

pub use names::{ExecutorName, WorkloadName};
pub use rows::{
    BudgetRow, CellRow, CrossingRow, ExecutorRow, Interval, Phases, ScalingRow, SettingKey, SettingRow,
    WakeupRow,
};
