//! Planning: who executes what, who waits for whom. A plan is a hint written large: correctness never rests on it.

mod arena;
mod key_table;
mod planner;

pub use arena::{
    ArenaError, ArenaLimits, ArenaReader, ArenaWriter, Edge, KeyRecord, NO_EDGE, NO_TXN, PlannedTransaction,
    RoundHeader, RoundPlan, SubBlock, TransactionAccess,
};
pub use planner::{CostModel, PlanTotals, Planner, Standing};
