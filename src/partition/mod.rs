//! Planning: who executes what, who waits for whom. A plan is a hint written large: correctness never rests on it.

mod arena;
mod arena_load;
mod arena_names;
mod arena_reader;
mod arena_writer;
mod planner;

pub use arena::{
    ArenaError, ArenaLimits, Edge, FREE, FREE_FIRST, NO_EDGE, NO_TXN, PlannedTransaction, RoundHeader,
    SubBlock, TIED,
};
pub use arena_reader::{ArenaReader, RoundPlan};
pub use arena_writer::ArenaWriter;
pub(crate) use planner::AHEAD_MAX;
pub use planner::{CostModel, PlanTotals, Planner, Standing};
